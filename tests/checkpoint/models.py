"""Tiny models of ours, and files that they are loaded from."""

import os

import torch

from mae_plugin.models import (
    MAE,
    MAEDecoder,
    PixelTarget,
    RandomMasking,
    ReconstructionHead,
    ViT,
)

from .peers import ARCH, DIMS, PATCH, SIZE


def vit(**kwargs) -> ViT:
    return ViT(**(dict(arch=ARCH, img_size=SIZE, patch_size=PATCH) | kwargs)).eval()


def mae(decoder_dims: int = 32, size: int | tuple[int, int] = SIZE) -> MAE:
    shared = dict(img_size=size, patch_size=PATCH)
    return MAE(
        backbone=ViT(ARCH, **shared),
        decoder=MAEDecoder(DIMS, decoder_dims, 2, 4, **shared),
        head=ReconstructionHead(decoder_dims, PixelTarget(PATCH, norm_pix=False)),
        masking=RandomMasking(),
    ).eval()


def save(content, path) -> str:
    torch.save(content, path)
    return str(path)


def weights(module) -> dict:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def our_run(model) -> dict:
    """As mmengine writes a run."""
    return dict(state_dict=model.state_dict(), meta=dict(epoch=1), message_hub={})


class Shell:
    """Pickles as a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)
