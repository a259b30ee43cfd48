"""Datasets in real DataLoaders: determinism, batches, bad images, the device preprocessor."""

import os
import signal
import time
from itertools import islice

import numpy as np
import pytest
import torch
from broken_images import write_broken_images
from mmengine.structures import BaseDataElement
from photos import write_photos
from torch.utils.data import DataLoader

from mae_plugin.datasets import ImageFolder, StreamSampler, stack_collate
from mae_plugin.datasets.bad_images import BadImages, TooManyBadImages
from mae_plugin.datasets.randomness import sample_key, sample_rng
from mae_plugin.models.preprocessor import MAEDataPreprocessor
from mae_plugin.registry import MODELS

# torch before 2.3 has none, and images of 16 bits become float32.
UINT16 = getattr(torch, 'uint16', torch.float32)

PIPELINE = [
    dict(type='LoadRandomResizedCrop', size=32, color_jitter=dict()),
    dict(type='PackInputs'),
]


def make(root, **options) -> ImageFolder:
    options = dict(pipeline=PIPELINE, index_cache=False) | options
    return ImageFolder(str(root), **options)


def batches(dataset, workers: int, count: int, batch: int = 4, **options) -> list[dict]:
    sampler = StreamSampler(dataset, batch_size=batch, seed=3, repeats=10)
    loader = DataLoader(
        dataset, batch, sampler=sampler, num_workers=workers, collate_fn=stack_collate, **options
    )
    iterator = iter(loader)
    try:
        return list(islice(iterator, count))
    finally:  # else the traceback of an error keeps the workers until some later test
        if workers:
            iterator._shutdown_workers()


def identity(found: list[dict]) -> list:
    return [
        (batch['inputs'].sum((1, 2, 3)).tolist(), [s.sample_key for s in batch['data_samples']])
        for batch in found
    ]


def test_samples_do_not_depend_on_the_workers(tmp_path):
    write_photos(tmp_path / 'a', 7)
    write_broken_images(tmp_path / 'b')
    dataset = make(tmp_path, bad_images=dict(max_share=1.0))
    alone = identity(batches(dataset, 0, 12))
    assert identity(batches(dataset, 1, 12)) == alone
    assert identity(batches(dataset, 3, 12)) == alone
    keys = [key for _, batch in alone for key in batch]
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_spawned_workers(tmp_path):
    write_photos(tmp_path, 4)
    dataset = make(tmp_path)
    alone = identity(batches(dataset, 0, 2))
    assert identity(batches(dataset, 1, 2, multiprocessing_context='spawn')) == alone


def test_crops_follow_seed_pass_and_index(tmp_path):
    write_photos(tmp_path, 3)
    one, two = make(tmp_path, seed=1), make(tmp_path, seed=2)
    images = [one[0], one[(1, 0)], two[0], one[1]]
    for a in range(4):
        for b in range(a):
            assert not torch.equal(images[a]['inputs'], images[b]['inputs'])
    assert torch.equal(one[0]['inputs'], one[(0, 0)]['inputs'])


def test_keys_are_well_mixed():
    keys = torch.tensor(
        [sample_key(seed, e, i) for seed in range(4) for e in range(8) for i in range(256)]
    )
    assert len(keys.unique()) == len(keys)
    bits = (keys[:, None] >> torch.arange(64)) & 1
    assert (bits.double().mean(0) - 0.5).abs().max() < 0.04
    neighbours = (bits[1:] ^ bits[:-1]).double().mean(0)
    assert (neighbours - 0.5).abs().max() < 0.04


def test_labels_cross_the_processes_and_reach_the_device(tmp_path):
    for name in ('ant', 'bee'):
        write_photos(tmp_path / name, 3)
    found = batches(make(tmp_path), 2, 3, batch=6)
    processed = [MAEDataPreprocessor()(batch) for batch in found]
    for batch in processed:
        for sample in batch['data_samples']:
            assert isinstance(sample, BaseDataElement)
            label = sample.gt_label
            assert isinstance(label, torch.Tensor) and label.shape == (1,)
            assert label.item() == ('bee' in sample.img_path)


def test_repeated_crops_are_concatenated(tmp_path):
    write_photos(tmp_path, 4)
    pipeline = [dict(type='LoadRandomResizedCrop', size=32, repeats=3), dict(type='PackInputs')]
    (batch,) = batches(make(tmp_path, pipeline=pipeline), 2, 1)
    assert batch['inputs'].shape == (12, 3, 32, 32)
    samples = batch['data_samples']
    assert len({sample.sample_key for sample in samples}) == 12
    assert [s.img_path for s in samples[:3]] == [samples[0].img_path] * 3


