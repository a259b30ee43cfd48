"""Resizing of positions, relative positions, patch projections and channels at load."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, resize_pos_embed


def fit_pos_embed(
    pos_embed: Tensor,
    target: Grid,
    num_rows: int,
    num_cls_tokens: int = 1,
    source: Grid | None = None,
    how: str = 'bicubic',
) -> tuple[Tensor, str]:
    """Bring position embeddings to another grid, with or without the class tokens' rows.

    Missing rows for class tokens become zero, which is what a file without them adds.

    Args:
        pos_embed: (1, N, D).
        target: Grid (h, w) wanted.
        num_rows: Rows wanted before the grid, one for each class token of the model.
        num_cls_tokens: Class tokens of the file, so that rows for them are likely.
        source: Grid of ``pos_embed`` where it is known; else see :func:`find_grid`.
        how: How to resize, one of :data:`mae_plugin.geometry.RESIZES`.

    Returns:
        (1, num_rows + h·w, D), and what was done in words, '' for nothing.

    Raises:
        UserError: If the rows form no grid that can be told.
    """
    if source is None:
        num_prefix, source = find_grid(pos_embed, target, num_cls_tokens)
    else:
        num_prefix = pos_embed.shape[1] - source[0] * source[1]
    words = []
    if tuple(source) != tuple(target):
        words.append('a grid of {}x{} to a grid of {}x{}, {}'.format(*source, *target, how))
    pos_embed = resize_pos_embed(pos_embed, source, target, num_prefix, how)
    if num_prefix > num_rows:
        words.append("without the class token's row")
        pos_embed = pos_embed[:, num_prefix - num_rows :]
    elif num_prefix < num_rows:
        words.append('a zero row for the class token')
        zeros = pos_embed.new_zeros(1, num_rows - num_prefix, pos_embed.shape[2])
        pos_embed = torch.cat([zeros, pos_embed], dim=1)
    return pos_embed, '; '.join(words)


def find_grid(
    pos_embed: Tensor,
    target: Grid | None,
    num_cls_tokens: int,
    num_register_tokens: int = 0,
) -> tuple[int, Grid]:
    """Rows for prefix tokens and the grid (h, w) of a file's position embeddings.

    There may be rows for the class tokens, for these and the registers, for none, or for a class
    token that was left out. No file says what grid its rows form, and 196 of them may be 14x14 or
    7x28. But neighbours have similar positions: laid out wrongly, a table is much rougher. The
    expected grid (of the model's size, a square, or of the model's aspect ratio) is believed
    unless another one is clearly smoother.

    Args:
        pos_embed: (1, N, D).
        target: Grid (h, w) of the model, if there is one.
        num_cls_tokens: Class tokens in the file.
        num_register_tokens: Register tokens in the file.

    Raises:
        UserError: If no grid is expected, and none is clearly the smoothest.
    """
    rows = pos_embed.shape[1]
    known = (num_cls_tokens, num_cls_tokens + num_register_tokens, 0)
    prefixes = tuple(dict.fromkeys(known if num_cls_tokens + num_register_tokens else (0, 1)))
    grids = {
        (prefix, grid): _roughness(pos_embed[0, prefix:].float(), grid)
        for prefix in prefixes
        for grid in _candidates(rows - prefix, target)
    }
    expected = _expected_grid(target, prefixes, grids)
    ranked = sorted(grids, key=grids.__getitem__)
    if expected and not grids[ranked[0]] < 0.75 * grids[expected]:
        return expected
    if ranked and not any(grids[ranked[0]] >= 0.9 * grids[other] for other in ranked[1:]):
        return ranked[0]
    raise UserError(
        f'pos_embed has {rows} rows, and nothing tells which grid they form: no square, not the '
        "model's aspect ratio, and none is clearly the smoothest. Build the model with the "
        '`img_size` of the file'
    )


def _candidates(length: int, target: Grid | None) -> list[Grid]:
    """Grids of so many patches; a single row only for a model that has one, as all fit one."""
    pairs = [(h, length // h) for h in range(1, length + 1) if length % h == 0]
    return [(h, w) for h, w in pairs if min(h, w) > 1 or h == w or 1 in (target or ())]


def _expected_grid(
    target: Grid | None, prefixes: tuple[int, ...], grids: dict[tuple[int, Grid], float]
) -> tuple[int, Grid] | None:
    """Of the grids that anyone would think of first, the smoothest."""
    for is_expected in (_is_same_or_square, _has_same_aspect):
        for prefix in prefixes:
            found = [key for key in grids if key[0] == prefix and is_expected(key[1], target)]
            if found:
                return min(found, key=grids.__getitem__)
    return None


def _is_same_or_square(grid: Grid, target: Grid | None) -> bool:
    return grid[0] == grid[1] or grid == target


def _has_same_aspect(grid: Grid, target: Grid | None) -> bool:
    return target is not None and grid[0] * target[1] == grid[1] * target[0]


def _roughness(table: Tensor, grid: Grid) -> float:
    """Mean square difference of neighbours of (L, D) rows laid out on a grid."""
    table = table.unflatten(0, grid)
    steps = [table.diff(dim=dim).square().mean(-1).flatten() for dim in (0, 1)]
    return torch.cat(steps).mean().item() if max(grid) > 1 else 0.0


def resize_rel_pos(rel_pos: Tensor, length: int) -> Tensor:
    """Resize relative positions (2S - 1, head_dim) linearly to ``length`` rows (detectron2)."""
    return F.interpolate(rel_pos.float().T[None], size=length, mode='linear')[0].T.to(
        rel_pos.dtype
    )


def resize_patch_projection(weight: Tensor, patch_size: int) -> Tensor:
    """Resize a patch projection (D, C, p, p) to another patch size by FlexiViT's PI-resize.

    Plain interpolation of the filter changes the tokens' scale and blurs them. The pseudo-inverse
    of the (bicubic, antialiased) resize of a patch gives the filter whose product with the
    resized patch equals the old filter's with the old patch: exactly when growing (14 to 16), in
    the least-squares sense when shrinking. Beyer et al. 2022, arXiv 2212.08013, section 3.4.
    """
    old = weight.shape[-1]
    # In float64 on the CPU, whatever the weight's device: the matrix is small.
    basis = torch.eye(old * old, dtype=torch.float64).reshape(-1, 1, old, old)
    size = (patch_size, patch_size)
    resize = F.interpolate(basis, size=size, mode='bicubic', antialias=True).flatten(1).T
    pinv = torch.linalg.pinv(resize.T)
    resized = weight.float().flatten(2) @ pinv.T.to(weight.device, torch.float32)
    return resized.unflatten(2, size).to(weight.dtype)


def resize_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Bring a patch projection (D, C, p, p) of 1 or 3 channels to any number (timm's rule).

    To one channel: the filters' sum, so that a grey image gives what its three equal channels
    gave. To more: the filters repeated in turn, times C / in_channels, so that the tokens keep
    their scale.

    Raises:
        UserError: If the file has another number of channels: which of its bands are the
            model's, no rule can say.
    """
    channels = weight.shape[1]
    if channels not in (1, 3):
        raise UserError(
            f'the file takes {channels} channels, the model {in_channels}, and nothing says which '
            f'bands correspond: build the model with in_channels={channels}'
        )
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = math.ceil(in_channels / channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_channels] * (channels / in_channels)
