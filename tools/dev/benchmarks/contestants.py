"""The MAE implementations that the training-step benchmark compares, each as it is shipped.

Every contestant is built with its own project's optimizer, so that a step costs what its users
pay. All compute the same loss: ViT at mask ratio 0.75, 8 decoder blocks of width 512, per-patch
normalised pixels (tests/models/test_mae_reference.py shows that they agree).
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mae_plugin.arch import ARCHS

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {
    'mae': 'configs/mae_vit-b_pretrain.py',
    'cross': 'configs/pretrain/mae-cross_vit-base-p16_8xb512-amp-coslr-800e_in1k.py',
}


@dataclass
class Options:
    """What all contestants share."""

    arch: str = 'base'
    img_size: int = 224
    batch_size: int = 16
    decoder_depth: int = 8
    device: str = 'cpu'
    amp: bool = False
    compile: bool | dict = False
    patch_size: int = 16


class Contestant:
    """A model, its loss and its optimizer, and one training step of them.

    Args:
        model: The model, in training mode.
        loss: Function of the normalised images (B, 3, H, W).
        optimizer: As its project ships it.
        options: Shared options.
        half: Precision under ``--amp``; float16 gets a loss scaler, as it must.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        options: Options,
        half: torch.dtype = torch.bfloat16,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        device = torch.device(options.device)
        self.device = device
        shape = (options.batch_size, 3, options.img_size, options.img_size)
        self.images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        self.autocast: Any = nullcontext
        self.tuning: Any = nullcontext  # of the backward too, which may compute blocks again
        if options.amp:
            self.autocast = lambda: torch.autocast(device.type, half)
        scaled = options.amp and half == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def forward_backward(self) -> None:
        """Loss and gradients."""
        with self.tuning():
            with self.autocast():
                loss = self.loss(self.images)
            self.scaler.scale(loss).backward()

    def update(self) -> None:
        """Optimizer step; the gradients are dropped."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> tuple[float, float]:
        """One training step: seconds of forward + backward, and of the optimizer."""
        start = self._now()
        self.forward_backward()
        middle = self._now()
        self.update()
        return middle - start, self._now() - middle

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def ours(options: Options, decoder: str = 'mae') -> Contestant:
    """This project's shipped config; on a CPU with what tools/train.py switches on there."""
    from mae_plugin.engine.cpu_tuning import cpu_tuning
    from mae_plugin.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

    cfg = Config.fromfile(ROOT / CONFIGS[decoder])
    shape = dict(img_size=options.img_size, patch_size=options.patch_size)
    cfg.model.backbone.update(arch=options.arch, **shape)
    cfg.model.decoder.update(
        in_dims=ARCHS[options.arch].embed_dims, depth=options.decoder_depth, **shape
    )
    cfg.model.head.target.patch_size = options.patch_size
    if decoder == 'cross':
        cfg.model.decoder.in_layers = ARCHS[options.arch].num_layers
    cfg.model.compile = options.compile
    # Drawn where they stay: a CPU takes seconds for ViT-H.
    with torch.device(options.device):
        model = MODELS.build(cfg.model)
        model.init_weights()
    model.to(options.device).train()
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=cfg.optim_wrapper.constructor,
            optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer),
            paramwise_cfg=cfg.optim_wrapper.paramwise_cfg,
        )
    )
    optimizer = constructor(model).optimizer
    contestant = Contestant(model, lambda images: model.loss(images)['loss'], optimizer, options)
    if options.device == 'cpu' and not options.compile:
        contestant.tuning = lambda: (
            nullcontext() if model.backbone.use_checkpoint else cpu_tuning()
        )
    return contestant


def mmpretrain_mae(options: Options) -> Contestant:
    """mmpretrain's MAE with its shipped optimizer; float16 and a loss scaler under AMP."""
    import mmpretrain.models
    from mmengine.optim import build_optim_wrapper
    from mmpretrain.registry import MODELS

    file = 'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'
    cfg = Config.fromfile(Path(mmpretrain.__file__).parent / '.mim/configs' / file)
    width, depth, heads = ARCHS[options.arch][:3]
    arch = dict(
        embed_dims=width, num_layers=depth, num_heads=heads, feedforward_channels=4 * width
    )
    patch_size = options.patch_size
    cfg.model.backbone.update(arch=arch, img_size=options.img_size, patch_size=patch_size)
    cfg.model.neck.update(
        embed_dim=width,
        decoder_depth=options.decoder_depth,
        num_patches=(options.img_size // patch_size) ** 2,
        patch_size=patch_size,
    )
    cfg.model.head.patch_size = patch_size
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(options.device).train()
    wrapper_cfg = dict(
        type='OptimWrapper',
        optimizer=cfg.optim_wrapper.optimizer,
        paramwise_cfg=cfg.optim_wrapper.paramwise_cfg,
    )
    optimizer = build_optim_wrapper(model, wrapper_cfg).optimizer

    def loss(images: Tensor) -> Tensor:
        return model(images, data_samples=None, mode='loss')['loss']

    return Contestant(model, loss, optimizer, options, half=torch.float16)


def hugging_face(options: Options) -> Contestant:
    """Hugging Face's ViTMAE with fused attention, and the optimizer of its Trainer."""
    from transformers import TrainingArguments, ViTMAEConfig, ViTMAEForPreTraining

    width, depth, heads = ARCHS[options.arch][:3]
    config = ViTMAEConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads,
        intermediate_size=4 * width, image_size=options.img_size, patch_size=options.patch_size,
        decoder_num_hidden_layers=options.decoder_depth, norm_pix_loss=True, layer_norm_eps=1e-6,
        attn_implementation='sdpa',
    )  # fmt: skip
    with torch.device(options.device):
        model: nn.Module = ViTMAEForPreTraining(config)
    model.to(options.device).train()
    fused = 'fused' in str(TrainingArguments.__dataclass_fields__['optim'].default)
    optimizer = torch.optim.AdamW(_two_groups(model), lr=1e-4, betas=(0.9, 0.95), fused=fused)
    return Contestant(model, lambda images: model(images).loss, optimizer, options)


def official(options: Options) -> Contestant:
    """The official algorithm on today's timm, with the official optimizer."""
    from .official_mae import OfficialMAE

    with torch.device(options.device):
        model = OfficialMAE(
            *ARCHS[options.arch][:3],
            img_size=options.img_size,
            patch_size=options.patch_size,
            decoder_depth=options.decoder_depth,
        )
    model = model.to(options.device).train()
    optimizer = torch.optim.AdamW(_two_groups(model), lr=1e-4, betas=(0.9, 0.95))
    return Contestant(model, model, optimizer, options)


def installed() -> dict[str, Callable[[Options], Contestant]]:
    """The peers whose libraries are installed, by name."""
    peers = dict(mmpretrain=mmpretrain_mae, transformers=hugging_face, timm=official)
    names = dict(mmpretrain='mmpretrain MAE', transformers='HF ViTMAE', timm='official on timm')
    return {
        names[library]: build
        for library, build in peers.items()
        if importlib.util.find_spec(library) is not None
    }


def _two_groups(model: nn.Module) -> list[dict[str, Any]]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        dict(params=[p for p in parameters if p.ndim > 1], weight_decay=0.05),
        dict(params=[p for p in parameters if p.ndim <= 1], weight_decay=0.0),
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Without mmengine's line for each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)
