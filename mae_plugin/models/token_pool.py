"""From a ViT's tokens to one feature for each image: what a classification head takes."""

from collections.abc import Callable

from mmengine.model import BaseModule, is_model_wrapper
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS

POOLS = ('cls', 'avg')


def pool_tokens(tokens: Tensor, pool: str, num_prefix_tokens: int = 1) -> Tensor:
    """Class token, or average of the patch tokens: (B, P + L, D) to (B, D).

    Raises:
        UserError: If ``pool`` is unknown, or there is no class token to take.
    """
    if pool not in POOLS:
        raise UserError(f"pool='{pool}': choose one of {', '.join(POOLS)}")
    if pool == 'avg':
        return tokens[:, num_prefix_tokens:].mean(dim=1)
    if num_prefix_tokens < 1:
        raise UserError("pool='cls' needs a ViT with a class token: use pool='avg'")
    return tokens[:, 0]


def check_neck(model: nn.Module) -> None:
    """Refuse a host's classifier that hands a ViT's tokens to its head as they are.

    Heads take the last of a tuple; of the tokens (B, P + L, D) of a batch that is one image.

    Raises:
        UserError: If the model has a ``ViT`` and a head, and no neck between them.
    """
    model = model.module if is_model_wrapper(model) else model
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, ViT) or type(backbone).forward is not ViT.forward:
        return
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
        pool: 'cls' (class token) or 'avg' (patch tokens averaged).
        norm: 'layer' (LayerNorm ``fc_norm``), 'batch' (BatchNorm without affine parameters) or
            None; both with eps 1e-6.
        num_prefix_tokens: Tokens before the patches.

    Raises:
        UserError: If ``norm`` is unknown.
    """

    def __init__(
        self,
        dims: int = 768,
        pool: str = 'avg',
        norm: str | None = None,
        num_prefix_tokens: int = 1,
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
        self.fc_norm = norms[norm]()

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """Tokens (B, P + L, D) to a tuple of one feature (B, D)."""
        return (self.fc_norm(pool_tokens(tokens, self.pool, self.num_prefix_tokens)),)
