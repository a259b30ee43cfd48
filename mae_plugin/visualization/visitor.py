"""What the controls of a page to play with do, whatever draws the page."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS

from .explorer import Explorer, GivenMask

Picture = tuple[np.ndarray, str]
BY_HAND = 'by hand'
# Small pictures are enlarged, so that patches can be seen and hit.
_LEAST_SIDE = 448


class Visitor:
    """What the controls of the page do; everything between two calls is in their arguments.

    Args:
        explorers: The checkpoints.
        maskings: Types of the maskings by the names that the page has for them.
    """

    def __init__(self, explorers: Sequence[Explorer], maskings: Mapping[str, str]) -> None:
        self.explorers = explorers
        self.maskings = maskings

    def open(self, upload: str | None) -> tuple:
        """A file that was uploaded: its path on this machine, and the picture."""
        if upload is None:
            return None, None, [], []
        first = self.explorers[0]
        return upload, enlarged(first.shown(first.load(upload))), [], []

    def hide(
        self, path: str | None, ratio: float, kind: str, seed: int, hidden: np.ndarray | None
    ) -> tuple:
        """Hide patches and reconstruct: the masked picture, the results, and what is hidden."""
        if path is None:
            return None, [], None
        image = self.explorers[0].load(path)
        grid = self.explorers[0].grid(image)
        if kind != BY_HAND or hidden is None or hidden.shape != grid:
            kind = self.maskings.get(kind, 'RandomMasking')
            masking = MODELS.build(dict(type=kind, mask_ratio=ratio))
            _, ids = masking(1, grid, 'cpu', torch.tensor([sample_key(int(seed or 0), 0)]))
            hidden = np.zeros(grid[0] * grid[1], bool)
            hidden[ids[0].numpy()] = True
            hidden = hidden.reshape(grid)
        results: list[Picture] = []
        shown = None
        for explorer in self.explorers:
            own = explorer.load(path)
            found = explorer.reconstruct(own, GivenMask(fitted(hidden, explorer.grid(own))))
            shown = found[1][0] if shown is None else shown
            results += named(explorer, found[2:] or found[:1], len(self.explorers))
        assert shown is not None
        return enlarged(shown), results, hidden

    def toggle(
        self,
        path: str | None,
        ratio: float,
        kind: str,
        seed: int,
        hidden: np.ndarray | None,
        place: tuple[int, int],
    ) -> tuple:
        """Hide a patch or show it again."""
        if path is None or hidden is None:
            return kind, None, [], None
        row, column = self._patch(path, place)
        changed = hidden.copy()
        changed[row, column] = not changed[row, column]
        if changed.all() or not changed.any():
            raise UserError('at least one patch is hidden, and one visible')
        return BY_HAND, *self.hide(path, ratio, BY_HAND, seed, changed)

    def look(self, path: str | None, place: tuple[int, int]) -> list[Picture]:
        """Where the patch that was clicked on attends, and what is like it."""
        if path is None:
            return []
        row, column = self._patch(path, place)
        first = self.explorers[0]
        height, width = first.grid(first.load(path))
        pictures: list[Picture] = []
        for explorer in self.explorers:
            image = explorer.load(path)
            own = explorer.grid(image)
            patch = row * own[0] // height, column * own[1] // width
            pictures += named(explorer, explorer.look(image, patch), len(self.explorers))
        return pictures

    def colours(self, path: str | None) -> list[Picture]:
        """Colours of the features of each checkpoint."""
        if path is None:
            return []
        pictures: list[Picture] = []
        for explorer in self.explorers:
            found = explorer.colours(explorer.load(path))
            pictures += named(explorer, found, len(self.explorers))
        return pictures

    def _patch(self, path: str, place: tuple[int, int]) -> tuple[int, int]:
        """Row and column of a click on a picture of :func:`enlarged`."""
        first = self.explorers[0]
        image = first.load(path)
        height, width = first.grid(image)
        side = first.vit.patch_size * factor(*image.shape[-2:])
        column, row = (int(pixel) // side for pixel in place)
        return min(max(row, 0), height - 1), min(max(column, 0), width - 1)


def named(explorer: Explorer, pictures: Sequence[Picture], checkpoints: int) -> list[Picture]:
    """Pictures with the checkpoint's name in their captions, where there are several."""
    prefix = f'{explorer.name}: ' if checkpoints > 1 else ''
    return [(enlarged(picture), prefix + caption) for picture, caption in pictures]


def fitted(hidden: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) on another grid, for a checkpoint with other patches; never all or none."""
    if hidden.shape == grid:
        return hidden
    rows, columns = (np.arange(new) * old // new for new, old in zip(grid, hidden.shape))
    other = hidden[rows][:, columns]
    if other.all() or not other.any():
        other[-1, -1] = not other[-1, -1]
    return other


def factor(height: int, width: int) -> int:
    """By which a picture is enlarged."""
    return -(-_LEAST_SIDE // min(height, width))


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture with each pixel as a square."""
    times = factor(*picture.shape[:2])
    return picture.repeat(times, axis=0).repeat(times, axis=1)