def test_unequal_images_are_named(tmp_path):
    def sample(height):
        element = BaseDataElement(metainfo=dict(img_path=f'{height}.jpg'))
        return dict(inputs=torch.zeros(3, height, 8), data_samples=element)

    with pytest.raises(ValueError, match=r'9\.jpg gives \(3, 9, 8\), .* began with \(3, 8, 8\)'):
        stack_collate([sample(8), sample(9)])


@pytest.mark.parametrize('repeats', [1, 2])
def test_number_types_may_be_mixed(tmp_path, repeats):
    dtypes = [np.uint16, np.uint8, np.float32]
    arrays = [
        np.full((16, 16, 5), value, dtype) for value, dtype in zip((65535, 255, 0.1), dtypes)
    ]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f'{number}.npy', array)
    load = dict(type='LoadRandomResizedCrop', size=16, scale=(1, 1), ratio=(1, 1), channels=5)
    dataset = make(tmp_path, pipeline=[load | dict(repeats=repeats), dict(type='PackInputs')])
    inputs = stack_collate([dataset[0], dataset[1], dataset[2]])['inputs']
    assert inputs.dtype == torch.float32
    for found, array in zip(inputs, [a for a in arrays for _ in range(repeats)], strict=True):
        np.testing.assert_array_equal(found.permute(1, 2, 0), array)
    assert stack_collate([dataset[0], dataset[0]])['inputs'].dtype == UINT16


# ---------------------------------------------------------------------------- bad images


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_images_are_counted_logged_and_replaced(tmp_path, workers):
    good = write_photos(tmp_path / 'images' / 'good', 40)
    broken = write_broken_images(tmp_path / 'images' / 'broken')
    log = tmp_path / 'bad_images.txt'
    dataset = make(tmp_path / 'images', bad_images=dict(max_share=0.5, log_file=str(log)))
    found = batches(dataset, workers, 26, batch=8)  # four passes
    assert {s.img_path for b in found for s in b['data_samples']} == set(good)
    lines = log.read_text().splitlines()
    assert sorted(line.split('\t')[0] for line in lines) == sorted(map(str, broken.values()))
    assert all(line.split('\t')[1] for line in lines)
    seen, bad = dataset.bad_images.counts()
    assert bad >= 4 * len(broken) and seen - bad >= 26 * 8  # workers are some batches ahead
    assert not (tmp_path / 'images/broken/EXECUTED').exists()


def test_log_is_continued_by_the_next_run(tmp_path):
    write_photos(tmp_path / 'images', 20)
    write_broken_images(tmp_path / 'images')
    log = tmp_path / 'bad_images.txt'
    for _ in range(2):
        options = dict(max_share=1.0, log_file=str(log))
        batches(make(tmp_path / 'images', bad_images=options), 2, 16)
    assert len(log.read_text().splitlines()) == 12


def test_tries_and_different_files_are_told_apart(tmp_path):
    log = tmp_path / 'bad_images.txt'
    mine, of_another_worker = (BadImages(max_share=1, log_file=str(log)) for _ in range(2))
    for number in range(20):
        mine.begin(number)
        mine.add(f'{number % 2}.jpg', OSError(5, 'Input/output error'))
    assert (
        mine.describe() == f'20 of the last 20 tries to read an image failed; {log} lists '
        '2 different files'
    )
    of_another_worker.begin(5)
    of_another_worker.add('5.jpg', OSError(5, 'Input/output error'))
    assert mine.listed() == of_another_worker.listed() == len(log.read_text().splitlines()) == 3
    assert BadImages().listed() is None and 'lists' not in BadImages().describe()


def test_replacement_has_a_crop_and_key_of_its_own(tmp_path):
    write_photos(tmp_path, 3)
    (tmp_path / '0000.jpg').write_bytes(b'')
    dataset = make(tmp_path)
    for epoch in range(5):
        replaced = dataset[(epoch, 0)]['data_samples']
        number = int(replaced.img_path[-5])
        own = dataset[(epoch, number)]['data_samples']
        assert replaced.img_path == own.img_path
        assert replaced.sample_key != own.sample_key and replaced.crop_box != own.crop_box


@pytest.mark.parametrize('workers', [0, 3])
def test_too_many_bad_images_stop_the_run(tmp_path, workers):
    write_photos(tmp_path / 'good', 30)
    write_broken_images(tmp_path / 'broken')
    log = str(tmp_path / 'bad_images.txt')
    dataset = make(tmp_path, bad_images=dict(max_share=0.2, min_count=5, log_file=log))
    with pytest.raises(TooManyBadImages, match=r'bad_images\.txt lists \d+ .*share 0\.2 '):
        batches(dataset, workers, 100)


