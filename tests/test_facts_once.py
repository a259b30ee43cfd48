"""Image size, patch size, channels and width are said once, of the encoder; all else follows."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.utils import to_2tuple

from mae_plugin.cli.run_config import override
from mae_plugin.engine.config_checks import transforms_of
from mae_plugin.engine.image_shape import hand_on_image_shape
from mae_plugin.models import MAE, MAEDecoder
from mae_plugin.models.parts import build_part
from mae_plugin.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
ARCH = dict(embed_dims=32, num_layers=1, num_heads=2)


def load(name: str, *options: str) -> Config:
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.arch = ARCH
    cfg.model.decoder.update(embed_dims=16, depth=1, num_heads=2)
    for option in options:
        override(cfg, option)
    hand_on_image_shape(cfg)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(
    'option, size, channels, patch_size',
    [
        ('model.backbone.patch_size=8', (224, 224), 3, 8),
        ('model.backbone.img_size=(64,96)', (64, 96), 3, 16),
        ('model.backbone.in_channels=5', (224, 224), 5, 16),
    ],
)
def test_one_option_changes_a_fact_everywhere(option, size, channels, patch_size):
    cfg = load('mae_vit-b_pretrain.py', option)
    model = MODELS.build(cfg.model)
    model.init_weights()
    images = torch.randint(0, 256, (2, channels, *size), dtype=torch.uint8)
    losses = model.train_step(dict(inputs=images), _Optimizer(model))
    assert torch.isfinite(losses['loss'])
    for loader in ('train_dataloader', 'test_dataloader'):
        load_step = cfg[loader].dataset.pipeline[0]
        assert load_step.channels == channels
        assert tuple(to_2tuple(load_step.size)) == size
    assert model.decoder.grid == tuple(side // patch_size for side in size)
    assert model.head.target.dims == patch_size**2 * channels


class _Optimizer:
    """As much of an optimizer wrapper as a step asks for."""

    def __init__(self, model: MAE) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def optim_context(self, model: MAE):
        return torch.enable_grad()

    def update_params(self, loss: torch.Tensor) -> None:
        loss.backward()
        self.optimizer.step()


@pytest.mark.parametrize(
    'name, size, channels, patch_size',
    [
        ('pretrain/mae_vit-b-p8_12band.py', (96, 96), 12, 8),
        ('pretrain/mae_vit-b-p16_grey-160x96.py', (160, 96), 1, 16),
    ],
)
def test_deltas_say_each_fact_once(name, size, channels, patch_size):
    text = (CONFIGS / name).read_text()
    assert text.count('patch_size') <= 1 and text.count('img_size') == 1
    model = MODELS.build(load(name).model)
    assert model.head.target.dims == patch_size**2 * channels
    assert model.decoder.grid == (size[0] // patch_size, size[1] // patch_size)


MAE_CONFIGS = sorted(
    path
    for folder in ('pretrain', 'ablations', 'playground', '.')
    for path in (CONFIGS / folder).glob('*.py' if folder == '.' else '**/*.py')
    if '_base_' not in path.parts and 'mae_plugin.MAE' in str(Config.fromfile(path).model.type)
)


@pytest.mark.parametrize('path', MAE_CONFIGS, ids=lambda path: path.stem)
def test_no_config_of_ours_repeats_what_the_encoder_says(path):
    cfg = Config.fromfile(path)
    head = cfg.model.head
    said = {
        'decoder': set(cfg.model.decoder) & {'in_dims', 'img_size', 'patch_size'},
        'head': set(head) & {'in_dims', 'patch_size', 'in_channels'},
        'target': set(head.get('target') or {}) & {'patch_size', 'in_channels'},
    }
    for loader in ('train_dataloader', 'test_dataloader'):
        for transform in transforms_of(cfg, loader):
            said[loader] = said.get(loader, set()) | set(transform) & {'size', 'channels'}
    assert not any(said.values()), said


def test_what_a_config_says_itself_stays():
    """Configs from before this repeat themselves."""
    cfg = load('mae_vit-b_pretrain.py').model
    repeated = copy.deepcopy(cfg)
    repeated.decoder.update(in_dims=32, img_size=224, patch_size=16)
    repeated.head.update(in_dims=16)
    repeated.head.target.update(patch_size=16, in_channels=3)
    repeated.data_preprocessor.update(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0])
    ours, theirs = MODELS.build(cfg), MODELS.build(repeated)
    for (name, a), (other, b) in zip(ours.state_dict().items(), theirs.state_dict().items()):
        assert name == other and a.shape == b.shape
    assert theirs.data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]


def test_a_part_of_ones_own_that_passes_its_arguments_on():
    @MODELS.register_module(force=True)
    class PassingDecoder(MAEDecoder):
        def __init__(self, extra: int = 0, **kwargs) -> None:
            super().__init__(**kwargs)
            self.extra = extra

    config = dict(type='PassingDecoder', extra=1, embed_dims=16, depth=1, num_heads=2)
    try:
        decoder = build_part(config, in_dims=32, img_size=(32, 64), patch_size=8, mean=0)
        assert decoder.embed.in_features == 32 and decoder.grid == (4, 8)
        with pytest.raises(ValueError, match=r'takes no dept:.*depth'):
            build_part(dict(config, dept=1))
    finally:
        MODELS.module_dict.pop('PassingDecoder')
