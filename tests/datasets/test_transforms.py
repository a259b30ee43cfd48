"""Loading transforms against Pillow: pixels, flips, sizes, scaled decoding, repeats."""

import io
import math

import numpy as np
import pytest
import torch
from photos import encode, photo
from PIL import Image

from mae_plugin.datasets import (
    LoadFixedCrop,
    LoadRandomResizedCrop,
    LoadResizeCenterCrop,
    PackInputs,
)
from mae_plugin.datasets.crops import resize
from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.registry import TRANSFORMS

# torch before 2.3 has none, and images of 16 bits become float32.
UINT16 = getattr(torch, 'uint16', torch.float32)


def run(transform, data, seed=0, **more) -> dict:
    return transform(dict(img_bytes=data, rng=np.random.default_rng(seed), **more))


def pixels(results: dict) -> np.ndarray:
    (image,) = results['img']
    return image.numpy().transpose(1, 2, 0)


def pillow(data: bytes, box, size, method=Image.BICUBIC, mode='RGB') -> np.ndarray:
    top, left, height, width = box
    image = Image.open(io.BytesIO(data)).convert(mode)
    crop = image.crop((left, top, left + width, top + height))
    return np.asarray(crop.resize(size[::-1], method)).astype(int)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean()))


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
@pytest.mark.parametrize('shape', [(500, 375), (900, 700), (60, 90)])
@pytest.mark.parametrize(
    ('interpolation', 'method'), [('bicubic', Image.BICUBIC), ('bilinear', Image.BILINEAR)]
)
def test_exact_crops_equal_pillow(format, shape, interpolation, method):
    data = encode(photo(*shape), format)
    load = LoadRandomResizedCrop((96, 128), exact=True, flip_prob=0, interpolation=interpolation)
    for seed in range(8):
        results = run(load, data, seed)
        expected = pillow(data, results['crop_boxes'][0], (96, 128), method)
        difference = np.abs(pixels(results) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.05


@pytest.mark.parametrize('shape', [(500, 375), (1600, 1200)])
def test_quick_crops_are_close_to_exact_ones(shape):
    quick, exact = LoadRandomResizedCrop(224), LoadRandomResizedCrop(224, exact=True)
    quality = []
    for name in ('astronaut', 'chelsea', 'coffee', 'rocket'):
        data = encode(photo(*shape, name), quality=90)
        for seed in range(6):
            a, b = run(quick, data, seed), run(exact, data, seed)
            assert a['crop_boxes'] == b['crop_boxes']
            quality.append(psnr(pixels(a), pixels(b)))
    assert np.median(quality) >= 45
    assert np.percentile(quality, 5) >= 36


@pytest.mark.parametrize('subsampling', ['4:2:0', '4:2:2', '4:4:4'])
def test_what_is_not_reduced_is_decoded_as_pillow_does(subsampling):
    data = encode(photo(500, 375), quality=90, subsampling=subsampling)
    load = LoadRandomResizedCrop(224, flip_prob=0)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    for seed in range(6):
        results = run(load, data, seed)
        top, left, height, width = results['crop_boxes'][0]
        crop = np.ascontiguousarray(decoded[top : top + height, left : left + width])
        assert torch.equal(results['img'][0], resize(crop, (224, 224), 'bicubic'))


class Recorder(ImageSource):
    """Remembers how large it was decoded."""

    def read(self, *args, **kwargs):
        pixels = super().read(*args, **kwargs)
        self.decoded = pixels.shape[:2]
        return pixels


@pytest.mark.parametrize(
    ('size', 'exact', 'decoded'),
    [
        (64, False, (150, 200)),
        (224, False, (300, 400)),
        (1000, False, (1200, 1600)),
        (64, True, (1200, 1600)),
    ],
)
def test_large_jpegs_are_decoded_small(size, exact, decoded):
    image = Recorder(encode(photo(1600, 1200)))
    load = LoadRandomResizedCrop(size, exact=exact)
    (crop,) = load.cut(image, [(0, 0, 1200, 1600)], load.size)
    assert image.decoded == decoded and tuple(crop.shape) == (3, size, size)


@pytest.mark.parametrize('size', [(64, 256), (160, 96), (128, 128)])
def test_crops_are_shaped_like_the_result(size):
    data = encode(photo(size[1] * 4, size[0] * 4))
    load = LoadRandomResizedCrop(size, scale=(0.2, 0.5))
    boxes = [run(load, data, seed)['crop_boxes'][0] for seed in range(200)]
    stretches = np.array([(w / size[1]) / (h / size[0]) for _, _, h, w in boxes])
    assert stretches.min() > 0.72 and stretches.max() < 1.39  # 3/4 and 4/3, in whole pixels
    assert stretches.min() < 0.8 and stretches.max() > 1.25


def test_square_crops_are_torchvisions_and_a_ratio_of_ones_own_is_kept():
    data = encode(photo(500, 375))
    stated, default, tall = (
        [run(LoadRandomResizedCrop(64, ratio=r), data, s)['crop_boxes'] for s in range(50)]
        for r in ((3 / 4, 4 / 3), None, (0.5, 0.5))
    )
    assert stated == default
    assert all(h == pytest.approx(2 * w, abs=16) for ((_, _, h, w),) in tall)


def test_flip_mirrors_and_has_its_probability():
    data = encode(photo(100, 80), 'PNG')
    never, always = (LoadRandomResizedCrop(32, flip_prob=p) for p in (0, 1))
    np.testing.assert_array_equal(pixels(run(never, data))[:, ::-1], pixels(run(always, data)))
    plain = pixels(run(never, data, 0))
    half = LoadRandomResizedCrop(32, scale=(1, 1), ratio=(1, 1), flip_prob=0.3)
    plain = pixels(run(LoadRandomResizedCrop(32, scale=(1, 1), ratio=(1, 1), flip_prob=0), data))
    flips = sum(not np.array_equal(pixels(run(half, data, s)), plain) for s in range(400))
    assert 80 < flips < 160


def test_rotated_photos_are_cut_upright():
    exif = Image.Exif()
    image = photo(640, 480)
    load = LoadRandomResizedCrop(100, exact=True, flip_prob=0)
    for orientation in range(1, 9):
        exif[274] = orientation
        data = encode(image, exif=exif)
        upright = decode_upright(data)
        for transform in (load, LoadRandomResizedCrop(100, flip_prob=0)):
            results = run(transform, data)
            assert results['ori_shape'] == (upright.height, upright.width)
            top, left, h, w = results['crop_boxes'][0]
            crop = upright.crop((left, top, left + w, top + h)).resize((100, 100), Image.BICUBIC)
            assert psnr(pixels(results), np.asarray(crop)) > 36


def decode_upright(data: bytes) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


def test_repeats_are_distinct_crops_of_one_decode():
    data = encode(photo(500, 375))
    packed = PackInputs()(
        run(LoadRandomResizedCrop(64, repeats=4), data, img_path='a.jpg', sample_key=5)
    )
    assert packed['inputs'].shape == (4, 3, 64, 64)
    keys = {sample.sample_key for sample in packed['data_samples']}
    boxes = {sample.crop_box for sample in packed['data_samples']}
    assert len(keys) == len(boxes) == 4 and 5 in keys
    single = run(LoadRandomResizedCrop(64), data)
    assert single['img'][0].dtype == torch.uint8


@pytest.mark.parametrize('shape', [(300, 200), (200, 300), (64, 64), (40, 30)])
def test_evaluation_is_resize_then_centre_crop(shape):
    data = encode(photo(*shape), 'PNG')
    results = run(LoadResizeCenterCrop(56, resize_short=64), data)
    image = Image.open(io.BytesIO(data))
    zoom = 64 / min(shape)
    resized = image.resize((int(shape[0] * zoom), int(shape[1] * zoom)), Image.BICUBIC)
    left, top = round((resized.width - 56) / 2), round((resized.height - 56) / 2)
    expected = np.asarray(resized.crop((left, top, left + 56, top + 56))).astype(int)
    np.testing.assert_array_equal(pixels(results), expected)
    again = run(LoadResizeCenterCrop(56, resize_short=64), data, seed=9)
    np.testing.assert_array_equal(pixels(again), pixels(results))


def test_evaluation_of_non_square_sizes_and_small_images():
    for size in ((64, 32), (32, 64)):
        for shape in ((20, 90), (90, 20), (33, 64)):
            image = run(LoadResizeCenterCrop(size), encode(photo(*shape), 'PNG'))['img'][0]
            assert tuple(image.shape) == (3, *size)
    assert LoadResizeCenterCrop(224).resize_short == 256


@pytest.mark.parametrize('shape', [(300, 200), (200, 300), (64, 64), (40, 30)])
def test_fixed_crop_keeps_the_short_side(shape):
    data = encode(photo(*shape), 'PNG')
    boxes = [run(LoadFixedCrop(48), data, seed)['crop_boxes'][0] for seed in range(30)]
    short = min(shape)
    assert {box[2:] for box in boxes} == {(short, short)}
    offsets = {box[:2] for box in boxes}
    assert (len(offsets) > 5) == (shape[0] != shape[1])
    centre = run(LoadFixedCrop(48, flip_prob=0, random=False), data, 3)
    box = ((shape[1] - short + 1) // 2, (shape[0] - short + 1) // 2, short, short)
    assert centre['crop_boxes'] == [box]
    difference = np.abs(pixels(centre) - pillow(data, box, (48, 48)))
    assert difference.max() <= 2


def test_other_channels():
    grey = run(LoadRandomResizedCrop(32, channels=1), encode(photo(90, 70)))['img'][0]
    assert tuple(grey.shape) == (1, 32, 32)
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).integers(0, 4000, (50, 60, 12)).astype(np.uint16))
    many = run(LoadRandomResizedCrop(32, channels=12), buffer.getvalue())['img'][0]
    assert tuple(many.shape) == (12, 32, 32) and many.dtype == UINT16


