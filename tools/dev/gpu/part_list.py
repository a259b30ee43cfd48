"""Every registered model part, small enough for a test or as large as in practice.

The equality stage runs them on the GPU against the CPU, tests/models/test_devices.py on tensors
that have a device and no values. A new part joins by a line here; the test says which is missing.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.contestants import quiet
from torch import nn

from mae_plugin.models.masking import Masking
from mae_plugin.registry import MODELS

from .parts import (
    TINY,
    Part,
    Size,
    Tokenizer,
    images,
    normal,
    raw_images,
    run_mae,
    run_reconstruction,
)


def parts(size: Size = TINY) -> list[Part]:
    """All parts at a size."""
    return [*_maes(size), *_trunks(size), *_others(size)]


def covered(found: list[Part]) -> set[str]:
    """Names in the registry that a list of parts runs."""
    return {name for part in found for name in part.types}


def registered() -> set[str]:
    """Names of this project's own model parts in the registry."""
    import mae_plugin.models  # noqa: F401

    types = MODELS.module_dict.items()
    return {name for name, kind in types if kind.__module__.startswith('mae_plugin.')}


def maskings() -> list[str]:
    """Names of all registered maskings of ours."""
    return sorted(name for name in registered() if issubclass(MODELS.get(name), Masking))


def _maes(size: Size) -> list[Part]:
    shape = dict(img_size=size.side, patch_size=size.patch)
    arch = dict(embed_dims=size.dims, num_layers=size.depth, num_heads=size.heads)
    wide = dict(embed_dims=size.decoder_dims, num_heads=size.decoder_heads, in_dims=size.dims)
    self_attention = dict(type='MAEDecoder', depth=size.depth, **wide, **shape)
    cross = dict(type='CrossAttentionDecoder', depth=size.depth, **wide, **shape)
    pixels = dict(type='PixelTarget', patch_size=size.patch)
    pca = dict(type='PCATarget', patch_size=size.patch, num_components=12)

    def mae(
        name: str,
        masking: str = 'RandomMasking',
        decoder: dict = self_attention,
        target: dict = pixels,
        **changes: Any,
    ) -> Part:
        def build() -> nn.Module:
            chosen = target
            if target['type'] == 'TokenTarget':
                chosen = dict(target, tokenizer=Tokenizer())
            if target['type'] == 'TeacherTarget':
                teacher = MODELS.build(dict(type='ViT', _scope_='mae_plugin', arch=arch, **shape))
                with quiet():
                    teacher.init_weights()
                chosen = dict(target, teacher=teacher)
            model = MODELS.build(
                dict(
                    type='MAE',
                    _scope_='mae_plugin',
                    data_preprocessor=dict(type='MAEDataPreprocessor'),
                    masking=dict(type=masking),
                    backbone=dict(type='ViT', arch=arch, **shape),
                    decoder=decoder,
                    head=dict(type='ReconstructionHead', in_dims=size.decoder_dims, target=chosen),
                    **changes,
                )
            )
            with quiet():
                model.init_weights()
            if target['type'] == 'PCATarget':
                # As a checkpoint brings them: fitted before, on another machine.
                fitted = MODELS.build(dict(target, _scope_='mae_plugin'))
                noise = torch.randn(fitted.mean.numel(), 2 * fitted.mean.numel())
                fitted.fit(noise.mean(1), torch.cov(noise))
                model.head.target.load_state_dict(fitted.state_dict())
            return model

        always = ('MAE', 'MAEDataPreprocessor', 'ViT', 'ReconstructionHead')
        types = (*always, masking, decoder['type'], target['type'])
        return Part(name, types, build, lambda: raw_images(size), run_mae)

    tokens = dict(type='TokenTarget', vocab_size=16, patch_size=size.patch)
    return [
        mae('MAE'),
        *(mae(f'MAE, {name}', name) for name in maskings() if name != 'RandomMasking'),
        mae('MAE, plain pixels, loss on all', target=dict(pixels, norm_pix=False), loss_on='all'),
        mae('MAE, PCA target', target=pca),
        mae('MAE, token target', target=tokens),
        mae('MAE, teacher target', target=dict(type='TeacherTarget')),
        mae(
            'MAE, mask tokens in the encoder',
            decoder=dict(self_attention, with_mask_token=False),
            encoder_mask_tokens=True,
        ),
        mae(
            'MAE, learned positions in the decoder',
            'CellMasking',
            decoder=dict(self_attention, positions=dict(type='LearnedPositions')),
        ),
        mae(
            'MAE, fused layers',
            decoder=dict(self_attention, in_layers=[*range(size.depth)]),
        ),
        mae('MAE, cross-attention decoder', decoder=cross),
        mae(
            'MAE, cross-attention decoder, mixed layers, a part predicted',
            decoder=dict(cross, in_layers=size.depth),
            prediction_ratio=0.25,
        ),
        Part(
            'MAE, reconstruction',
            ('MAE',),
            mae('').build,
            lambda: raw_images(size),
            run_reconstruction,
            trains=False,
        ),
    ]


