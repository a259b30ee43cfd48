"""Image files as inputs of an encoder, at any size."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.transforms import LoadFixedCrop
from mae_plugin.errors import UserError
from mae_plugin.models.vit import ViT


def load_image(
    path: str | Path, vit: ViT, size: int | str | None = None, **decoding: Any
) -> Tensor:
    """One image, its aspect ratio kept as far as whole patches allow.

    Args:
        path: File of any format.
        vit: The encoder, which sets patch size and channels.
        size: Short side in pixels, or 'native' to leave the image as it is; that of pretraining
            when None.
        decoding: As in training: ``keep_depth``, ``nodata``, ``background``, ``max_bytes`` of
            :class:`~mae_plugin.datasets.decoding.decode.ImageSource`.

    Returns:
        (1, C, H, W) in the file's units.

    Raises:
        UserError: If the image cannot be read, or has other channels than the encoder.
    """
    patch_size = vit.patch_size
    channels = vit.patch_embed.proj.in_channels
    try:
        source = ImageSource(path, channels, **decoding)
        short = min(vit.grid) * patch_size if size is None else size
        zoom = 1.0 if isinstance(short, str) else short / min(source.height, source.width)
        # The tolerance keeps a side that is just short of a whole patch by rounding.
        height, width = (
            max(1, int(side * zoom / patch_size + 1e-3)) * patch_size
            for side in (source.height, source.width)
        )
        crop = LoadFixedCrop(
            (height, width),
            flip_prob=0,
            random=False,
            exact=True,
            channels=channels,
            **decoding,
        )
        results = crop(dict(img_path=str(path), rng=np.random.default_rng(0)))
    except (BadImageError, OSError) as error:
        raise UserError(f'{path}: {error}') from error
    return torch.as_tensor(results['img'][0])[None]
