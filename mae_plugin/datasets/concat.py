"""Several folders or sets of shards as one data set."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mae_plugin.datasets.image_dataset import ImageDataset
from mae_plugin.errors import UserError
from mae_plugin.registry import DATASETS


@DATASETS.register_module()
class ConcatDataset(ImageDataset):
    """Image folders and shards, one after the other, each with its own pipeline.

    As mmengine's wrapper of this name, which knows nothing of passes. Crops and masks follow from
    an image's place in the whole, and a bad image is replaced by one of the whole.

    Args:
        datasets (Sequence[dict | ImageDataset]): The parts.
        seed (int, optional): See :class:`ImageDataset`; those of the parts have no say.
        bad_images (dict, optional): See :class:`ImageDataset`; those of the parts have no say.

    Raises:
        UserError: If there is no part, one is no image data set of ours, or the parts have
            different classes.
    """

    def __init__(
        self,
        datasets: Sequence[dict | ImageDataset],
        seed: int | None = None,
        bad_images: dict | None = None,
    ) -> None:
        super().__init__((), seed, bad_images)
        self.datasets: list[ImageDataset] = [
            DATASETS.build(part) if isinstance(part, dict) else part for part in datasets
        ]
        if not self.datasets:
            raise UserError('ConcatDataset(datasets=[]) needs at least one data set')
        for part in self.datasets:
            if not isinstance(part, ImageDataset):
                raise UserError(
                    f'ConcatDataset joins ImageFolder and ImageShards, not {type(part).__name__}: '
                    "take type='mmengine.ConcatDataset'"
                )
            if part.classes != self.datasets[0].classes:
                raise UserError(
                    f'ConcatDataset: the parts have different classes, {part.classes} and '
                    f'{self.datasets[0].classes}: give all of them the same list, classes=[...]'
                )
        self.classes = self.datasets[0].classes
        self._ends = np.cumsum(self._sizes())

    def __len__(self) -> int:
        return int(self._ends[-1])

    def path(self, index: int) -> str:
        """Name of an image in messages and metainfo."""
        part, inner = self._find(index)
        return part.path(inner)

    def name(self, index: int) -> str:
        """Number of its part, and its name there: two folders may have the same names."""
        part, inner = self._find(index)
        number = int(np.searchsorted(self._ends, index, side='right'))
        return f'{number}/{part.name(inner)}'

    def locate(self, index: int) -> dict:
        """What the loading transform of its part needs."""
        part, inner = self._find(index)
        return part.locate(inner)

    def image_of(self, index: int, rng: np.random.Generator) -> int:
        """Number of the image that a sample shows, by the rule of its part."""
        part, inner = self._find(index)
        return index - inner + part.image_of(inner, rng)

    def transforms(self, index: int) -> Sequence[Callable]:
        """The pipeline of its part."""
        part, _ = self._find(index)
        return part.pipeline

    def permutation(self, rng: np.random.Generator) -> np.ndarray:
        """A random order in which each part keeps its own: shards are read a few at a time."""
        total = len(self)
        order = np.empty(total, np.int64)
        sources = rng.permutation(np.repeat(np.arange(len(self.datasets)), self._sizes()))
        begin = 0
        for number, part in enumerate(self.datasets):
            own: Any = getattr(part, 'permutation', None)
            inner = rng.permutation(len(part)) if own is None else own(rng)
            order[sources == number] = begin + inner
            begin += len(part)
        return order

    def _sizes(self) -> list[int]:
        return [len(part) for part in self.datasets]

    def _find(self, index: int) -> tuple[ImageDataset, int]:
        number = int(np.searchsorted(self._ends, index, side='right'))
        begin = self._ends[number - 1] if number else 0
        return self.datasets[number], index - int(begin)
