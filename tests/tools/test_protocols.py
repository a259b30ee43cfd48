"""The protocols of the paper from pretraining to their scores, through the command lines."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import run_tool, tiny_config, train, write_images
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.models import ViT
from mae_plugin.registry import MODELS

PLAYGROUND = Path(__file__).resolve().parents[2] / 'configs/playground'


@pytest.mark.parametrize('protocol', ['finetune_classes', 'linear_classes'])
def test_the_labelled_sets_encoder_fits_its_protocols(protocol, tmp_path):
    """Nothing resized, nothing left at initialisation, and the file named is one that is kept."""
    pretraining = Config.fromfile(PLAYGROUND / 'mae_classes.py')
    encoder = MODELS.build(pretraining.model.backbone)
    path = tmp_path / 'epoch.pth'
    torch.save({f'backbone.{key}': value for key, value in encoder.state_dict().items()}, path)

    page = PLAYGROUND / f'{protocol}.py'
    report = load_pretrained(MODELS.build(Config.fromfile(page).model.backbone), str(path))
    assert not report.initial and not report.changed
    epochs = pretraining.train_cfg.max_epochs
    assert re.findall(r'mae_classes/epoch_(\d+)', page.read_text()) == [str(epochs)]
    assert epochs % pretraining.default_hooks.checkpoint.interval == 0


# The playground's runs at a size of seconds; depth, protocol and recipe are theirs.
NARROW = [
    'model.backbone.arch.embed_dims=16',
    'model.backbone.arch.num_layers=2',
    'model.backbone.arch.num_heads=2',
    'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]
PRETRAIN = [
    *NARROW,
    'model.decoder.in_dims=16',
    'train_cfg.max_epochs=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'default_hooks.logger.interval=1',
]
CLASSIFY = [
    *NARROW,
    'model.neck.dims=16',
    'model.head.in_channels=16',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=2',
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two classes that any encoder tells apart, and a checkpoint: a run's and an official one."""
    root = tmp_path_factory.mktemp('protocols')
    rng = np.random.default_rng(0)
    for split, count in (('train', 16), ('val', 6)):
        for name, colour in (('green', (0, 180, 0)), ('red', (180, 0, 0))):
            (root / 'data' / split / name).mkdir(parents=True)
            for index in range(count):
                width = 64 if split == 'train' or index else 90
                pixels = (rng.integers(0, 70, (64, width, 3)) + colour).astype(np.uint8)
                Image.fromarray(pixels).save(root / 'data' / split / name / f'{index}.png')
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(
            monkeypatch, PLAYGROUND / 'mae_classes.py', root / 'data', root / 'mae',
            options=[*PRETRAIN, 'custom_hooks.5.max_share=1e9', 'custom_hooks.5.k=3'],
        )  # fmt: skip
        run_tool(
            monkeypatch, 'export_checkpoint', root / 'mae/epoch_2.pth', '--to', 'official',
            '--out', root / 'official.pth',
        )  # fmt: skip
    return root


def logged(work_dir, name):
    """The values of a name that a run logged."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def classify(monkeypatch, config, root, work_dir, *args, options=CLASSIFY):
    """Train a classifier and test its last checkpoint: its weights, as saved.

    The accuracy tested equals that of the validation after the last epoch.
    """
    train(monkeypatch, config, root / 'data', work_dir, *args, options=options)
    (checkpoint,) = work_dir.glob('epoch_*.pth')
    run_tool(
        monkeypatch, 'test', config, checkpoint, '--data-root', root / 'data', '--work-dir',
        work_dir / 'test', '--cfg-options', f'experiment_name=test-{work_dir.name}', *options,
    )  # fmt: skip
    (stored,) = (work_dir / 'test').glob('*/*.json')
    tested = json.loads(stored.read_text())['accuracy/top1']
    assert tested == logged(work_dir, 'accuracy/top1')[-1]
    return safe_load(checkpoint)


def differing(before, after):
    """Names of the encoder's weights that are no longer what they were."""
    trunk = {k.removeprefix('backbone.'): v for k, v in after.items() if k.startswith('backbone.')}
    return {name for name, weight in trunk.items() if not torch.equal(weight, before[name])}


@pytest.fixture(scope='module')
def pretrained(root):
    """The encoder's weights in the official file."""
    return safe_load(root / 'official.pth')['model']


@pytest.mark.slow
def test_pretraining_logs_its_probes_and_ends_with_a_report(root, monkeypatch, capsys):
    assert logged(root / 'mae', 'probe/linear') == [100.0]
    assert 'Frozen features' in (root / 'mae/report.html').read_text()
    run_tool(monkeypatch, 'report', root / 'mae', '--out', root / 'mae.html')
    assert capsys.readouterr().out.strip() == str(root / 'mae.html')
    page = (root / 'mae.html').read_text()
    assert '100.0%' in page and page.count('<img ') == 2  # reconstruction and neighbours
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, 'report', root / 'nowhere')
    assert 'nowhere holds no logged values' in capsys.readouterr().err


