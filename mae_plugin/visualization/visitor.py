"""What the controls of a page to play with do, whatever draws the page."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS

from .explorer import Explorer, GivenMask

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
        """A file that was uploaded: its path on this machine, once it is known to be a picture."""
        if upload is not None:
            self.explorers[0].load(upload)
        return (upload,)

    def hide(
        self, path: str | None, ratio: float, kind: str, seed: int, hidden: np.ndarray | None
    ) -> tuple:
        """Hide patches: what is hidden, original, masked, and two pictures of each decoder."""
        decoders = [explorer for explorer in self.explorers if explorer.mae is not None]
        if path is None:
            return (None,) * (3 + 2 * len(decoders))
        first = self.explorers[0]
        image = first.load(path)
        grid = first.grid(image)
        if kind != BY_HAND or hidden is None or hidden.shape != grid:
            kind = self.maskings.get(kind, 'RandomMasking')
            masking = MODELS.build(dict(type=kind, mask_ratio=ratio))
            _, ids = masking(1, grid, 'cpu', torch.tensor([sample_key(int(seed or 0), 0)]))
            hidden = np.zeros(grid[0] * grid[1], bool)
            hidden[ids[0].numpy()] = True
            hidden = hidden.reshape(grid)
        pictures = [first.shown(image), first.masked(image, hidden)]
        results: list[np.ndarray | None] = [enlarged(picture) for picture in pictures]
        for explorer in decoders:
            own = image if explorer is first else explorer.load(path)
            found = explorer.reconstruct(own, GivenMask(fitted(hidden, explorer.grid(own))))
            # A target without pixels has no reconstruction.
            results += [enlarged(picture) for picture, _ in found[2:]] or (None, None)
        return hidden, *results

    def draw(
        self, path: str | None, ratio: float, kind: str, seed: int, hidden: np.ndarray | None
    ) -> tuple:
        """Draw a mask anew, of the first kind after one by hand: its kind, and as :meth:`hide`."""
        kind = next(iter(self.maskings)) if kind == BY_HAND else kind
        return kind, *self.hide(path, ratio, kind, seed, hidden)

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
            return kind, *self.hide(None, ratio, kind, seed, None)
        row, column = self._patch(path, place)
        changed = hidden.copy()
        changed[row, column] = not changed[row, column]
        if changed.all() or not changed.any():
            raise UserError('at least one patch is hidden, and one visible')
        return BY_HAND, *self.hide(path, ratio, BY_HAND, seed, changed)

    def look(self, path: str | None, place: tuple[int, int] | None = None) -> tuple:
        """Where a patch attends, and what is like it, of each checkpoint.

        Args:
            path: The picture's.
            place: Of a click; None is the middle.

        Returns:
            The picture with a frame around the patch, then two pictures of each checkpoint.
        """
        if path is None:
            return (None,) * (1 + 2 * len(self.explorers))
        first = self.explorers[0]
        image = first.load(path)
        height, width = first.grid(image)
        row, column = self._patch(path, place) if place else (height // 2, width // 2)
        pictures = [framed(enlarged(first.shown(image)), row, column, (height, width))]
        for explorer in self.explorers:
            image = explorer.load(path)
            own = explorer.grid(image)
            patch = row * own[0] // height, column * own[1] // width
            pictures += [enlarged(picture) for picture, _ in explorer.look(image, patch)]
        return tuple(pictures)

    def colours(self, path: str | None) -> tuple:
        """The picture, and colours of the features of each checkpoint."""
        if path is None:
            return (None,) * (1 + len(self.explorers))
        first = self.explorers[0]
        original = enlarged(first.shown(first.load(path)))
        pictures = [explorer.colours(explorer.load(path)) for explorer in self.explorers]
        return original, *(enlarged(picture) for ((picture, _),) in pictures)

    def _patch(self, path: str, place: tuple[int, int]) -> tuple[int, int]:
        """Row and column of a click on a picture of :func:`enlarged`."""
        first = self.explorers[0]
        image = first.load(path)
        height, width = first.grid(image)
        side = first.vit.patch_size * factor(*image.shape[-2:])
        column, row = (int(pixel) // side for pixel in place)
        return min(max(row, 0), height - 1), min(max(column, 0), width - 1)


def framed(picture: np.ndarray, row: int, column: int, grid: tuple[int, int]) -> np.ndarray:
    """A picture with a red frame around a patch of its grid (h, w)."""
    side, width = picture.shape[0] // grid[0], max(2, picture.shape[0] // 100)
    top, left = row * side, column * side
    inner = picture[top + width : top + side - width, left + width : left + side - width].copy()
    picture[top : top + side, left : left + side] = (230, 30, 30)
    picture[top + width : top + side - width, left + width : left + side - width] = inner
    return picture


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
