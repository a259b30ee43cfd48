"""From a batch of raw pixels to a normalised float batch on the device."""

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor

from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.registry import MODELS

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class MAEDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device as it is (uint8: a quarter of the bytes), then normalises it.

    Called by hand: ``preprocessor(dict(inputs=images))['inputs']``. A first batch of floats from 0
    to 1, as torchvision gives, is warned of where ``mean`` is in other units.

    Args:
        mean (Sequence[float], optional): Mean per channel in the units of the pixels (0 to 255 for
            uint8). None: ImageNet's for three channels; the middle of 8 bits for others, with a
            warning.
        std (Sequence[float], optional): Standard deviation per channel, in the same units.
        in_channels (int): Channels, where mean and std are None.
        channels_last (bool): Give the batch the channels-last memory format.
        pad_size_divisor (int): Pad bottom and right with zeros (the mean colour) to a multiple.
        non_blocking (bool): Copy pinned batches without waiting for them.

    Raises:
        UserError: If mean and std differ in length, or a std is not positive.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels_last: bool = False,
        pad_size_divisor: int = 1,
        non_blocking: bool = True,
        in_channels: int = 3,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if mean is None or std is None:
            default_mean, default_std = _default_statistics(in_channels)
            mean = default_mean if mean is None else mean
            std = default_std if std is None else std
        if len(mean) != len(std):
            raise UserError(
                f'mean has {len(mean)} values and std {len(std)}; give one of each per channel'
            )
        if min(std) <= 0:
            raise UserError(f'std={tuple(std)} must be positive in every channel')
        # In Python numbers, for parts that need them where nothing has values (the meta device).
        self.statistics = dict(mean=tuple(mean), std=tuple(std))
        self.channels_last = channels_last
        self.pad_size_divisor = pad_size_divisor
        self._check_range = max(mean) > 1  # until the first batch of floats
        shape = (1, len(mean), 1, 1)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(shape), False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(shape), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise one batch.

        Args:
            data (dict): ``inputs``, a (B, C, H, W) tensor or a list of B (C, H, W) tensors of one
                size, of any dtype; ``data_samples`` (optional), a list.
            training (bool): Unused; part of mmengine's interface.

        Returns:
            dict: ``inputs`` (B, C, H, W) float32 on the device, ``data_samples`` list or None.

        Raises:
            UserError: If ``data`` is no such dict, or the images do not have as many channels as
                ``mean``.
        """
        images = _batch_in(data)
        if images.shape[1] != self.mean.shape[1]:
            last = images.shape[3] == self.mean.shape[1]
            swap = ', or put channels first: images.permute(0, 3, 1, 2)' if last else ''
            raise UserError(
                f'inputs of shape {tuple(images.shape)} have {images.shape[1]} channels, but mean '
                f"and std have {self.mean.shape[1]} values; set mean, std and the model's "
                f"in_channels to the images' channels{swap}"
            )
        if self._check_range and images.is_floating_point():
            self._check_range = False
            self._warn_of_fractions(images)
        images = images.to(self.device, non_blocking=self._non_blocking)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        images = images.to(torch.float32, memory_format=layout, copy=True)
        images = self.pad(images.sub_(self.mean).div_(self.std))
        return dict(inputs=images, data_samples=self.move_labels(data.get('data_samples')))

    def _warn_of_fractions(self, images: torch.Tensor) -> None:
        """Say that values of 0 to 1, as torchvision gives, are not in the units of ``mean``."""
        # Only on the CPU: nothing may wait for a device.
        if images.device.type == 'cpu' and images.numel() and images.max() <= 1:
            log(
                f'the first batch of floats has no value above 1, but mean is up to '
                f'{self.mean.max():g}: give images in the units of mean and std (times 255, or '
                f'uint8 as they were), or mean and std for 0 to 1; else features are wrong',
                level=logging.WARNING,
            )

    def denormalize(self, images: torch.Tensor) -> torch.Tensor:
        """Back to pixel units: (B, C, H, W) normalised -> (B, C, H, W) in the units of mean."""
        return images * self.std + self.mean

    def pad(self, images: torch.Tensor) -> torch.Tensor:
        """Pad bottom and right to a multiple of ``pad_size_divisor``."""
        height, width = images.shape[-2:]
        bottom, right = -height % self.pad_size_divisor, -width % self.pad_size_divisor
        return F.pad(images, (0, right, 0, bottom)) if bottom or right else images

    def move_labels(self, samples: list | None) -> list | None:
        """Send all labels to the device in one copy; nothing else in a sample is a tensor."""
        labelled = [s for s in samples or () if 'gt_label' in s]
        if labelled:
            labels = torch.stack([torch.as_tensor(s.gt_label) for s in labelled])
            labels = labels.to(self.device, non_blocking=self._non_blocking)
            for sample, label in zip(labelled, labels, strict=True):
                sample.gt_label = label
        return samples


def _default_statistics(in_channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of images that nothing is known of."""
    if in_channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    log(
        f'no mean and std for images of {in_channels} channels: taking 127.5 for both, the middle '
        'of 8 bits; set model.data_preprocessor.mean and std to those of your data',
        level=logging.WARNING,
    )
    return [127.5] * in_channels, [127.5] * in_channels


def _batch_in(data: dict) -> torch.Tensor:
    """The (B, C, H, W) images of a batch as a loader or a user's own code gives it.

    Raises:
        UserError: If it is anything else; the message shows the call.
    """
    call = 'call preprocessor(dict(inputs=images)) with images (B, C, H, W), a tensor'
    if not isinstance(data, dict) or 'inputs' not in data:
        found = f'dict with keys {list(data)}' if isinstance(data, dict) else type(data).__name__
        raise UserError(f'a {found} is no batch: {call}')
    images = data['inputs']
    if isinstance(images, (list, tuple)):
        if not images:
            raise UserError(f'inputs are an empty list: {call}')
        if isinstance(images[0], torch.Tensor):
            images = torch.stack(list(images))
    if not isinstance(images, torch.Tensor):
        kind = type(images).__name__
        if isinstance(images, (list, tuple)):
            kind += f' of {type(images[0]).__name__}'
        raise UserError(
            f'inputs are a {kind}: {call}; of a NumPy image (H, W, C), '
            f'torch.from_numpy(image).permute(2, 0, 1)[None]'
        )
    if images.ndim != 4:
        raise UserError(
            f'inputs of shape {tuple(images.shape)}: {call}; of one image (C, H, W), image[None]'
        )
    return images
