"""The registries of scope ``mae_plugin``.

Each is a child of mmengine's registry of the same name, so that any OpenMMLab host builds
``type='mae_plugin.X'`` with no ``custom_imports``: mmengine imports this module when it meets the
scope, and the ``locations`` when it first looks something up. This file must import nothing but
mmengine: an ImportError here is swallowed by mmengine and surfaces as a misleading KeyError.
"""

from collections.abc import Mapping
from typing import Any

from mmengine import registry as _root
from mmengine.registry import Registry

_MODELS = ['mae_plugin.models']
_DATASETS = ['mae_plugin.datasets']
_ENGINE = ['mae_plugin.engine']
_EVALUATION = ['mae_plugin.evaluation']


def _child(name: str, parent: Registry, locations: list[str]) -> Registry:
    return Registry(name, parent=parent, scope='mae_plugin', locations=locations)


MODELS = _child('model', _root.MODELS, _MODELS)
TASK_UTILS = _child('task util', _root.TASK_UTILS, _MODELS)

DATASETS = _child('dataset', _root.DATASETS, _DATASETS)
DATA_SAMPLERS = _child('data sampler', _root.DATA_SAMPLERS, _DATASETS)
TRANSFORMS = _child('transform', _root.TRANSFORMS, _DATASETS)
FUNCTIONS = _child('function', _root.FUNCTIONS, _DATASETS)

HOOKS = _child('hook', _root.HOOKS, _ENGINE)
LOOPS = _child('loop', _root.LOOPS, _ENGINE)
OPTIMIZERS = _child('optimizer', _root.OPTIMIZERS, _ENGINE)
OPTIM_WRAPPERS = _child('optimizer wrapper', _root.OPTIM_WRAPPERS, _ENGINE)
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', _root.OPTIM_WRAPPER_CONSTRUCTORS, _ENGINE
)
STRATEGIES = _child('strategy', _root.STRATEGIES, _ENGINE)
PARAM_SCHEDULERS = _child('parameter scheduler', _root.PARAM_SCHEDULERS, _ENGINE)

# Nothing of ours yet, but mmengine warns when a scope lacks one that a run uses.
RUNNERS = _child('runner', _root.RUNNERS, [])
MODEL_WRAPPERS = _child('model_wrapper', _root.MODEL_WRAPPERS, [])
EVALUATOR = _child('evaluator', _root.EVALUATOR, [])
LOG_PROCESSORS = _child('log_processor', _root.LOG_PROCESSORS, [])
VISBACKENDS = _child('vis_backend', _root.VISBACKENDS, _ENGINE)

METRICS = _child('metric', _root.METRICS, _EVALUATION)
VISUALIZERS = _child('visualizer', _root.VISUALIZERS, _ENGINE)


def find_type(registry: Registry, kind: Any, scope: str | None = None) -> Any:
    """The class or function that the ``type`` in a config stands for.

    Args:
        registry: Where it is looked up.
        kind: A name, with or without a scope, or the whole path of a class; or, as in mmengine's
            pure-Python configs, the class itself.
        scope: Where names without a scope are looked up: the config's ``default_scope``. None is
            that of the process.

    Returns:
        The class; None where nothing has that name.
    """
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as scoped:
        try:
            return scoped.get(kind)
        except RuntimeError:  # so mmengine tells of a name that is no path either
            return None


def builds(
    registry: Registry, config: Any, parents: type | tuple[type, ...], scope: str | None = None
) -> bool:
    """Whether a config builds a ``parents`` or a subclass of it; see :func:`find_type`."""
    if not isinstance(config, Mapping):
        return False
    found = find_type(registry, config.get('type'), scope)
    return isinstance(found, type) and issubclass(found, parents)


def type_name(kind: Any) -> str:
    """How a config's ``type``, a name or a class, is told."""
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))
