"""Resizing of positions, relative positions, patch projections and channels at load."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.models.pos_embed import Grid, resize_pos_embed


def fit_pos_embed(
    pos_embed: Tensor, target: Grid, num_prefix_tokens: int, has_cls_token: bool = True
) -> Tensor:
    """Bring position embeddings to another grid, with or without the class token's row.

    The file does not say what grid its rows form: see :func:`find_grid`. A missing row for the
    class token becomes zero, which is what a file without one adds to its class token.

    Args:
        pos_embed: (1, N, D).
        target: Grid (h, w) wanted.
        num_prefix_tokens: Rows wanted before the grid, 0 or 1.
        has_cls_token: Whether the file has a class token, so that a row for it is likely.

    Returns:
        (1, num_prefix_tokens + h·w, D).

    Raises:
        ValueError: If the rows form no grid that can be told.
    """
    num_prefix, grid = find_grid(pos_embed, target, has_cls_token)
    pos_embed = resize_pos_embed(pos_embed, grid, target, num_prefix)
    if num_prefix > num_prefix_tokens:
        return pos_embed[:, 1:]
    if num_prefix < num_prefix_tokens:
        return torch.cat([torch.zeros_like(pos_embed[:, :1]), pos_embed], dim=1)
    return pos_embed


def find_grid(pos_embed: Tensor, target: Grid, has_cls_token: bool) -> tuple[int, Grid]:
    """Rows for the class token (0 or 1) and the grid (h, w) of a file's position embeddings.

    As many patches as the model has form the model's grid, a square number a square, and else a
    grid of the model's aspect ratio is looked for. Where the first two compete (196 rows for a
    model of 7x28), the one whose vertical neighbours are more alike wins.

    Args:
        pos_embed: (1, N, D).
        target: Grid (h, w) of the model.
        has_cls_token: Whether the file has a class token.

    Raises:
        ValueError: If none of this fits.
    """
    rows = pos_embed.shape[1]
    prefixes = (1, 0) if has_cls_token else (0, 1)
    for find in (_same_or_square, _same_aspect):
        for num_prefix in prefixes:
            grids = find(rows - num_prefix, target)
            if grids:
                table = pos_embed[0, num_prefix:].float()
                return num_prefix, min(grids, key=lambda grid: _roughness(table, grid))
    raise ValueError(
        f"pos_embed has {rows} rows, which form neither a square nor a grid of the model's "
        f'aspect ratio {target[0]}:{target[1]}: build the model with the `img_size` of the file'
    )


def _same_or_square(length: int, target: Grid) -> list[Grid]:
    side = math.isqrt(length)
    same = [target] if length == target[0] * target[1] else []
    return same + [(side, side)] * (length > 0 and side * side == length)


def _same_aspect(length: int, target: Grid) -> list[Grid]:
    h = round(math.sqrt(length * target[0] / target[1]))
    fits = h > 0 and length % h == 0 and h * target[1] == length // h * target[0]
    return [(h, length // h)] if fits else []


def _roughness(table: Tensor, grid: Grid) -> float:
    """Mean square difference of vertical neighbours of (L, D) rows laid out on a grid."""
    w = grid[1]
    return (table[w:] - table[:-w]).square().mean().item() if len(table) > w else math.inf


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
    basis = torch.eye(old * old, dtype=torch.float64).reshape(-1, 1, old, old)
    size = (patch_size, patch_size)
    resize = F.interpolate(basis, size=size, mode='bicubic', antialias=True).flatten(1).T
    pinv = torch.linalg.pinv(resize.T)
    resized = weight.double().flatten(2) @ pinv.T
    return resized.unflatten(2, size).to(weight.dtype)


def resize_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Bring a patch projection (D, C, p, p) of 1 or 3 channels to any number (timm's rule).

    To one channel: the filters' sum, so that a grey image gives what its three equal channels
    gave. To more: the filters repeated in turn, times C / in_channels, so that the tokens keep
    their scale.

    Raises:
        ValueError: If the file has another number of channels: which of its bands are the
            model's, no rule can say.
    """
    channels = weight.shape[1]
    if channels not in (1, 3):
        raise ValueError(
            f'the file takes {channels} channels, the model {in_channels}, and nothing says which '
            f'bands correspond: build the model with in_channels={channels}'
        )
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = math.ceil(in_channels / channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_channels] * (channels / in_channels)
