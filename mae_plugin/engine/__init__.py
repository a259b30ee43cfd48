"""See mae_plugin.registry: importing this package registers its parts."""

from . import hooks, mlflow_backend, visualizer, wandb_backend
from .autocast import BFloat16OptimWrapper
from .fsdp import FSDPStrategy
from .lars import LARS
from .loop import ResumableEpochLoop
from .optim import ViTOptimWrapperConstructor
from .optim_wrappers import AmpOptimWrapper, OptimWrapper, SkipNonFiniteMixin
from .stable_decay import StableDecayLR
from .zero import DeepSpeedOptimWrapper, DeepSpeedStrategy
