"""Training steps of a config's model that leave no trace: what a batch of it takes."""

import copy
import gc
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mae_plugin.engine.cpu_tuning import return_freed_memory
from mae_plugin.engine.rng_state import get_rng_state, set_rng_state
from mae_plugin.models.targets import PCATarget
from mae_plugin.registry import builds

# Images that are read; a batch of more has them several times.
_SAMPLES = 4
# Options of a loader that the few images of a try do without.
_LEFT_OUT = ('batch_sampler', 'persistent_workers', 'prefetch_factor', 'timeout', 'pin_memory')
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class ProbeStep:
    """A config's model, optimizer and first images, for steps of any number of images.

    The model is one of its own, not the run's, and never gets its starting weights. Hooks do not
    take part. Use inside :func:`without_trace`.

    Args:
        cfg: The run's config; left as it is.
        device: Where the run trains, as for ``torch.device``.
    """

    def __init__(self, cfg: Config, device: str) -> None:
        self.loader = _loader(cfg)
        self._dataset: Any = self.loader.dataset
        self.device = device
        self._cfg = cfg
        self.model: Any = None
        self.wrapper: Any = None
        self._samples: list[Any] = []
        self.smallest = 1  # two where a BatchNorm needs them

    @property
    def images(self) -> int:
        """int: How many images the data set has."""
        return len(self._dataset)

    def build(self) -> None:
        """Build the model and its optimizer, with the state that it keeps between steps."""
        self._samples = [self._dataset[index] for index in range(min(_SAMPLES, self.images))]
        model = _model(self._cfg)
        for part in model.modules():
            if isinstance(part, PCATarget):  # a hook of the run fits it
                part.fit(torch.zeros_like(part.mean), torch.eye(len(part.mean)))
        parts = [part for part in model.train().modules() if part.training]
        if any(isinstance(part, _BATCH_NORMS) for part in parts):
            self.smallest = 2
        self.model = revert_sync_batchnorm(model).to(self.device).train()
        self.wrapper = _optim_wrapper(self._cfg, self.model)

    def close(self) -> None:
        """Let go of the model, and of the memory that it took."""
        self.model = self.wrapper = None
        self._samples = []
        gc.collect()
        return_freed_memory()
        if self.device == 'cuda':
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    @property
    def trainable_bytes(self) -> int:
        """int: What the trainable weights take; gradients, and each moment of Adam, as much."""
        weights = (p for p in self.model.parameters() if p.requires_grad)
        return sum(weight.numel() * weight.element_size() for weight in weights)

    def fill_optimizer(self) -> None:
        """Make the optimizer's state; steps that a gradient scaler skips would not."""
        for group in self.wrapper.optimizer.param_groups:
            for weight in group['params']:
                weight.grad = torch.zeros_like(weight)
        self.wrapper.optimizer.step()
        self.wrapper.optimizer.zero_grad()

    @property
    def trainable_share(self) -> float:
        """float: The trainable weights' part of all."""
        weights = list(self.model.parameters())
        return sum(w.numel() for w in weights if w.requires_grad) / sum(w.numel() for w in weights)

    def __call__(self, size: int) -> None:
        """Train on one batch."""
        self.wrapper.zero_grad()  # an earlier step may have been given up
        self.model.train_step(self._batch(size), self.wrapper)

    def forward(self, size: int) -> None:
        """The part of a step at whose end it holds the most."""
        with self.wrapper.optim_context(self.model):
            data = self.model.data_preprocessor(self._batch(size), True)
            by_name = isinstance(data, dict)
            self.model(**data, mode='loss') if by_name else self.model(*data, mode='loss')

    def _batch(self, size: int) -> Any:
        # Models and collate functions may change samples in place.
        chosen = itertools.islice(itertools.cycle(self._samples), size)
        return self.loader.collate_fn([copy.deepcopy(sample) for sample in chosen])


@contextmanager
def without_trace(cfg: Config) -> Iterator[None]:
    """Restore every random generator, and say nothing that the run itself will say again."""
    logger = MMLogger.get_current_instance()
    level, states = logger.level, get_rng_state()
    logger.setLevel(logging.ERROR)
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
            yield
    finally:
        logger.setLevel(level)
        set_rng_state(states)


def _loader(cfg: Config) -> DataLoader:
    """The training data in this process, by index."""
    options = {k: v for k, v in cfg.train_dataloader.items() if k not in _LEFT_OUT}
    sampler = dict(type='DefaultSampler', shuffle=False)
    options.update(batch_size=1, num_workers=0, sampler=sampler)
    return Runner.build_dataloader(options, seed=0)


def _model(cfg: Config) -> nn.Module:
    config = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor'):
        config.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return MODELS.build(config)


def _optim_wrapper(cfg: Config, model: nn.Module) -> OptimWrapper:
    """The run's wrapper, or a plain one of the same optimizer where a strategy needs its own."""
    config = copy.deepcopy(cfg.optim_wrapper)
    config.setdefault('type', 'OptimWrapper')
    if not builds(OPTIM_WRAPPERS, config, OptimWrapper, cfg.get('default_scope')):
        config['type'] = 'mae_plugin.BFloat16OptimWrapper'
    return build_optim_wrapper(model, config)
