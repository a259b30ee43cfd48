"""What a file says of its encoder beside the tensors: its config, and the names that it has.

Each reader gives claims: ``num_heads``, ``activation``, ``norm_eps``, ``windows``, ``pool``, and
``otherwise``, what the encoder computes that no ViT of ours does. It gives none if what it reads
describes something else than this encoder, or cannot be read.
"""

import re
from collections.abc import Mapping
from typing import Any

from mae_plugin.arch import Arch

from .families import (
    DIALECTS,
    DINOV3_BASE,
    NAMED,
    NAMED_ACTIVATIONS,
    NAMED_OTHERWISE,
    SAME_ACTIVATION,
    SIZE_WORDS,
    Dialect,
)
from .folders import IMAGE_CONFIG, MODEL_CONFIG
from .sizes import Sizes

Claims = dict[str, Any]
# No config, or one of something else.
UNUSABLE = (KeyError, TypeError, AttributeError, ValueError)

_POOLS = {'avg_featmap': 'avg', 'cls_token': 'cls', 'token': 'cls', 'avg': 'avg', 'cls': 'cls'}


def claims_of_config(model: Mapping[str, Any], size: Sizes, scope: str | None = None) -> Claims:
    """Read the ``model`` of an OpenMMLab config.

    Args:
        model: With a ``backbone``; or a wrapper with the model as its ``module``.
        size: Of the encoder in the file.
        scope: The config's ``default_scope``.
    """
    try:
        model = model.get('module', model)
        backbone = model['backbone']
        dialect = find_dialect(str(backbone.get('type', '')), backbone, scope)
        arch = _arch(backbone, dialect)
    except UNUSABLE:
        return {}
    if arch is None or (arch.embed_dims, arch.num_layers) != (size.width, size.depth):
        return {}
    claims: Claims = dict(num_heads=arch.num_heads)
    if dialect is not None:
        claims |= _blocks(backbone, dialect, size)
    pool = (model.get('neck') or {}).get('pool') or backbone.get('out_type')
    return claims | ({'pool': _POOLS[pool]} if pool in _POOLS else {})


def find_dialect(kind: str, backbone: Mapping[str, Any], scope: str | None) -> Dialect | None:
    """How the backbone of a config is described, by its type and the toolbox that it is of.

    A type without a toolbox is of the config's ``default_scope``, or else of ours, or of the one
    toolbox that has it; ``arch`` is an argument in some of them only.
    """
    toolbox, dotted, name = kind.partition('.')
    if not dotted:
        toolbox, name = scope or '', kind
    name = name.rpartition('.')[2]
    own = DIALECTS['mae_plugin'].get(name)
    found = DIALECTS.get(toolbox, {}).get(name) or (own if not dotted else None)
    if found is None and not dotted:
        others = [kinds[name] for kinds in DIALECTS.values() if name in kinds]
        fitting = [each for each in others if (each.default is None) == ('arch' not in backbone)]
        found = fitting[0] if len(fitting) == 1 else None
    return found


def _arch(backbone: Mapping[str, Any], dialect: Dialect | None) -> Arch | None:
    """Width, depth and heads that a config gives its backbone."""
    arch = backbone.get('arch')
    if isinstance(arch, Mapping):
        return Arch(arch['embed_dims'], arch['num_layers'], arch['num_heads'])
    # mmseg's names, then those of detectron2 and timm.
    width = backbone.get('embed_dims', backbone.get('embed_dim'))
    depth = backbone.get('num_layers', backbone.get('depth'))
    heads = backbone.get('num_heads')
    if dialect is None or (arch is None and heads is not None):
        return Arch(width or 768, depth or 12, heads) if heads else None
    if dialect.default is None:
        return Arch(width or 768, depth or 12, heads or 12)
    name = dialect.default if arch is None else arch
    return dialect.archs.get(name) or dialect.archs[name.lower()]


