"""The position table of a decoder: a row for each prefix token and for each patch."""

import torch
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, resize_pos_embed

from .parts import build_part
from .positions import SinCosPositions


class DecoderPositions(nn.Module):
    """Gives tokens in any order the rows of a table, which the decoder keeps as ``pos_embed``.

    There is at least one prefix row, as in official checkpoints, used or not.

    Args:
        positions: Config of the part that makes the table, ``SinCosPositions`` (the default) or
            ``LearnedPositions``.
        dims: Width of the decoder.
        num_heads: Its attention heads.
        grid: Patch grid (h, w) of the table.
        num_prefix_tokens: The encoder's.

    Raises:
        UserError: If the part has no table.
    """

    def __init__(
        self,
        positions: dict | nn.Module | None,
        dims: int,
        num_heads: int,
        grid: Grid,
        num_prefix_tokens: int,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.num_rows = max(1, num_prefix_tokens)
        self.part = build_part(
            positions or dict(type=SinCosPositions),
            dims=dims,
            num_heads=num_heads,
            grid=grid,
            num_cls_tokens=self.num_rows,
        )

    def new_table(self) -> nn.Parameter:
        """The table (1, num_rows + h·w, D) as it starts.

        Raises:
            UserError: If there is none.
        """
        table = self.part.new_table()
        if table is None:
            raise UserError(
                f'{type(self.part).__name__} has no table of positions, which a decoder adds to '
                'its mask tokens: take SinCosPositions or LearnedPositions'
            )
        return nn.Parameter(table, requires_grad=self.part.is_learned)

    def rows(self, table: Tensor, grid: Grid) -> Tensor:
        """All rows for a grid: (num_rows + L, D), resized where it is another."""
        return resize_pos_embed(table, self.grid, grid, self.num_rows, self.part.resize)[0]

    def of_tokens(self, rows: Tensor, ids: Tensor, num_prefix: int) -> Tensor:
        """Rows (B, P + K, D) of P prefix tokens and the patches at ``ids`` (B, K)."""
        prefix = torch.arange(num_prefix, device=ids.device).expand(ids.shape[0], -1)
        return rows[torch.cat([prefix, self.num_rows + ids], dim=1)]

    def of_patches(self, rows: Tensor, ids: Tensor) -> Tensor:
        """Rows (B, M, D) of the patches at ``ids`` (B, M)."""
        return rows[self.num_rows + ids]
