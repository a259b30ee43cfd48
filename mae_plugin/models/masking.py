"""Which patches MAE removes: random, block-wise and grid-wise sampling (paper, Table 1f).

Shapes: B batch, h x w patch grid, L = h·w patches, K kept, M = L - K masked.
Contract: a masking decides, the encoder obeys; in masks, **1 is masked (removed)**, 0 is kept.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid
from mae_plugin.registry import MODELS

from .noise import hashed_noise, unit_noise


def split_by_noise(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Keep the ``int(L · (1 - mask_ratio))`` patches of least noise, as the official code does.

    Args:
        noise: (B, L), any dtype.
        mask_ratio: Share of patches removed.

    Returns:
        ids_keep (B, K) and ids_masked (B, M), both in order of rising noise.
    """
    length = noise.shape[1]
    ids = noise.argsort(dim=1, stable=True)
    num_keep = int(length * (1 - mask_ratio))
    return ids[:, :num_keep], ids[:, num_keep:]


def mask_from_ids(ids_masked: Tensor, length: int) -> Tensor:
    """Float mask (B, L) in raster order from ids_masked (B, M): 1 is masked."""
    mask = torch.zeros(ids_masked.shape[0], length, device=ids_masked.device)
    return mask.scatter_(1, ids_masked, 1.0)


def restore_ids(ids_keep: Tensor, ids_masked: Tensor) -> Tensor:
    """Index (B, L) that puts tokens ordered as [ids_keep, ids_masked] back in raster order."""
    return torch.cat([ids_keep, ids_masked], dim=1).argsort(dim=1)