def test_results_depend_on_the_generator_alone():
    data = encode(photo(500, 375))
    load = LoadRandomResizedCrop(64, color_jitter=dict(hue=0.1), repeats=2)
    first = run(load, data, 1)
    torch.manual_seed(123)
    np.random.seed(1)
    second, third = run(load, data, 1), run(load, data, 2)
    assert all(torch.equal(a, b) for a, b in zip(first['img'], second['img'], strict=True))
    assert first['crop_boxes'] == second['crop_boxes'] != third['crop_boxes']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(type='LoadRandomResizedCrop', size=0), 'size=0'),
        (dict(type='LoadRandomResizedCrop', scale=(0.5, 0.2)), r'scale=\(0.5, 0.2\)'),
        (dict(type='LoadRandomResizedCrop', scale=(0.5, 1.2)), r'scale=\(0.5, 1.2\)'),
        (dict(type='LoadRandomResizedCrop', ratio=(0, 1)), 'ratio='),
        (dict(type='LoadRandomResizedCrop', flip_prob=2), 'flip_prob=2'),
        (dict(type='LoadRandomResizedCrop', repeats=0), 'repeats=0'),
        (dict(type='LoadRandomResizedCrop', interpolation='nearest'), 'nearest'),
        (dict(type='LoadFixedCrop', flip_prob=-1), 'flip_prob=-1'),
        (dict(type='LoadResizeCenterCrop', size=224, resize_short=200), 'resize_short=200'),
        (dict(type='ColorJitter', hue=0.7), 'hue=0.7'),
    ],
)
def test_senseless_options(options, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(options)
