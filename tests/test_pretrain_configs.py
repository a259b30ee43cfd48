"""Pretraining configs: deltas that change what their names say, and pages that know them."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import to_2tuple

from mae_plugin.arch import ARCHS, parse_arch
from mae_plugin.checkpoint import load_pretrained
from mae_plugin.cli.run_config import override
from mae_plugin.engine.config_checks import check_images, check_schedule
from mae_plugin.engine.image_shape import hand_on_image_shape
from mae_plugin.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
FRONT_DOOR = ROOT / 'configs' / 'mae_vit-b_pretrain.py'
FOLDER = ROOT / 'configs' / 'pretrain'
CONFIGS = sorted(FOLDER.glob('*.py'))
PUBLISHED = [path for path in CONFIGS if re.search(r'_in(1|21)k$', path.stem)]
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
    pattern = r'(.*)_vit-(\w+)-p(\d+)_(\d+)xb(\d+)-.*-(\d+)e_in\d+k'
    family, arch, patch, gpus, batch, epochs = re.match(pattern, path.stem).groups()
    cfg = Config.fromfile(path)
    backbone = cfg.model.backbone
    assert backbone.arch.removeprefix('pixio-') == arch
    assert backbone.arch.startswith('pixio-') == (family == 'pixio')
    assert backbone.patch_size == int(patch)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.decoder.embed.in_features == ARCHS[arch].embed_dims
    assert model.head.pred.in_features == model.decoder.embed_dims
    assert cfg.train_cfg.max_epochs == int(epochs)
    assert cfg.train_dataloader.batch_size == int(batch)
    base, rate = (8192, 2.5e-5) if family == 'pixio' else (4096, 1.5e-4)
    assert int(gpus) * int(batch) == base == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == rate * base / 256
    # The cosine has no end of its own: it ends where training does.
    assert 'end' not in cfg.param_scheduler[-1]


@pytest.mark.parametrize('size', ['base', 'large', 'huge'])
def test_pixios_recipe_is_the_published_one(size):
    cfg = Config.fromfile(FOLDER / f'pixio_vit-{size}-p16_64xb128-amp-coslr-400e_in21k.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.backbone.pos_embed.shape[1] == model.decoder.pos_embed.shape[1] == 8 + 16 * 16
    assert model.backbone.pos_embed.requires_grad and model.decoder.pos_embed.requires_grad
    assert (model.masking.cell_size, model.masking.mask_ratio) == (4, 0.75)
    decoder = model.decoder
    assert (len(decoder.blocks), decoder.embed_dims) == (32, 512) and decoder.use_checkpoint
    assert decoder.blocks[0].attn.num_heads == 16
    assert cfg.model.backbone.get('drop_path_rate', 0) == (0.4 if size == 'huge' else 0)
    assert model.head.target.norm_pix and model.loss_on == 'masked'
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.95), 0.05)
    warmup, cosine = cfg.param_scheduler
    assert warmup['end'] == cosine['begin'] == 40 and cfg.train_cfg.max_epochs == 400
    crop = cfg.train_dataloader.dataset.pipeline[0]
    assert (crop.scale, crop.flip_prob) == ((0.2, 1.0), 0)


PIXELS = [
    path
    for path in [*CONFIGS, *sorted((ROOT / 'configs/playground').glob('*_classes.py'))]
    if 'PixelTarget' in str(Config.fromfile(path).get('model', {}).get('head', {}).get('target'))
]


@pytest.mark.parametrize('path', PIXELS, ids=lambda path: path.stem)
def test_a_step_of_each_trains_every_weight(path):
    """Small, with its own parts; other targets want files or a fit, and have their own tests."""
    model = Config.fromfile(path).model
    backbone, decoder = model.backbone, model.decoder
    arch = parse_arch(backbone.arch)._replace(embed_dims=32, num_heads=2, num_layers=12)._asdict()
    size = to_2tuple(backbone.img_size)
    img_size = tuple(side // backbone.patch_size * 4 for side in size)
    backbone.update(arch=arch, patch_size=4, img_size=img_size, drop_path_rate=0.0)
    decoder.update(embed_dims=16, num_heads=2, depth=min(3, decoder.depth))
    if isinstance(decoder.get('in_layers', 1), list):
        decoder.in_layers = [*decoder.in_layers[:-1], 11]
    built = MODELS.build(model)
    built.init_weights()
    channels = backbone.get('in_channels', 3)
    built(torch.randn(2, channels, *img_size), mode='loss')['loss'].backward()
    trained = {name: p.grad for name, p in built.named_parameters() if p.requires_grad}
    assert not [name for name, gradient in trained.items() if gradient is None]
    assert all(gradient.isfinite().all() for gradient in trained.values())


TOKENS = [
    f'model.{part}_tokens=4' for part in ('backbone.num_cls', 'neck.num_cls', 'neck.num_prefix')
]


@pytest.mark.parametrize('name, options', [('mff_classes', []), ('pixio_classes', TOKENS)])
def test_their_checkpoints_go_into_the_classifier(name, options, tmp_path):
    source = MODELS.build(Config.fromfile(ROOT / f'configs/playground/{name}.py').model)
    source.init_weights()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'run.pth')
    cfg = Config.fromfile(ROOT / 'configs/playground/finetune_classes.py')
    for option in options:
        override(cfg, option)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    load_pretrained(model, str(tmp_path / 'run.pth'), num_heads=4)
    given = source.backbone.state_dict()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, given[key]), key
    assert model(torch.randn(2, 3, 64, 64), mode='tensor').shape == (2, 8)


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