class Masking(nn.Module):
    """Common part of all maskings: the ratio, the noise, the number kept.

    Args:
        mask_ratio: Share of patches removed, in [0, 1).

    Raises:
        UserError: If ``mask_ratio`` is outside [0, 1).
    """

    def __init__(self, mask_ratio: float = 0.75) -> None:
        super().__init__()
        if not 0 <= mask_ratio < 1:
            raise UserError(
                f'mask_ratio={mask_ratio} is outside [0, 1): the paper uses 0.75; 0 keeps all'
            )
        self.mask_ratio = mask_ratio

    def extra_repr(self) -> str:
        """Show the ratio when the model is printed."""
        return f'mask_ratio={self.mask_ratio}'

    def num_keep(self, grid: Grid) -> int:
        """How many patches of a grid (h, w) stay visible: K.

        Raises:
            UserError: If none would.
        """
        length = grid[0] * grid[1]
        kept = int(length * (1 - self.mask_ratio))
        if kept < 1:
            raise UserError(
                f'mask_ratio={self.mask_ratio} keeps none of the {length} patches of a '
                f'{grid[0]}x{grid[1]} grid: lower it, or use larger images or smaller patches'
            )
        return kept

    # Numbers drawn for each patch. Who scores with several leaves the last L numbers unused: they
    # order the masked patches.
    noise_per_patch = 1

    @abstractmethod
    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """Turn uniform noise into scores (B, L); patches of least score are kept.

        Each row should follow from its own noise alone, bit for bit, in any batch.

        Args:
            noise: (B, noise_per_patch · L): int64 over 0 to 2^53 - 1 where keys drew it, else
                float32 in [0, 1). ``unit_noise`` makes both float64 in [0, 1).
            grid: Patch grid (h, w); L = h · w.
        """

    def forward(
        self,
        batch_size: int,
        grid: Grid,
        device: torch.device | str | None = None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw a mask for each sample.

        Args:
            batch_size: B.
            grid: Patch grid (h, w).
            device: Where to draw.
            keys: int64 (B,) sample keys; the mask is then a pure function of each. Without them
                torch's global generator draws.

        Returns:
            ids_keep (B, K) and ids_masked (B, M), raster indices, disjoint, together all of L.
            ids_masked comes in random order: any first n are a random choice among the masked.

        Raises:
            UserError: If nothing would be kept, or the scores are not one for each patch.
        """
        self.num_keep(grid)
        length = grid[0] * grid[1]
        draws = length * self.noise_per_patch
        if keys is not None:
            noise = hashed_noise(keys.to(device, non_blocking=True), draws)
        else:
            noise = torch.rand(batch_size, draws, device=device)
        score = self.score(noise, grid)
        if score.shape != (batch_size, length):
            raise UserError(
                f'{type(self).__name__}.score gave {tuple(score.shape)} for {batch_size} images '
                f'of {grid[0]}x{grid[1]} patches: it should be {(batch_size, length)}'
            )
        ids_keep, ids_masked = split_by_noise(score, self.mask_ratio)
        if score is not noise:
            order = noise[:, -length:].gather(1, ids_masked).argsort(dim=1)
            ids_masked = ids_masked.gather(1, order)
        return ids_keep, ids_masked


@MODELS.register_module()
class RandomMasking(Masking):
    """Uniform random sampling without replacement (paper, section 3): MAE's default."""

    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """The noise itself, so that a given noise gives the official model's mask."""
        return noise


@MODELS.register_module()
class GridMasking(Masking):
    """Regular sampling: at 0.75 one of every four patches is kept (paper, Figure 6 right).

    Other ratios follow the same regularity: patches are kept in the order of a Bayer dither
    matrix, which spreads any number of them evenly (at 0.5, a checkerboard). Nothing is random.
    """

    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """Rank of each patch in the dither matrix, the same for every sample."""
        bayer = torch.zeros(1, 1, dtype=torch.int64, device=noise.device)
        while min(bayer.shape) < max(grid):
            bayer = torch.cat(
                [
                    torch.cat([4 * bayer, 4 * bayer + 2], dim=1),
                    torch.cat([4 * bayer + 3, 4 * bayer + 1], dim=1),
                ]
            )
        rank = bayer[: grid[0], : grid[1]].flatten()
        return rank.expand(noise.shape[0], -1)


@MODELS.register_module()
class BlockMasking(Masking):
    """Block-wise sampling of BEiT (paper, Figure 6 middle): rectangles until M are removed.

    Each rectangle's area is uniform between ``min_patches`` and what is still to be removed, its
    aspect ratio log-uniform in ``aspect``; the last one is cut to make the number exact. Drawn
    for the whole batch at once on the device, without synchronising.

    Args:
        mask_ratio: Share of patches removed, in [0, 1).
        min_patches: Least area of a rectangle, in patches (BEiT: 16).
        aspect: Range of height over width (BEiT: 0.3 to 1 / 0.3).
    """

    def __init__(
        self,
        mask_ratio: float = 0.75,
        min_patches: int = 16,
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__(mask_ratio)
        self.min_patches = min_patches
        self.aspect = aspect

    # Up to 3·L numbers for rectangles (four each), L for patches never covered, and the last L
    # for the order of the masked ones.
    noise_per_patch = 5

    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """Patches covered first score highest; those never covered least, in random order."""
        h, w = grid
        length = h * w
        uniform = unit_noise(noise)
        to_mask = length - int(length * (1 - self.mask_ratio))
        rounds = min(max(1, 3 * length // 4), 64)
        draws = uniform[:, : 4 * rounds].unflatten(1, (rounds, 4))
        log_low, log_high = map(math.log, self.aspect)
        rows = torch.arange(h, device=noise.device)[None, :, None]
        columns = torch.arange(w, device=noise.device)[None, None, :]
        # Never covered: below every round's score, ordered by noise that no rectangle has used.
        score = -uniform[:, 3 * length : 4 * length].reshape(-1, h, w)
        for index in range(rounds):
            area_u, aspect_u, top_u, left_u = draws[:, index, :, None, None].unbind(1)
            covered = (score > 0).flatten(1).sum(1)[:, None, None]
            least = min(self.min_patches, max(to_mask, 1))
            area = least + area_u * (to_mask - covered - least).clamp(min=0)
            aspect = (log_low + aspect_u * (log_high - log_low)).exp()
            height = (area * aspect).sqrt().round().clamp(1, h)
            width = (area / aspect).sqrt().round().clamp(1, w)
            top = (top_u * (h - height + 1)).floor()
            left = (left_u * (w - width + 1)).floor()
            inside = (rows >= top) & (rows < top + height)
            inside = inside & (columns >= left) & (columns < left + width)
            score = torch.where(inside & (score <= 0), float(rounds - index), score)
        return score.flatten(1)