def _blocks(backbone: Mapping[str, Any], dialect: Dialect, size: Sizes) -> Claims:
    layer = backbone.get('layer_cfgs') or {}
    layer = layer if isinstance(layer, Mapping) else {}
    norm = backbone.get('norm_cfg') or layer.get('norm_cfg')
    # mmcv's LayerNorm has 1e-5 where its config names none.
    eps = backbone.get('norm_eps', dialect.norm_eps if norm is None else norm.get('eps', 1e-5))
    act = layer.get('act_cfg') or backbone.get('act_cfg') or dict(type='GELU')
    claims: Claims = dict(norm_eps=eps, activation=_activation(str(act['type'])))
    if act.get('approximate') == 'tanh':
        claims['activation'] = 'gelu_tanh'
    stride = (backbone.get('patch_cfg') or {}).get('stride', size.patch_size)
    if stride != size.patch_size:
        claims['otherwise'] = f'patches of {size.patch_size} pixels every {stride}'
    window = backbone.get('window_size')
    if window:
        spared = {i % size.depth for i in backbone.get('global_attn_indexes') or ()}
        claims['windows'] = tuple(0 if i in spared else window for i in range(size.depth))
    return claims


def claims_of_hub(config: Mapping[str, Any], size: Sizes) -> Claims:
    """Read the ``config.json`` of a model's folder of Hugging Face or timm."""
    try:
        if 'architecture' in config:
            arguments = config.get('model_args') or {}
            claims = claims_of_name(config['architecture'], size)
            if arguments.get('num_heads'):
                claims['num_heads'] = arguments['num_heads']
            pool = _POOLS.get(config.get('global_pool', ''))
            return claims | ({'pool': pool} if pool else {})
        vit = config.get('vision_config', config)
        if (vit['hidden_size'], vit['num_hidden_layers']) != (size.width, size.depth):
            return {}
        claims = dict(num_heads=vit['num_attention_heads'], pool='cls')
        # Gates are named by the activation of their gate, which the layout tells.
        if 'hidden_act' in vit and not vit.get('use_gated_mlp'):
            claims['activation'] = _activation(vit['hidden_act'])
        if 'layer_norm_eps' in vit:
            claims['norm_eps'] = vit['layer_norm_eps']
        base = vit.get('rope_theta', DINOV3_BASE)
        if base != DINOV3_BASE:
            claims['otherwise'] = f'rotary positions of base {base:g} instead of {DINOV3_BASE:g}'
        if vit.get('use_mean_pooling'):
            claims['pool'] = 'avg'
        return claims
    except UNUSABLE:
        return {}


def hub_statistics(content: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and deviation of images from 0 to 255 that a folder of Hugging Face or timm tells."""
    images = content.get(IMAGE_CONFIG) or {}
    timm = (content.get(MODEL_CONFIG) or {}).get('pretrained_cfg') or {}
    mean, std = (images.get(f'image_{name}') or timm.get(name) for name in ('mean', 'std'))
    if not (mean and std):
        return {}
    return dict(mean=[255 * value for value in mean], std=[255 * value for value in std])


def claims_of_name(name: str, size: Sizes) -> Claims:
    """Read an architecture's name, of timm or of an official repository: ``vit_base_patch16``."""
    words = [SIZE_WORDS[word] for word in name.split('_') if word in SIZE_WORDS]
    if words and size.width not in words and not re.search('_plus_', name):
        return {}
    claims: Claims = {}
    heads = next((heads for pattern, heads in NAMED if re.search(pattern, name)), {})
    if (size.width, size.depth) in heads:
        claims['num_heads'] = heads[size.width, size.depth]
    for key, table in (('otherwise', NAMED_OTHERWISE), ('activation', NAMED_ACTIVATIONS)):
        found = next((what for pattern, what in table if re.search(pattern, name)), None)
        if found:
            claims[key] = found
    return claims


def claims_of_moco_v3(name: str, size: Sizes) -> Claims:
    """Read MoCo v3's ``arch``, whose ViTs have 12 heads in every size."""
    width = {'vit_small': 384, 'vit_base': 768}.get(name)
    return dict(num_heads=12) if (width, 12) == (size.width, size.depth) else {}


def _activation(name: str) -> str:
    return SAME_ACTIVATION.get(name, name)
