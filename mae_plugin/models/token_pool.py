"""From a ViT's tokens to one feature for each image: what a classification head takes."""

from collections.abc import Callable

from mmengine.model import BaseModule, is_model_wrapper
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS

POOLS = ('cls', 'cls-mean', 'avg')


def pool_tokens(
    tokens: Tensor, pool: str, num_prefix_tokens: int = 1, num_cls_tokens: int = 1
) -> Tensor:
    """One feature of each image: (B, P + L, D) to (B, D).

    Args:
        tokens: Class tokens first, then registers, then the patches.
        pool: 'cls' (the first class token), 'cls-mean' (the mean of all class tokens) or 'avg'
            (the mean of the patches).
        num_prefix_tokens: P, tokens before the patches.
        num_cls_tokens: How many of these are class tokens.

    Raises:
        UserError: If ``pool`` is unknown, or there is no class token to take.
    """
    if pool not in POOLS:
        raise UserError(f"pool='{pool}': choose one of {', '.join(POOLS)}")
    if pool == 'avg':
        return tokens[:, num_prefix_tokens:].mean(dim=1)
    if min(num_prefix_tokens, num_cls_tokens) < 1:
        raise UserError(f"pool='{pool}' needs a ViT with a class token: use pool='avg'")
    return tokens[:, 0] if pool == 'cls' else tokens[:, :num_cls_tokens].mean(dim=1)


def check_neck(model: nn.Module) -> None:
    """Refuse a host's classifier that hands a ViT's tokens to its head as they are.

    Heads take the last of a tuple; of the tokens (B, P + L, D) of a batch that is one image.

    Raises:
        UserError: If the model has a ``ViT`` and a head, and no neck between them; if the neck
            counts other class and register tokens than the ``ViT`` has.
    """
    model = model.module if is_model_wrapper(model) else model
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, ViT) or type(backbone).forward is not ViT.forward:
        return
    neck = getattr(model, 'neck', None)
    if isinstance(neck, TokenPool):
        wanted = (backbone.num_prefix_tokens, backbone.num_cls_tokens)
        if (neck.num_prefix_tokens, neck.num_cls_tokens) != wanted:
            raise UserError(
                f'the neck takes {neck.num_cls_tokens} of {neck.num_prefix_tokens} tokens before '
                f'the patches for class tokens, but ViT has {wanted[1]} of {wanted[0]}: set '
                f'num_prefix_tokens={wanted[0]} and num_cls_tokens={wanted[1]} of the neck'
            )
    has_head = getattr(model, 'head', None) is not None
    if has_head and not getattr(model, 'with_neck', True):
        raise UserError(
            'the head would get the tokens of ViT, not one feature for each image: add '
            f"neck=dict(type='mae_plugin.TokenPool', dims={backbone.embed_dims}) to the model"
        )


@MODELS.register_module()
class TokenPool(BaseModule):
    """Neck between ``ViT`` and the classification heads of mmpretrain.

    The official protocols are ``pool='avg', norm='layer'`` over a trunk with
    ``final_norm=False`` for fine-tuning, where the norm is the official ``fc_norm``, and
    ``pool='cls', norm='batch'`` over a frozen trunk for linear probing.

    Args:
        dims: Width D of the tokens.
        pool: 'cls' (the first class token), 'cls-mean' (class tokens averaged) or 'avg' (patch
            tokens averaged).
        norm: 'layer' (LayerNorm ``fc_norm``), 'batch' (BatchNorm without affine parameters) or
            None; both with eps 1e-6.
        num_prefix_tokens: Tokens before the patches: class and register tokens.
        num_cls_tokens: How many of these are class tokens; by default one, if there is any.

    Raises:
        UserError: If ``norm`` is unknown.
    """

    def __init__(
        self,
        dims: int = 768,
        pool: str = 'avg',
        norm: str | None = None,
        num_prefix_tokens: int = 1,
        num_cls_tokens: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norms: dict[str | None, Callable[[], nn.Module]] = {
            None: nn.Identity,
            'layer': lambda: nn.LayerNorm(dims, eps=1e-6),
            'batch': lambda: nn.BatchNorm1d(dims, affine=False, eps=1e-6),
        }
        if norm not in norms:
            raise UserError(f"norm={norm!r}: choose 'layer', 'batch' or None")
        self.pool = pool
        self.num_prefix_tokens = num_prefix_tokens
        self.num_cls_tokens = (
            min(1, num_prefix_tokens) if num_cls_tokens is None else num_cls_tokens
        )
        self.fc_norm = norms[norm]()

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """Tokens (B, P + L, D) to a tuple of one feature (B, D)."""
        counts = self.num_prefix_tokens, self.num_cls_tokens
        return (self.fc_norm(pool_tokens(tokens, self.pool, *counts)),)
