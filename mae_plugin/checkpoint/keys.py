"""Names of tensors in files: which are weights of an encoder, and what was wrapped around them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Prefixes under which a file keeps a second copy of the encoder: the other one is read.
SECOND_COPY = (
    r'(^|\.)(momentum_encoder|student|ema_state_dict|state_dict_ema|model_ema|ema|ema_model)\.'
)
# What training leaves in a file beside the weights.
NO_WEIGHTS = (
    'optimizer',
    'optimizers',
    'optim_wrapper',
    'param_schedulers',
    'lr_scheduler',
    'scheduler',
    'scaler',
    'loss_scaler',
    'amp_scaler',
    'message_hub',
    'meta',
    'args',
    'epoch',
    'iteration',
)
# What stands in the middle of names, and what to write in its place.
INFIXES = (
    # Of compilers, sharding and recomputation.
    (r'(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_fpw_module|_checkpoint_wrapped_module)\.', ''),
    (r'(?<=\.\d\.)module\.|(?<=\.\d\d\.)module\.', ''),
    # DINOv2 shards its blocks in chunks: blocks.CHUNK.INDEX, where INDEX counts all blocks.
    (r'(^|(?<=\.))blocks\.\d+\.(?=\d+\.)', 'blocks.'),
)
# Keys inside an encoder that a plain ViT can do without: they change no output.
HARMLESS = r'relative_position_index$|(^|\.)mask_token$|\.k_bias$'
# Keys that belong to an encoder: one that no table knows means another architecture. Outside the
# blocks they are positions (rotary, relative, of windows or of time), tokens and early norms.
INSIDE_ENCODER = (
    r'^(blocks|layers|encoder\.layer|patch_embed|embeddings)\.'
    r'|^(norm_pre|pre_norm|ln_pre|pre_ln|patch_norm|norm_embed|embed_norm)\.'
    r'|^(?!decoder)(\w*_)?(rope|rotary|freq|rel_pos|relative_pos(ition)?|pos_embed|pos_bias'
    r'|pos_block|(temporal|time|spatial|type)_(pos_)?embed(ding)?)s?(_\w+)?(\.|$)'
    r'|^encoder\.(relative_position_bias|rope\w*)\.'
    r'|^(?!decoder)(\w*_)?tokens?$'
)


def flatten(content: Mapping[Any, Any], prefix: str = '') -> dict[str, Tensor]:
    """Tensors of a nested dict under dotted names, without optimizer states and the like."""
    flat: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(key, str) or (not prefix and key in NO_WEIGHTS):
            continue
        if isinstance(value, Tensor):
            flat[prefix + key] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind == 'f':
            flat[prefix + key] = torch.from_numpy(value)
        elif isinstance(value, Mapping):
            flat.update(flatten(value, f'{prefix}{key}.'))
    return flat


def plain_names(keys: Iterable[str]) -> dict[str, str]:
    """Names without :data:`INFIXES`, and the keys that had them.

    Where several would become one, all stay as they are.
    """
    names = {key: key for key in keys}
    for pattern, plain in INFIXES:
        shorter = {key: re.sub(pattern, plain, name) for key, name in names.items()}
        if len(set(shorter.values())) == len(names):
            names = shorter
    return {name: key for key, name in names.items()}


def whole(keys: Iterable[str], most: int = 4) -> str:
    """Some keys as they are, and how many more there are."""
    keys = list(keys)
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more
