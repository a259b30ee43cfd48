"""What a run's stored config says of its encoder and of how its images were read."""

import inspect
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.utils import to_2tuple

from mae_plugin.arch import Arch, parse_arch
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.checkpoint.stored_config import stored_config
from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.engine.resume import find_resumable
from mae_plugin.errors import MissingFileError, UserError
from mae_plugin.models.positions import RotaryPositions
from mae_plugin.models.preprocessor import IMAGENET_MEAN, IMAGENET_STD
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS, builds

_PATCHES = (4, 8, 16, 32)  # from which the pyramids make strides of 4 to 32
# What belongs to a training, not to the encoder.
_OF_TRAINING = {'init_cfg', 'frozen_stages', 'use_checkpoint', 'drop_path_rate', 'final_norm'}
_OF_TRAINING |= {'arch', 'img_size', 'patch_size', 'in_channels', 'train_pos_embed'}


class PretrainedRun(NamedTuple):
    """A run of this project, as a detector or a segmentor needs to know it.

    Attributes:
        name: Of the run's folder.
        checkpoint: Absolute path of the file.
        arch: As the config has it, a name or a dict.
        sizes: The numbers of ``arch``.
        img_size: (H, W) at which positions are made, for ``patch_size``.
        patch_size: That of pretraining; 16 where no pyramid fits that, such as 14: the patch
            projection is resized while loading.
        channels: C.
        rotary: Whether positions are rotary: no windows and no relative positions beside them.
        encoder: Other arguments of the encoder.
        mean, std: C values each, in the scale of what the loader gives.
        decoding: Options of the loaders.
    """

    name: str
    checkpoint: str
    arch: str | dict[str, Any]
    sizes: Arch
    img_size: tuple[int, int]
    patch_size: int
    channels: int
    rotary: bool
    encoder: dict[str, Any]
    mean: list[float]
    std: list[float]
    decoding: dict[str, Any]


def read_run(place: str) -> PretrainedRun:
    """Read a run's config.

    Args:
        place: Its work dir, of which the newest whole checkpoint is taken, or a checkpoint.

    Raises:
        UserError: If there is no checkpoint, or it is not one of this project's runs.
    """
    path = Path(place).expanduser()
    if not path.exists():
        raise MissingFileError(f'{place} does not exist: give the work dir of a run, or a file')
    if path.is_dir():
        found = find_resumable(path)
        if found is None:
            raise UserError(f'{place} holds no checkpoint of a run: give a .pth file')
        path = Path(found)
    content = safe_load(path, mmap=True)
    config = stored_config(content)
    model = config.get('model') or {}
    model = model.get('module', model)
    backbone = model.get('backbone') or {}
    if not builds(MODELS, backbone, ViT, 'mae_plugin'):
        raise UserError(
            f'{place} stores no config of a ViT of this project, so that its size, channels, mean '
            'and std are unknown: for other files, write a config on top of '
            'configs/detection or configs/segmentation'
        )
    channels = backbone.get('in_channels', 3)
    sizes = parse_arch(backbone.get('arch', 'base'))
    patch = backbone.get('patch_size') or sizes.patch_size
    size = to_2tuple(backbone.get('img_size') or sizes.img_size)
    positions = backbone.get('positions') or sizes.positions
    used = patch if patch in _PATCHES else 16
    preprocessor = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    known = set(inspect.signature(ViT).parameters) - _OF_TRAINING
    middle = [127.5] * channels
    return PretrainedRun(
        name=path.resolve().parent.name,
        checkpoint=str(path.resolve()),
        arch=backbone.get('arch', 'base'),
        sizes=sizes,
        img_size=(size[0] // patch * used, size[1] // patch * used),
        patch_size=used,
        channels=channels,
        rotary=builds(MODELS, positions, RotaryPositions, 'mae_plugin'),
        encoder={name: value for name, value in backbone.items() if name in known},
        mean=list(preprocessor.get('mean') or (IMAGENET_MEAN if channels == 3 else middle)),
        std=list(preprocessor.get('std') or (IMAGENET_STD if channels == 3 else middle)),
        decoding=decoding_options(config),
    )
