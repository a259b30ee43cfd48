"""Some images of a data set that a run is watched on, the same in each evaluation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mae_plugin.visualization.reconstruction import display_bands, to_display


class WatchedImages:
    """Evenly spaced samples of pass 0, read anew each time: they may be many and large.

    Args:
        dataset: Gives ``dataset[(0, index)]``, packed.
        count: At most as many.
        batch_size: Images at once.
    """

    def __init__(self, dataset: Dataset, count: int, batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        total = len(dataset)  # type: ignore[arg-type]
        count = min(count, total)
        self.indices = [number * total // count for number in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self) -> Iterator[dict[str, Any]]:
        """``inputs`` (B, C, H, W) and ``data_samples`` with the samples' keys."""
        for first in range(0, len(self), self.batch_size):
            numbers = range(first, min(first + self.batch_size, len(self)))
            samples = [self._sample(number) for number in numbers]
            yield dict(
                inputs=torch.stack([image for image, _ in samples]),
                data_samples=[sample for _, sample in samples],
            )

    def pictures(self, numbers: Sequence[int], bands: Sequence[int] | None) -> list[np.ndarray]:
        """uint8 (H, W, 3) of some of them, each in its own range.

        Args:
            numbers: From 0 to ``len(self)``.
            bands: Channels shown, as for
                :func:`~mae_plugin.visualization.reconstruction.display_bands`.
        """
        images = [self._sample(number)[0][None] for number in numbers]
        return [
            to_display(image, image, display_bands(image.shape[1], bands))[0] for image in images
        ]

    def _sample(self, number: int) -> tuple[Tensor, Any]:
        """One image (C, H, W), of several crops the first, and its data sample."""
        sample: Any = self.dataset[(0, self.indices[number])]
        image, data = sample['inputs'], sample['data_samples']
        several = image.ndim == 4
        return (image[0] if several else image), (data[0] if several else data)
