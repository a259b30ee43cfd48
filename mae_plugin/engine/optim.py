"""Layer decay and weight-decay rules in few parameter groups, for pretraining and every host."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mae_plugin.compat import has_fused_optimizers
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.models.token_pool import check_neck
from mae_plugin.registry import OPTIM_WRAPPER_CONSTRUCTORS

# Leaf names of tables that are added to activations: they are no weights of a layer.
_POSITIONS_AND_TOKENS = ('pos_embed', 'token', 'rel_pos', 'relative_position')
_OPTIONS = ('custom_keys', 'decay_tokens', 'layer_decay_rate')


class Rule(NamedTuple):
    """What distinguishes parameter groups: factors of the base lr and of the weight decay."""

    lr_scale: float
    decay_scale: float


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ViTOptimWrapperConstructor:
    """Build an optimizer whose parameter groups follow a ViT's depth.

    Parameters with the same learning rate and weight decay share a group: tens of groups
    instead of one for each parameter, so that foreach and fused optimizers have something to
    fuse. Frozen parameters are left out.

    Weight decay: none for norms, biases, layer scales, tokens, absolute and relative positions;
    the whole for everything else.

    Layer decay: a parameter of a backbone at depth i of n gets ``lr · rate ** (n - 1 - i)``, with
    embeddings at depth 0, block i at i + 1 and what follows the blocks at n - 1 (BEiT, MAE, and
    detectron2's ViTDet count alike). The backbone may sit anywhere in the model: it is whatever
    has a method ``get_layer_depth(name, prefix)`` (mmpretrain's protocol). All other parameters
    (necks, heads) get the base lr.

    Each group's ``lr`` carries its factor, and mmengine's schedulers scale it, so factors last
    for the whole schedule. Schedulers with an absolute end value (``eta_min``) other than zero
    would not keep them: use ``eta_min_ratio``.

    Example:
        >>> optim_wrapper = dict(
        >>>     type='AmpOptimWrapper',
        >>>     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        >>>     constructor='mae_plugin.ViTOptimWrapperConstructor',
        >>>     paramwise_cfg=dict(layer_decay_rate=0.75))

    Args:
        optim_wrapper_cfg: Config of the wrapper with its ``optimizer``, as for mmengine.
        paramwise_cfg: Any of

            - ``layer_decay_rate`` (float or None): rate of layer decay; None, the default, for
              none.
            - ``decay_tokens`` (bool): official MAE pretraining decays everything of more than
              one dimension that is no bias, tokens included (timm's ``add_weight_decay``). True
              does the same; the default, False, is the official fine-tuning rule.
            - ``custom_keys`` (dict): as in mmengine, part of a name to ``lr_mult`` and
              ``decay_mult``; the longest key that fits is taken. ``lr_mult`` multiplies layer
              decay, ``decay_mult`` takes the place of the rule above.

    Raises:
        UserError: If an option is unknown, the optimizer has no ``lr``, or layer decay is asked
            for with a rate outside (0, 1] or of a model that has no backbone with a depth.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        if not isinstance(self.wrapper_cfg.get('optimizer'), dict):
            raise UserError(
                f'optim_wrapper={optim_wrapper_cfg} needs optimizer=dict(type=..., lr=...)'
            )
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        if self.optimizer_cfg.get('lr') is None:
            raise UserError(f'optimizer={self.optimizer_cfg} needs an lr, which groups scale')

        options = dict(paramwise_cfg or {})
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise UserError(
                f'paramwise_cfg has unknown options {unknown}; ViTOptimWrapperConstructor knows '
                f'{", ".join(_OPTIONS)}'
            )
        self.layer_decay_rate: float | None = options.get('layer_decay_rate')
        self.decay_tokens: bool = options.get('decay_tokens', False)
        self.custom_keys: dict[str, dict] = options.get('custom_keys') or {}
        rate = self.layer_decay_rate
        if rate is not None and not 0 < rate <= 1:
            raise UserError(f'layer_decay_rate={rate} must be in (0, 1], or None for none')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of ``model`` (or of the model inside a DDP wrapper)."""
        check_neck(model)
        groups = self.param_groups(model)
        config = dict(self.optimizer_cfg, params=groups)
        if config.get('fused') and not has_fused_optimizers(groups[0]['params'][0].device.type):
            del config['fused']  # the same arithmetic, in more calls
        optimizer = OPTIMIZERS.build(config)
        wrapper_cfg = dict(type='OptimWrapper') | self.wrapper_cfg
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups of the trainable parameters, in the order of their first parameter.

        Raises:
            UserError: If nothing is trainable, or no module knows its layers' depths.
        """
        members = self.group_parameters(model)
        scales = [rule.lr_scale for rule in members]
        log(
            f'{sum(map(len, members.values()))} trainable tensors in {len(members)} parameter '
            f'groups, lr x {min(scales):.4g} to {max(scales):.4g}',
        )
        return [self._group(rule, params) for rule, params in members.items()]

    def group_parameters(self, model: nn.Module) -> dict[Rule, list[nn.Parameter]]:
        """The trainable parameters by what distinguishes their groups.

        Raises:
            UserError: If nothing is trainable, or no module knows its layers' depths.
        """
        depth_of = _find_depths(model)
        if self.layer_decay_rate is not None and not depth_of:
            raise UserError(
                f'layer_decay_rate={self.layer_decay_rate}: no module of '
                f'{type(model).__name__} has get_layer_depth(name, prefix); use a ViTBackbone, '
                'or set layer_decay_rate=None'
            )
        members: dict[Rule, list[nn.Parameter]] = {}
        for name, param in model.named_parameters():
            if param.requires_grad:
                rule = self._rule(name, param, depth_of)
                members.setdefault(rule, []).append(param)
        if not members:
            raise UserError(
                f'{type(model).__name__} has no trainable parameter: check frozen_stages'
            )
        return members

    def _rule(
        self, name: str, param: nn.Parameter, depth_of: dict[str, Callable[..., Any]]
    ) -> Rule:
        leaf = name.rpartition('.')[2]
        exempt = param.ndim <= 1 or leaf.endswith('bias')
        if not self.decay_tokens:
            exempt = exempt or any(key in leaf for key in _POSITIONS_AND_TOKENS)
        lr_scale, decay_scale = 1.0, float(not exempt)

        if self.layer_decay_rate is not None:
            prefix = max((p for p in depth_of if name.startswith(p)), key=len, default=None)
            if prefix is not None:
                depth, num_layers = depth_of[prefix](name, prefix)
                lr_scale = self.layer_decay_rate ** (num_layers - 1 - depth)

        key = max((k for k in self.custom_keys if k in name), key=len, default=None)
        if key is not None:
            lr_scale *= self.custom_keys[key].get('lr_mult', 1.0)
            decay_scale = self.custom_keys[key].get('decay_mult', decay_scale)
        return Rule(lr_scale, decay_scale)

    def _group(self, rule: Rule, params: list[nn.Parameter]) -> dict[str, Any]:
        group = dict(params=params, lr=self.optimizer_cfg['lr'] * rule.lr_scale)
        # Without a weight_decay of its own, a decayed group takes the optimizer's default.
        if 'weight_decay' in self.optimizer_cfg:
            group['weight_decay'] = self.optimizer_cfg['weight_decay'] * rule.decay_scale
        elif rule.decay_scale == 0:
            group['weight_decay'] = 0.0
        return group


def _find_depths(model: nn.Module) -> dict[str, Callable[..., Any]]:
    """``get_layer_depth`` of each backbone, by the prefix of its parameters' names.

    The innermost module that has the method is taken: mmpretrain's classifiers have one that
    only hands on, and wrappers such as FSDP's show their module's.
    """
    found = {
        f'{name}.' if name else '': module.get_layer_depth
        for name, module in model.named_modules()
        if callable(getattr(module, 'get_layer_depth', None))
    }
    return {
        prefix: method
        for prefix, method in found.items()
        if not any(other != prefix and other.startswith(prefix) for other in found)
    }
