"""Files to look at: a tiny run, an encoder of other sizes, a picture."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tools'))

from front_door import tiny_config, train, write_images

from mae_plugin.models import ViT


def write_files(folder, num_layers, patch_size):
    """``epoch_*.pth`` with patches of 4, ``encoder.pth`` of 2 heads, ``photo.png`` of 24x40."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(
            monkeypatch, tiny_config(folder / 'tiny.py'), write_images(folder / 'images'), folder
        )
    noise = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)
    Image.fromarray(noise).save(folder / 'photo.png')
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=num_layers, num_heads=2)
    vit = ViT(arch, img_size=16, patch_size=patch_size)
    vit.init_weights()
    torch.save(vit.state_dict(), folder / 'encoder.pth')
    return folder