@pytest.mark.slow
def test_every_pretraining_run_ends_with_a_report(tmp_path, monkeypatch):
    images = write_images(tmp_path / 'images', 2)
    train(monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run')
    assert 'Loss' in (tmp_path / 'run/report.html').read_text()


@pytest.mark.slow
def test_fine_tuning_from_a_run(root, pretrained, tmp_path, monkeypatch):
    options = [*CLASSIFY, 'optim_wrapper.optimizer.lr=0.01', 'train_cfg.max_epochs=4']
    trained = classify(
        monkeypatch, PLAYGROUND / 'finetune_classes.py', root, tmp_path, '--pretrained',
        root / 'mae/epoch_2.pth', options=options,
    )  # fmt: skip
    assert logged(tmp_path, 'accuracy/top1')[-1] == 100.0
    # All of it is tuned, the positions too.
    assert differing(pretrained, trained['state_dict']) == set(pretrained) - {
        'norm.weight', 'norm.bias',
    }  # fmt: skip


def test_linear_probe_of_an_official_file(root, pretrained, tmp_path, monkeypatch):
    trained = classify(
        monkeypatch, PLAYGROUND / 'linear_classes.py', root, tmp_path, '--pretrained',
        root / 'official.pth', options=[*CLASSIFY, 'model.backbone.frozen_stages=2'],
    )  # fmt: skip
    assert not differing(pretrained, trained['state_dict'])
    assert logged(tmp_path, 'accuracy/top1')[-1] == 100.0
    # LARS got the head alone.
    groups = trained['optimizer']['param_groups']
    assert sum(len(group['params']) for group in groups) == 2


@pytest.mark.slow
def test_partial_fine_tuning_of_half_a_block_of_an_official_file(
    root, pretrained, tmp_path, monkeypatch
):
    trained = classify(
        monkeypatch, PLAYGROUND / 'finetune_classes.py', root, tmp_path, '--pretrained',
        root / 'official.pth', options=[*CLASSIFY, 'model.backbone.frozen_stages=1.5'],
    )  # fmt: skip
    assert differing(pretrained, trained['state_dict']) == {
        f'blocks.1.{part}.{kind}'
        for part in ('norm2', 'mlp.fc1', 'mlp.fc2')
        for kind in ('weight', 'bias')
    }


@pytest.mark.slow
def test_from_scratch_the_averaged_weights_are_tested(root, tmp_path, monkeypatch):
    """ImageNet's own recipe at its own size, with a narrow trunk and a short schedule."""
    config = tmp_path / 'scratch.py'
    config.write_text(f"""
_base_ = '{PLAYGROUND.parent}/classification/scratch_vit-b_300e_in1k.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=1, num_heads=2)),
    neck=dict(dims=16),
    head=dict(in_channels=16),
)
loader = dict(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader = val_dataloader = test_dataloader = loader
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
val_evaluator = test_evaluator = dict(topk=(1,))
train_cfg = dict(max_epochs=2, val_interval=2)
auto_scale_lr = dict(enable=False)
""")
    trained = classify(monkeypatch, config, root, tmp_path / 'run', options=['log_level=INFO'])
    # Saved under the model's own names is what was averaged; the raw weights stand beside it.
    averaged, raw = trained['state_dict'], trained['ema_state_dict']
    key = 'backbone.blocks.0.mlp.fc1.weight'
    assert not torch.equal(averaged[key], raw[f'module.{key}'])


def probe(monkeypatch, capsys, root, *args):
    """``tools/probe.py``: rows (name, feature, kNN, linear probe) and what it said beside them."""
    capsys.readouterr()
    run_tool(
        monkeypatch, 'probe', '--data-root', root / 'data', '--num-workers', 0, '--k', 3, *args
    )
    out, err = capsys.readouterr()
    # The log goes where the process's first test had its output.
    head, _, *lines = (line for line in out.splitlines() if line.startswith('|'))
    assert head == '| checkpoint | feature | kNN | linear |'
    return [tuple(cell.strip() for cell in line.strip('|').split('|')) for line in lines], err


def test_probe_of_a_run_an_official_file_and_random_weights(root, monkeypatch, capsys):
    files = [str(root / 'mae/epoch_2.pth'), str(root / 'official.pth')]
    rows, _ = probe(monkeypatch, capsys, root, *files, '--num-heads', 2, '--random')
    assert [row[:2] for row in rows] == [
        (name, pool) for name in (*files, 'random weights') for pool in ('avg', 'cls')
    ]
    assert {row[2:] for row in rows if row[1] == 'avg'} == {('100.0', '100.0')}
    with pytest.raises(SystemExit):
        probe(monkeypatch, capsys, root, root / 'official.pth')
    assert '--num-heads' in capsys.readouterr().err


def test_probe_of_an_encoder_without_class_token(root, tmp_path, monkeypatch, capsys):
    vit = ViT(dict(embed_dims=16, num_layers=1, num_heads=2), 64, 8, with_cls_token=False)
    vit.init_weights()
    torch.save(dict(model=vit.state_dict()), tmp_path / 'no-token.pth')
    rows, said = probe(monkeypatch, capsys, root, tmp_path / 'no-token.pth', '--num-heads', 2)
    assert [row[1] for row in rows] == ['avg']
    assert 'no-token.pth has no class token' in said


@pytest.mark.parametrize(
    'config, side',
    [('classification/robustness_vit-b_imagenet-c', 224), ('playground/finetune_classes', 64)],
)
def test_images_that_have_their_size_already_are_tested_as_they_are(tmp_path, config, side):
    cfg = Config.fromfile(PLAYGROUND.parent / f'{config}.py')
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    init_default_scope('mmpretrain')
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(dict(img_path=tmp_path / 'image.png'))
    # mmpretrain loads blue, green, red.
    assert (packed['inputs'].permute(1, 2, 0).numpy()[..., ::-1] == pixels).all()