def test_share_is_over_all_workers(tmp_path):
    # 12 of 132 is below the limit overall, however they fall among the workers.
    write_photos(tmp_path / 'good', 120)
    write_broken_images(tmp_path / 'broken')
    dataset = make(tmp_path, bad_images=dict(max_share=0.15, min_count=20))
    assert len(batches(dataset, 3, 33, batch=8)) == 33


def test_one_bad_image_can_be_one_too_many(tmp_path):
    write_photos(tmp_path, 3)
    (tmp_path / '0001.jpg').unlink()
    (tmp_path / '0001.jpg').write_bytes(b'')
    dataset = make(tmp_path, bad_images=dict(max_share=0.0, min_count=1))
    assert dataset[0]['inputs'].shape == (3, 32, 32)
    with pytest.raises(TooManyBadImages, match=r'0001\.jpg: empty file'):
        dataset[1]


def test_a_float_image_with_nan_is_counted_named_and_replaced(tmp_path):
    pixels = np.random.default_rng(0).random((40, 40, 12)).astype(np.float32)
    for number in range(4):
        np.save(tmp_path / f'{number}.npy', pixels)
    pixels[:, :, 7] = np.nan
    np.save(tmp_path / '2.npy', pixels)
    log = tmp_path / 'bad_images.txt'
    pipeline = [dict(type='LoadRandomResizedCrop', size=16, channels=12), dict(type='PackInputs')]
    dataset = make(tmp_path, pipeline=pipeline, bad_images=dict(log_file=str(log)))
    for index in range(4):
        assert dataset[index]['inputs'].isfinite().all()
    path, reason = log.read_text().rstrip().split('\t')
    assert path == str(tmp_path / '2.npy') and 'NaN' in reason
    assert dataset.bad_images.counts()[1] >= 1


def test_nothing_but_bad_images_ends(tmp_path):
    write_broken_images(tmp_path)
    with pytest.raises(TooManyBadImages):
        make(tmp_path, bad_images=dict(max_share=1.0))[0]


def test_a_file_that_vanishes_during_the_run(tmp_path):
    paths = write_photos(tmp_path, 6)
    dataset = make(tmp_path)
    os.unlink(paths[2])
    assert dataset[2]['data_samples'].img_path != paths[2]
    assert dataset.bad_images.counts() == (2, 1)


def test_errors_of_the_program_are_not_hidden(tmp_path):
    write_photos(tmp_path, 2)

    def broken(results):
        raise ValueError('a bug')

    with pytest.raises(ValueError, match='a bug'):
        make(tmp_path, pipeline=[broken])[0]


def test_a_disk_that_fails_late_is_noticed():
    bad_images = BadImages(max_share=0.5, min_count=10, window=100)
    for index in range(10_000):
        bad_images.begin(index)
    with pytest.raises(TooManyBadImages):
        for index in range(300):
            bad_images.begin(index)
            bad_images.add(f'{index}.jpg', OSError(5, 'Input/output error'))


@pytest.mark.parametrize('options', [dict(max_share=2), dict(min_count=0), dict(window=0)])
def test_senseless_limits(options):
    with pytest.raises(ValueError, match='max_share='):
        BadImages(**options)


