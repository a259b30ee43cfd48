"""Freezing the first blocks of a ViT: partial fine-tuning (paper, Figure 9) and linear probing."""

from torch import nn

from mae_plugin.errors import UserError


def check_frozen_stages(frozen_stages: float, num_layers: int) -> None:
    """Refuse a number of frozen blocks that means nothing.

    Raises:
        UserError: If it is not -1, nor a multiple of one half from 0 to ``num_layers``.
    """
    if frozen_stages != -1 and not (
        0 <= frozen_stages <= num_layers and float(2 * frozen_stages).is_integer()
    ):
        raise UserError(
            f'frozen_stages={frozen_stages}: give -1 (train all), or the number of blocks to '
            f'freeze from 0 (the embeddings alone) to {num_layers}, in steps of one half'
        )


def frozen_parts(vit: nn.Module, frozen_stages: float) -> list[nn.Module | nn.Parameter]:
    """The modules and parameters that ``frozen_stages`` freezes.

    Args:
        vit: A ``ViT``.
        frozen_stages: -1 nothing; 0 the embeddings, positions and prefix tokens included; n also
            the first n blocks; n + 0.5 also the attention half of the next one, so that only
            its MLP is tuned; all of them also the final norm, so that the whole trunk is fixed.
    """
    if frozen_stages < 0:
        return []
    parts: list[nn.Module | nn.Parameter] = [vit.patch_embed]
    tables = (vit.pos_embed, vit.cls_token, vit.register_tokens)
    parts += [table for table in tables if table is not None]
    whole = int(frozen_stages)
    parts += vit.blocks[:whole]
    if frozen_stages != whole:
        block = vit.blocks[whole]
        parts += [block.norm1, block.attn]
        if block.gamma_1 is not None:
            parts.append(block.gamma_1)
    if whole == len(vit.blocks):
        parts.append(vit.norm)
    return parts


def freeze(vit: nn.Module, frozen_stages: float) -> None:
    """Stop the gradients of the frozen parts; whole frozen blocks drop no paths either.

    A block of which half is frozen has one stochastic depth for both halves, which stays on.
    To be called in ``__init__`` and again in each ``train()``, which would wake the modules.
    """
    for part in frozen_parts(vit, frozen_stages):
        part.requires_grad_(False)
        if isinstance(part, nn.Module):
            part.eval()