def _trunks(size: Size) -> list[Part]:
    arch = dict(embed_dims=size.dims, num_layers=size.depth, num_heads=size.heads)
    shape = dict(img_size=size.side, patch_size=size.patch)

    def trunk(
        name: str, kind: str, options: dict, height: int = size.side, also: tuple[str, ...] = ()
    ) -> Part:
        def build() -> nn.Module:
            own = {} if kind == 'LoRA' else dict(arch=arch, **shape)
            model = MODELS.build(dict(own, **options, type=kind, _scope_='mae_plugin'))
            with quiet():
                model.init_weights()
            for key, parameter in model.named_parameters():
                if 'rel_pos' in key:  # zero at the start, where nothing could differ
                    nn.init.normal_(parameter, std=0.3)
            return model

        return Part(name, (kind, *also), build, lambda: images(size, height))

    dense = dict(with_cls_token=False, rel_pos_img_size=size.side, train_pos_embed=True)
    windows = dict(dense, window_size=size.window, global_attn_indexes=(size.depth - 1,))
    tokens = dict(num_cls_tokens=2, num_register_tokens=3)
    rotary = dict(type='RotaryPositions')
    name = 'ViTBackbone, windows'
    other_height = size.side + size.patch + 3
    return [
        trunk('ViT', 'ViT', {}, also=('SinCosPositions',)),
        trunk(
            'ViT, class tokens and registers, learned positions',
            'ViT',
            dict(tokens, positions=dict(type='LearnedPositions')),
            also=('LearnedPositions',),
        ),
        trunk(
            'ViT, rotary positions, gated MLP',
            'ViT',
            dict(arch=dict(arch, mlp='swiglu', key_bias=False), positions=rotary, **tokens),
            also=('RotaryPositions',),
        ),
        trunk('ViTBackbone', 'ViTBackbone', {}),
        trunk(
            'ViTBackbone, low-rank adapters',
            'LoRA',
            dict(module=dict(windows, type='ViTBackbone', arch=arch, **shape), rank=2),
            also=('ViTBackbone',),
        ),
        trunk('ViTBackbone, relative positions', 'ViTBackbone', dense),
        trunk(f'{name}, relative positions', 'ViTBackbone', windows),
        trunk(f'{name}, an image of another size', 'ViTBackbone', windows, other_height),
        trunk(f'{name}, recomputing', 'ViTBackbone', dict(windows, use_checkpoint=True)),
    ]


def _others(size: Size) -> list[Part]:
    """Maskings drawn from keys, and what stands between a trunk and a head."""
    dims = size.dims
    lengths = (size.batch, 1 + size.grid**2, dims)

    def part(
        kind: str, options: dict, *shape: int, count: int = 0, trains: bool = True, name: str = ''
    ) -> Part:
        def inputs() -> Any:
            made = [normal(*shape, seed=index) for index in range(count or 1)]
            return tuple(made) if count else made[0]

        return Part(
            name or kind,
            (kind,),
            lambda: MODELS.build(dict(type=kind, _scope_='mae_plugin', **options)),
            inputs,
            trains=trains,
        )

    def masking(kind: str) -> Part:
        return Part(
            kind,
            (kind,),
            lambda: MODELS.build(dict(type=kind, _scope_='mae_plugin')),
            lambda: 1000 + torch.arange(size.batch),
            lambda module, keys: module(len(keys), (size.grid, size.grid), keys.device, keys),
            trains=False,
        )

    maps = (size.batch, dims, size.grid, size.grid)
    return [
        *map(masking, maskings()),
        part('TokenPool', dict(dims=dims, norm='layer'), *lengths, name='TokenPool, LayerNorm'),
        part('TokenPool', dict(dims=dims, pool='cls', norm='batch'), *lengths, trains=False),
        part('SimpleFeaturePyramid', dict(in_channels=dims, out_channels=dims), *maps),
        part('BlockGroupPyramid', dict(in_channels=dims), *maps, count=4),
        part('MapNorm', dict(in_channels=[dims] * 2, norm_cfg=dict(type='BN')), *maps, count=2),
        part('LayerNorm2d', dict(num_channels=dims), *maps),
    ]
