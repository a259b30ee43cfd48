"""From a run to detectors and segmentors of the user's own images: what is written trains."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from front_door import run_tool, tiny_config, train
from host_tools import run_host_tool
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from playground_sources import arguments, write_sources

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.cli.start_transfer import start_transfer
from mae_plugin.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

import make_playground

MEAN, STD = [90.0, 100.0, 110.0], [50.0, 60.0, 70.0]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A playground, and a run on its unlabelled scenes."""
    root = tmp_path_factory.mktemp('transfer')
    sources = write_sources(root / 'sources')
    make_playground.main(arguments(sources, root / 'set'))
    config = tiny_config(
        root / 'tiny.py', (32, 48), 8, batch_size=30,
        extra=f'model["data_preprocessor"] = dict(mean={MEAN}, std={STD})',
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(monkeypatch, config, root / 'set/pretrain', root / 'run')
    return root


def write(root, out, to, data, **options):
    """The written config, for a test's few seconds."""
    start_transfer(str(root / 'run'), to, str(data), out=str(out), **options)
    (path,) = out.glob('*.py')
    cfg = Config.fromfile(path)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.indices = 16
    cfg.test_dataloader.dataset.indices = 4
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = cfg.param_scheduler[1:]
    cfg.param_scheduler[0].begin = 0
    cfg.merge_from_dict(
        {
            'work_dir': str(out / 'work'),
            'default_hooks.checkpoint.interval': 1,
            'experiment_name': out.name,
            'log_level': 'WARNING',
            'launcher': 'none',
        }
    )
    return cfg


def assert_carried_over(root, cfg, model):
    """Encoder, mean and std are the run's."""
    stored = safe_load(root / 'run/epoch_1.pth')['state_dict']
    for name in ('patch_embed.proj.weight', 'blocks.0.mlp.fc2.weight'):
        assert torch.equal(model.backbone.state_dict()[name], stored[f'backbone.{name}'])
    assert cfg.model.data_preprocessor.mean == MEAN and cfg.model.data_preprocessor.std == STD
    assert model.backbone.patch_size == 8


@pytest.mark.slow
def test_a_detector_carries_the_run_over(root, tmp_path):
    cfg = write(root, tmp_path, 'mmdet', root / 'set/annotations/instances_train.json')
    assert cfg.classes == ['primary', 'secondary'] and cfg.image_size == (96, 96)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert_carried_over(root, cfg, model)
    assert model.roi_head.mask_head.conv_logits.out_channels == 2


@pytest.mark.slow
def test_a_segmentor_carries_the_run_over(root, tmp_path):
    cfg = write(root, tmp_path, 'mmseg', root / 'set/semantic/train')
    assert cfg.classes == ['background', 'primary', 'secondary'] and cfg.crop_size == (96, 96)
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert_carried_over(root, cfg, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    'host, labels, score',
    [
        ('mmdet', 'annotations/instances_train.json', 'coco/segm_mAP'),
        ('mmseg', 'semantic/train', 'mIoU'),
    ],
)
def test_the_file_as_written_in_the_hosts_own_tools(root, tmp_path, host, labels, score):
    start_transfer(str(root / 'run'), host, str(root / 'set' / labels), out=str(tmp_path))
    (config,) = tmp_path.glob('*.py')
    short = [f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')]
    short += [f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')]
    short += ['train_cfg.max_epochs=2', 'default_hooks.checkpoint.interval=1']
    short += ['train_dataloader.dataset.indices=16', 'test_dataloader.dataset.indices=2']
    short += ['param_scheduler.0.end=1', 'param_scheduler.1.begin=1']  # the warm-up
    if host == 'mmdet':  # few proposals, for a test's few seconds
        for part in ('train_cfg.rpn_proposal', 'test_cfg.rpn'):
            short += [f'model.{part}.nms_pre=20', f'model.{part}.max_per_img=10']
    work = f'--work-dir={tmp_path / "work"}'
    log = run_host_tool(host, 'train', tmp_path, config, work, '--cfg-options', *short)
    assert 'MAE of this project' in log, 'the load report is missing'
    checkpoint = tmp_path / 'work/epoch_2.pth'
    log = run_host_tool(host, 'test', tmp_path, config, checkpoint, work, '--cfg-options', *short)
    assert score in log


def test_one_set_alone_is_split_by_images(root, tmp_path, capsys):
    only = tmp_path / 'mine'
    shutil.copytree(root / 'set/images/train', only / 'images')
    shutil.copytree(root / 'set/semantic/train', only / 'masks')
    shutil.copy(root / 'set/annotations/instances_train.json', only / 'labels.json')
    cfg = write(root, tmp_path / 'det', 'mmdet', only / 'labels.json')
    halves = [
        json.loads(Path(cfg[loader].dataset.ann_file).read_text())
        for loader in ('train_dataloader', 'val_dataloader')
    ]
    ids = [{image['id'] for image in half['images']} for half in halves]
    assert not ids[0] & ids[1] and len(ids[1]) == len(ids[0] | ids[1]) // 10 == 2
    for half, own in zip(halves, ids):
        assert {a['image_id'] for a in half['annotations']} <= own

    cfg = write(root, tmp_path / 'seg', 'mmseg', only / 'masks')
    names = [
        Path(cfg[loader].dataset.ann_file).read_text().split()
        for loader in ('train_dataloader', 'val_dataloader')
    ]
    assert len(names[1]) == 2 and not set(names[0]) & set(names[1])
    assert cfg.classes == ['class_0', 'class_1', 'class_2']


def test_boxes_alone_make_a_detector_without_masks(root, tmp_path):
    content = json.loads((root / 'set/annotations/instances_train.json').read_text())
    for annotation in content['annotations']:
        annotation['segmentation'] = []
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    cfg = write(
        root, tmp_path / 'out', 'mmdet', tmp_path / 'boxes.json',
        images=str(root / 'set/images/train'),
    )  # fmt: skip
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert not model.with_mask and cfg.val_evaluator.metric == ['bbox']
    assert not any(t.get('with_mask') for t in cfg.train_dataloader.dataset.pipeline)


@pytest.mark.slow
def test_bands_of_sixteen_bits_are_read_as_in_pretraining(tmp_path):
    shape = dict(img_size=(64, 64), patch_size=16)
    arch = dict(embed_dims=32, num_layers=4, num_heads=2)
    model = dict(
        type='mae_plugin.MAE',
        data_preprocessor=dict(
            type='mae_plugin.MAEDataPreprocessor', mean=[7.0] * 5, std=[3.0] * 5
        ),
        backbone=dict(type='mae_plugin.ViT', arch=arch, in_channels=5, **shape),
        decoder=dict(type='mae_plugin.MAEDecoder', embed_dims=16, depth=1, num_heads=2),
        head=dict(
            type='mae_plugin.ReconstructionHead', target=dict(type='mae_plugin.PixelTarget')
        ),
    )
    pipeline = [
        dict(type='mae_plugin.LoadRandomResizedCrop', channels=5, keep_depth=True, nodata=0)
    ]
    stored = Config(
        dict(model=model, train_dataloader=dict(dataset=dict(dataset=dict(pipeline=pipeline))))
    )
    init_default_scope('mae_plugin')
    state = MODELS.build(Config(dict(model=model)).model).state_dict()
    (tmp_path / 'run').mkdir()
    torch.save(
        dict(state_dict=state, meta=dict(cfg=stored.pretty_text, iter=1), optimizer={}),
        tmp_path / 'run/epoch_1.pth',
    )
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    for number in range(4):
        pixels = rng.integers(1, 900, (70, 80, 5), dtype=np.uint16)
        tifffile.imwrite(
            tmp_path / f'data/images/{number}.tif', pixels, photometric='minisblack',
            planarconfig='contig',
        )  # fmt: skip
        mask = rng.integers(0, 2, (70, 80), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f'data/masks/{number}_mask.png'), mask)
    cfg = write(tmp_path, tmp_path / 'out', 'mmseg', tmp_path / 'data/masks', classes=['a', 'b'])
    load = cfg.train_dataloader.dataset.pipeline[0]
    assert (load.channels, load.keep_depth, load.nodata) == (5, True, 0)
    assert cfg.train_dataloader.dataset.seg_map_suffix == '_mask.png'
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 32
    runner = Runner.from_cfg(cfg)
    seen = []
    runner.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    runner.test()
    # The held-out image, the last of the four, below a padding to whole patches.
    expected = (tifffile.imread(tmp_path / 'data/images/3.tif') - 7.0) / 3.0
    np.testing.assert_allclose(
        seen[0][0, :, :70, :80].permute(1, 2, 0), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    'to, data, options, words',
    [
        ('mmdet', 'none.json', {}, 'none.json: no such file'),
        ('mmdet', 'tiny.py', {}, 'tiny.py is no JSON'),
        ('mmdet', 'set/classes.json', {}, 'not in the format of COCO: it has no images'),
        ('mmdet', 'set/annotations/instances_train.json', dict(images='sources'), '--images DIR'),
        ('mmdet', 'set/annotations/instances_train.json', dict(classes=['a']), '--classes is for'),
        ('mmseg', 'set/images/train', {}, 'holds no masks'),
        ('mmseg', 'set/none', {}, '--data .*none: no such folder'),
        ('mmseg', 'set/semantic/train', dict(images='sources'), 'no image of the name'),
        ('mmseg', 'set/semantic/train', dict(classes=['a']), '1 classes are named'),
        ('mmseg', 'sources/cutouts/primary', dict(images='sources'), 'no image|of colours'),
    ],
)
def test_what_does_not_fit_is_one_line(root, tmp_path, to, data, options, words):
    if 'images' in options:
        options = dict(options, images=str(root / options['images']))
    with pytest.raises(UserError, match=words):
        write(root, tmp_path, to, root / data, **options)
    assert not list(tmp_path.glob('*.py'))


def test_a_run_that_tells_nothing_is_one_line(root, tmp_path, monkeypatch, capsys):
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    with pytest.raises(SystemExit) as stop:
        run_tool(
            monkeypatch, 'start_transfer', tmp_path / 'bare.pth', '--to', 'mmdet',
            '--data', root / 'set/annotations/instances_train.json',
        )  # fmt: skip
    assert stop.value.code == 2
    assert 'stores no config of a ViT of this project' in capsys.readouterr().err


@pytest.mark.parametrize(
    'backbone, patch, size, prefix, windows',
    [
        # Sizes that only the name of the family tells; 14 becomes 16 on the same grid.
        (dict(arch='dinov2-small-reg'), 16, (592, 592), 0, True),
        (dict(arch='dinov3-small'), 16, None, 5, False),
        (dict(arch='tiny', img_size=64, patch_size=8), 8, (64, 64), 0, True),
    ],
)
def test_parts_of_the_encoder_follow(tmp_path, backbone, patch, size, prefix, windows):
    """On large images: windows where nothing stands against them, and then no tokens."""
    model = dict(type='mae_plugin.MAE', backbone=dict(type='mae_plugin.ViT', **backbone))
    text = Config(dict(model=model)).pretty_text
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), tmp_path / 'epoch_1.pth')
    images = [dict(id=number, file_name=f'{number}.png') for number in range(2)]
    box = dict(id=1, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)
    content = dict(
        images=images,
        annotations=[dict(box, id=number, image_id=number) for number in range(2)],
        categories=[dict(id=1, name='thing')],
    )
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    for image in images:
        cv2.imwrite(str(tmp_path / image['file_name']), np.zeros((700, 900, 3), np.uint8))
    start_transfer(
        str(tmp_path / 'epoch_1.pth'), 'mmdet', str(tmp_path / 'labels.json'),
        out=str(tmp_path / 'out'),
    )  # fmt: skip
    (path,) = (tmp_path / 'out').glob('*.py')
    cfg = Config.fromfile(path).model.backbone
    cfg.pop('init_cfg')
    init_default_scope('mae_plugin')
    vit = MODELS.build(cfg)
    assert vit.patch_size == patch and vit.num_prefix_tokens == prefix
    assert size is None or cfg.img_size == size
    assert ('window_size' in cfg) == windows == (vit.blocks[0].attn.window_size == 14)
