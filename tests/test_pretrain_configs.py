"""Pretraining configs: deltas that change what their names say, and pages that know them."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.utils import to_2tuple

from mae_plugin.arch import ARCHS
from mae_plugin.engine.config_checks import check_images, check_schedule
from mae_plugin.engine.image_shape import hand_on_image_shape
from mae_plugin.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
FRONT_DOOR = ROOT / 'configs' / 'mae_vit-b_pretrain.py'
FOLDER = ROOT / 'configs' / 'pretrain'
CONFIGS = sorted(FOLDER.glob('*.py'))
PUBLISHED = [path for path in CONFIGS if path.stem.endswith('_in1k')]
PLAYGROUND = [
    ROOT / 'configs/playground/mae_demo.py',
    ROOT / 'configs/playground/mae_playground.py',
]


@pytest.mark.parametrize('path', [FRONT_DOOR, *CONFIGS, *PLAYGROUND], ids=lambda path: path.stem)
def test_images_schedule_and_model_fit_each_other(path):
    cfg = Config.fromfile(path)
    check_schedule(cfg)
    hand_on_image_shape(cfg)
    check_images(cfg, ('train_dataloader', 'test_dataloader'))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.decoder.grid == model.backbone.grid
    size = to_2tuple(cfg.model.backbone.img_size)
    for loader in ('train_dataloader', 'test_dataloader'):
        if cfg.get(loader):
            assert to_2tuple(cfg[loader].dataset.pipeline[0].size) == size
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert path.name in text
    for part in ('Run:', 'Cost:'):
        assert part in text, f'{part} is missing'


@pytest.mark.parametrize('path', PUBLISHED, ids=lambda path: path.stem)
def test_names_say_what_is_inside(path):
    arch, patch, epochs = re.match(r'.*vit-(\w+)-p(\d+)_.*-(\d+)e_in1k', path.stem).groups()
    cfg = Config.fromfile(path)
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.patch_size) == (arch, int(patch))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.decoder.embed.in_features == ARCHS[arch].embed_dims
    assert model.head.pred.in_features == model.decoder.embed_dims
    assert cfg.train_cfg.max_epochs == int(epochs)
    assert 8 * cfg.train_dataloader.batch_size == 8 * 512 == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == 1.5e-4 * 4096 / 256
    # The cosine has no end of its own: it ends where training does.
    assert 'end' not in cfg.param_scheduler[-1]


@pytest.mark.parametrize('epochs', [300, 400, 1600])
def test_other_schedules_change_nothing_else(epochs):
    base = Config.fromfile(FRONT_DOOR).to_dict()
    delta = Config.fromfile(FOLDER / f'mae_vit-base-p16_8xb512-amp-coslr-{epochs}e_in1k.py')
    base['train_cfg']['max_epochs'] = epochs
    assert delta.to_dict() == base


def test_the_pages_know_every_config():
    readme = (FOLDER / 'README.md').read_text()
    links = {(FOLDER / link).resolve() for link in re.findall(r'\]\(([^)]*\.py)\)', readme)}
    assert links == {*CONFIGS, FRONT_DOOR}
    meta = yaml.safe_load((FOLDER / 'metafile.yml').read_text())
    assert {ROOT / model['Config'] for model in meta['Models']} == {*PUBLISHED, FRONT_DOOR}
    assert {model['In Collection'] for model in meta['Models']} == {meta['Collections'][0]['Name']}
    for model in meta['Models']:
        cfg = Config.fromfile(ROOT / model['Config'])
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
