"""The transformer block that encoder, decoder and dense backbone share."""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_plugin.errors import UserError

from .positions import rotate


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, D) to (B, num_heads, N, D/num_heads), a view."""
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)


class KeyMaskedLinear(nn.Linear):
    """A qkv projection whose bias has no share for the keys, whatever its values there."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., 3·D)."""
        if self.bias is None:
            return F.linear(x, self.weight)
        q, k, v = self.bias.chunk(3)
        return F.linear(x, self.weight, torch.cat([q, torch.zeros_like(k), v]))


class Attention(nn.Module):
    """Multi-head self-attention through PyTorch's fused kernels, with the official names.

    Args:
        embed_dims: Width D.
        num_heads: Heads; must divide D.
        qkv_bias: Whether the query, key and value projections have a bias.
        key_bias: Whether the keys' share of it counts. Without rotary positions that changes no
            output; DINOv3 holds it at zero.

    Raises:
        UserError: If ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, qkv_bias: bool = True, key_bias: bool = True
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise UserError(f'num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.num_heads = num_heads
        linear = nn.Linear if key_bias else KeyMaskedLinear
        self.qkv = linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, x: Tensor, queries: int | None = None, rotations: Tensor | None = None
    ) -> Tensor:
        """Attend to all N tokens from all of them, or from the last ``queries`` alone.

        Args:
            x: (B, N, D).
            queries: How many of the last tokens ask; all when None.
            rotations: Of queries and keys by position, see ``RotaryPositions``; for all tokens.

        Returns:
            (B, N, D), or (B, queries, D).
        """
        if queries is None:
            # Chunked rather than unbound: one copy joins the gradients instead of two.
            q, k, v = self.qkv(x).chunk(3, dim=2)
        else:
            dims = x.shape[2]
            weight, bias = self.qkv.weight, self.qkv.bias
            bias_q, bias_kv = (None, None) if bias is None else (bias[:dims], bias[dims:])
            q = F.linear(x[:, x.shape[1] - queries :], weight[:dims], bias_q)
            k, v = F.linear(x, weight[dims:], bias_kv).chunk(2, dim=2)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        if rotations is not None:
            q, k = rotate(q, rotations[..., -q.shape[2] :, :]), rotate(k, rotations)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """A gated MLP with DINOv2's names: ``w3(silu(gate) · value)``, both from ``w12``."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(embed_dims, 2 * hidden_dims)
        self.w3 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


MLPS: dict[str, type[nn.Module]] = {'gelu': Mlp, 'swiglu': SwiGLU}


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        embed_dims: Width D.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over D.
        qkv_bias: Whether the qkv projection has a bias.
        drop_path: Probability of dropping each residual branch of a sample.
        layer_scale_init: Initial value of the per-channel scales ``gamma_1`` and ``gamma_2`` of
            the residual branches; None for none (MAE has none).
        attn: Attention module to use instead of the plain one.
        mlp: Kind of MLP, a key of :data:`MLPS`.
        norm_eps: Of both LayerNorms.

    Raises:
        UserError: If the kind of MLP is unknown.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        layer_scale_init: float | None = None,
        attn: nn.Module | None = None,
        mlp: str = 'gelu',
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if mlp not in MLPS:
            raise UserError(f'mlp={mlp!r}: choose one of {", ".join(MLPS)}')
        self.norm1 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.attn = attn if attn is not None else Attention(embed_dims, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.mlp = MLPS[mlp](embed_dims, int(embed_dims * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        if layer_scale_init is None:
            self.gamma_1 = self.gamma_2 = None
        else:
            self.gamma_1 = nn.Parameter(torch.full((embed_dims,), float(layer_scale_init)))
            self.gamma_2 = nn.Parameter(torch.full((embed_dims,), float(layer_scale_init)))

    def _residual(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        return x + self.drop_path(branch if gamma is None else branch * gamma)

    def forward(self, x: Tensor, queries: int | None = None, **attn_kwargs) -> Tensor:
        """Run the block, on all tokens or on the last ``queries`` alone.

        Args:
            x: (B, N, D).
            queries: If given, only the last ``queries`` tokens are computed; they still attend
                to all N. For a last block of whose output only those tokens are used.
            attn_kwargs: Passed to the attention (a dense one needs the grid, cross-attention
                the visible tokens).

        Returns:
            (B, N, D), or (B, queries, D).
        """
        if queries is not None:
            attn_kwargs['queries'] = queries
        branch = self.attn(self.norm1(x), **attn_kwargs)
        if queries is not None:
            x = x[:, x.shape[1] - queries :]
        x = self._residual(x, branch, self.gamma_1)
        return self._residual(x, self.mlp(self.norm2(x)), self.gamma_2)


def run_block(block: nn.Module, x: Tensor, use_checkpoint: bool, **kwargs) -> Tensor:
    """Run a block, recomputing its activations in the backward pass if ``use_checkpoint``."""
    if use_checkpoint and torch.is_grad_enabled():
        return checkpoint(block, x, use_reentrant=False, **kwargs)
    return block(x, **kwargs)


def init_linear_and_norm(module: nn.Module) -> None:
    """Official MAE initialisation of one layer, for ``nn.Module.apply``.

    Linear: Xavier-uniform weight, zero bias. LayerNorm: weight one, bias zero.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
