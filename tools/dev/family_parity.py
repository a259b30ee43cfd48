"""Features of foundation ViTs at their real sizes against timm's and transformers' own classes.

The suite compares tiny models; this compares S of DINOv2 and DINOv3 by their `arch` names, with
random weights, through a file, and prints a Markdown table::

    python tools/dev/family_parity.py                # a minute or two
    python tools/dev/family_parity.py --only dinov3
"""

import logging
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
from mae_plugin.models import ViT, ViTBackbone

GRIDS = ((16, 16), (20, 20), (12, 24))
SMALL = dict(hidden_size=384, num_hidden_layers=12, num_attention_heads=6)


def of_timm(name: str, **kwargs: Any) -> nn.Module:
    """A model of timm without its head."""
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, **kwargs)


def of_transformers(name: str, **kwargs: Any) -> nn.Module:
    """A model of transformers."""
    import transformers

    return getattr(transformers, f'{name}Model')(getattr(transformers, f'{name}Config')(**kwargs))


def dinov2(name: str) -> nn.Module:
    """transformers' DINOv2 S/14."""
    return of_transformers(name, image_size=518, patch_size=14, **SMALL)


def dinov3(**kwargs: Any) -> nn.Module:
    """transformers' DINOv3 S/16."""
    return of_transformers('DINOv3ViT', num_register_tokens=4, **SMALL, **kwargs)


# Model, our arch, and how it resizes positions where that is not the official code's way.
ROWS: dict[str, tuple[Callable[[], nn.Module], str, str | None]] = {
    'timm DINOv2 S/14': (
        lambda: of_timm('vit_small_patch14_dinov2', dynamic_img_size=True),
        'dinov2-small',
        'bicubic-antialias',
    ),
    'timm DINOv2 S/14, registers': (
        lambda: of_timm('vit_small_patch14_reg4_dinov2', dynamic_img_size=True),
        'dinov2-small-reg',
        None,
    ),
    'transformers DINOv2 S/14': (lambda: dinov2('Dinov2'), 'dinov2-small', 'bicubic'),
    'transformers DINOv2 S/14, registers': (
        lambda: dinov2('Dinov2WithRegisters'),
        'dinov2-small-reg',
        None,
    ),
    'timm DINOv3 S/16': (lambda: of_timm('vit_small_patch16_dinov3'), 'dinov3-small', None),
    'timm DINOv3 S+/16': (
        lambda: of_timm('vit_small_plus_patch16_dinov3_qkvb'),
        'dinov3-small-plus',
        None,
    ),
    'transformers DINOv3 S/16': (dinov3, 'dinov3-small', None),
    'transformers DINOv3 S+/16': (
        lambda: dinov3(use_gated_mlp=True, hidden_act='silu'),
        'dinov3-small-plus',
        None,
    ),
}


def randomised(model: nn.Module) -> nn.Module:
    """Random values everywhere, so that nothing is hidden by a zero or a small layer scale."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and 'bias' not in name:
            is_layer_scale = 'gamma' in name or 'lambda' in name
            parameter.data = torch.randn(parameter.shape) * 0.1 + (0.3 if is_layer_scale else 1)
        else:
            parameter.data = torch.randn(parameter.shape) * (0.02 if parameter.dim() > 1 else 0.05)
    return model.eval()


def error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation over the largest value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def compare(make: Callable[[], nn.Module], arch: str, resize: str | None) -> list[str]:
    """The greater of the errors of ViT and ViTBackbone at each size."""
    peer = randomised(make())
    positions = dict(type='LearnedPositions', resize=resize)
    kwargs: dict[str, Any] = dict(positions=positions) if resize else {}
    vit = ViT(arch, **kwargs).eval()
    backbone = ViTBackbone(arch, final_norm=True, **kwargs).eval()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / 'model.pth')
        torch.save(peer.state_dict(), file)
        for model in (vit, backbone):
            load_pretrained(model, file)
    cells = []
    for grid in GRIDS:
        height, width = (side * vit.patch_size for side in grid)
        images = torch.randn(1, 3, height, width)
        if hasattr(peer, 'forward_features'):
            tokens = peer.forward_features(images)
        else:
            tokens = peer(images).last_hidden_state
        patches = tokens[:, vit.num_prefix_tokens :].mT.unflatten(2, grid)
        worst = max(error(vit(images), tokens), error(backbone(images)[0], patches))
        cells.append(f'{height}x{width}: {worst:.1e}')
    return cells


def main() -> None:
    """Print the table, each row as soon as it is known."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='', help='rows whose arch begins so')
    only = parser.parse_args().only
    keep_torchvision_importable()
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)
    print('| model | arch | error, relative | | |\n|---|---|---|---|---|')
    for name, (make, arch, resize) in ROWS.items():
        if arch.startswith(only):
            print(f'| {name} | `{arch}` | {" | ".join(compare(make, arch, resize))} |', flush=True)


if __name__ == '__main__':
    main()