class Sleeper:
    """Stays on one image."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, results: dict) -> dict:
        if results['img_path'].endswith(self.name):
            time.sleep(60)
        return results


def test_a_dead_workers_file_is_known(tmp_path):
    paths = write_photos(tmp_path, 4)
    dataset = make(tmp_path, pipeline=[Sleeper('0002.jpg'), *PIPELINE])
    loader = DataLoader(dataset, 1, num_workers=2, collate_fn=stack_collate)
    iterator = iter(loader)
    next(iterator), next(iterator)
    deadline = time.time() + 30
    while dataset.worker_files() != {0: paths[2]} and time.time() < deadline:
        time.sleep(0.02)
    os.kill(iterator._workers[0].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match='DataLoader worker'):
        next(iterator)
    assert dataset.worker_files() == {0: paths[2]}


# -------------------------------------------------------------------------- preprocessor


@pytest.mark.parametrize('dtype', [torch.uint8, UINT16, torch.float32])
@pytest.mark.parametrize('channels', [1, 3, 12])
def test_normalises_any_dtype_and_channels(dtype, channels):
    mean, std = [float(c) for c in range(channels)], [1.0 + c for c in range(channels)]
    images = torch.arange(2 * channels * 6).reshape(2, channels, 2, 3).to(dtype)
    original = images.clone()
    preprocess = MODELS.build(dict(type='MAEDataPreprocessor', mean=mean, std=std))
    out = preprocess(dict(inputs=images))
    expected = (images.double() - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(
        -1, 1, 1
    )
    assert out['inputs'].dtype == torch.float32 and out['data_samples'] is None
    torch.testing.assert_close(out['inputs'].double(), expected)
    torch.testing.assert_close(preprocess.denormalize(out['inputs']), images.float())
    assert torch.equal(images.float(), original.float())  # the batch itself is left alone


def test_takes_lists_and_pads():
    preprocess = MAEDataPreprocessor(pad_size_divisor=16, channels_last=True)
    out = preprocess(dict(inputs=[torch.zeros(3, 20, 33, dtype=torch.uint8)] * 2))['inputs']
    assert out.shape == (2, 3, 32, 48)
    assert out[:, :, 20:].abs().max() == 0 and out[:, :, :, 33:].abs().max() == 0
    small = MAEDataPreprocessor(channels_last=True)(
        dict(inputs=torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    )['inputs']
    assert small.is_contiguous(memory_format=torch.channels_last)


def test_channel_mismatch_names_both_lengths():
    with pytest.raises(ValueError, match=r'12 channels.*3 values'):
        MAEDataPreprocessor()(dict(inputs=torch.zeros(1, 12, 4, 4)))
    with pytest.raises(ValueError, match='mean has 2 values and std 3'):
        MAEDataPreprocessor(mean=[1, 2])
    with pytest.raises(ValueError, match='positive'):
        MAEDataPreprocessor(std=[1, 1, 0])


NUMPY_ADVICE = 'torch.from_numpy(image).permute(2, 0, 1)[None]'


@pytest.mark.parametrize(
    ('data', 'part', 'advice'),
    [
        (torch.zeros(1, 3, 4, 4), 'a Tensor is no batch', ''),
        (dict(img=torch.zeros(1, 3, 4, 4)), "a dict with keys ['img'] is no batch", ''),
        (dict(inputs=np.zeros((4, 5, 3))), 'inputs are a ndarray', NUMPY_ADVICE),
        (dict(inputs=[np.zeros((4, 5, 3))]), 'inputs are a list of ndarray', NUMPY_ADVICE),
        (dict(inputs=[]), 'inputs are an empty list', ''),
        (dict(inputs=torch.zeros(3, 4, 5)), 'shape (3, 4, 5)', 'image[None]'),
    ],
)
def test_other_calls_are_refused_with_the_right_one(data, part, advice):
    with pytest.raises(ValueError, match=r'call preprocessor\(dict\(inputs=images\)\)') as error:
        MAEDataPreprocessor()(data)
    assert part in str(error.value) and advice in str(error.value)
    if advice:  # what it says can be done
        (image,) = data['inputs'] if isinstance(data['inputs'], list) else [data['inputs']]
        inputs = eval(advice, dict(torch=torch, image=image))
        assert MAEDataPreprocessor()(dict(inputs=inputs))['inputs'].shape == (1, 3, 4, 5)


def test_channels_last_arrays_are_told_what_to_do():
    with pytest.raises(ValueError, match=r'permute\(0, 3, 1, 2\)'):
        MAEDataPreprocessor()(dict(inputs=torch.zeros(1, 4, 5, 3)))


@pytest.mark.parametrize(
    ('batches', 'options', 'warnings'),
    [
        ([torch.rand(1, 3, 4, 4)] * 2, {}, 1),
        ([torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.rand(1, 3, 4, 4)], {}, 1),
        ([torch.rand(1, 3, 4, 4) * 255, torch.rand(1, 3, 4, 4)], {}, 0),
        ([torch.zeros(1, 3, 4, 4, dtype=torch.uint8)], {}, 0),
        ([torch.rand(1, 3, 4, 4)], dict(mean=[0.5] * 3, std=[0.2] * 3), 0),
    ],
)
def test_floats_of_0_to_1_in_other_units_warn_once(capsys, batches, options, warnings):
    preprocess = MAEDataPreprocessor(**options)
    for batch in batches:
        preprocess(dict(inputs=batch))
    assert ''.join(capsys.readouterr()).count('no value above 1') == warnings


def test_statistics_follow_the_model_but_not_its_checkpoint():
    model = torch.nn.Module()
    model.data_preprocessor = MAEDataPreprocessor()
    assert not model.state_dict()


def test_generators_of_neighbours_are_unrelated():
    streams = [sample_rng(s, e, i) for s in range(3) for e in range(10) for i in range(100)]
    draws = torch.stack([torch.from_numpy(rng.random(4)) for rng in streams])
    assert len(draws[:, 0].unique()) == 3000
    assert (draws.mean(0) - 0.5).abs().max() < 0.02
    assert (draws.std(0) - 12**-0.5).abs().max() < 0.01
    together = torch.corrcoef(torch.cat([draws[1:], draws[:-1]], 1).T) - torch.eye(8)
    assert together.abs().max() < 0.08
    again = [sample_rng(1, 2, 3).random() for _ in range(2)]
    assert again[0] == again[1]
