"""DeepSpeed's ZeRO through mmengine, with what our hooks, guards and schedules need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mae_plugin.compat import mmengine_strategies, names_in_checkpoint
from mae_plugin.errors import UserError
from mae_plugin.registry import OPTIM_WRAPPERS, STRATEGIES

_strategies: Any = mmengine_strategies()
_MMEngineDeepSpeedStrategy: Any = _strategies.DeepSpeedStrategy
_MMEngineDeepSpeedOptimWrapper: Any = _strategies.deepspeed.DeepSpeedOptimWrapper

# Objects that DeepSpeed pickles into its files: plain data of its own.
_OWN_TYPES = {
    f'deepspeed.runtime.{name}'
    for name in (
        'fp16.loss_scaler.LossScaler',
        'fp16.loss_scaler.DynamicLossScaler',
        'zero.config.ZeroStageEnum',
        'zero.config.OffloadDeviceEnum',
    )
} | {'deepspeed.utils.tensor_fragment.fragment_address'}


@STRATEGIES.register_module()
class DeepSpeedStrategy(_MMEngineDeepSpeedStrategy):
    """mmengine's strategy, whose checkpoints hold what hooks add and cannot run code.

    mmengine's calls no hook when it saves or resumes, leaves ``auto_scale_lr`` out, and unpickles
    whatever a file holds. A checkpoint is a folder that resumes on the same number of processes;
    ``tools/gather_checkpoint.py`` makes one plain file of its weights.

    Args:
        train_micro_batch_size_per_gpu (int): For DeepSpeed's own data loader, which is not used.
        **kwargs: As for mmengine's ``DeepSpeedStrategy``.

    Raises:
        UserError: DeepSpeed is missing, or newer than mmengine knows.
    """

    def __init__(self, *, train_micro_batch_size_per_gpu: int = 1, **kwargs: Any) -> None:
        try:
            import deepspeed.runtime.fp16.onebit  # noqa: F401 - gone in 0.19, mmengine asks for it
        except ImportError as error:
            raise UserError(f'DeepSpeedStrategy: {error}; pip install "deepspeed<0.19"') from error
        super().__init__(
            train_micro_batch_size_per_gpu=train_micro_batch_size_per_gpu,
            **{key: _to_plain(value) for key, value in kwargs.items()},
        )

    def save_checkpoint(
        self,
        filename: str,
        *,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
        **kwargs: Any,
    ) -> None:
        """Save on all ranks together; see mmengine for the arguments."""
        extra_ckpt = extra_ckpt or {}
        if callback is not None:
            callback(extra_ckpt)
        super().save_checkpoint(filename, extra_ckpt=extra_ckpt, **kwargs)

    def load_checkpoint(self, filename: str, **kwargs: Any) -> dict:
        """Load the weights of a folder.

        Raises:
            UserError: A file asks for anything but tensors and plain data.
        """
        refuse_code(filename)
        return super().load_checkpoint(filename, **kwargs)

    def resume(self, filename: str, *, callback: Callable | None = None, **kwargs: Any) -> dict:
        """Go on from a folder.

        Raises:
            UserError: A file asks for anything but tensors and plain data.
        """
        refuse_code(filename)
        extra_ckpt = super().resume(filename, **kwargs)
        if callback is not None:
            callback(extra_ckpt)
        return extra_ckpt

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if hasattr(self, 'optim_wrapper'):
            self._scale_lr()
        return super()._wrap_model(model)

    def _scale_lr(self) -> None:
        batch = self.dispatch_kwargs['train_micro_batch_size_per_gpu']
        # The true global batch: DeepSpeed accumulates gradients by a setting of its own.
        steps = self.config['gradient_accumulation_steps']
        self.dispatch_kwargs['train_micro_batch_size_per_gpu'] = batch * steps
        super()._scale_lr()
        self.dispatch_kwargs['train_micro_batch_size_per_gpu'] = batch


@OPTIM_WRAPPERS.register_module()
class DeepSpeedOptimWrapper(_MMEngineDeepSpeedOptimWrapper):
    """mmengine's wrapper, which makes no step from a loss that is not finite on any process.

    DeepSpeed looks at gradients under float16 alone, unless ``bf16`` asks for it.
    ``take_skipped`` tells ``NonFiniteGuard``, which counts.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self._bad: Tensor | None = None

    def update_params(self, loss: Tensor) -> None:
        """Backward pass and step, or neither."""
        bad = self._bad = (~torch.isfinite(loss.detach())).float()
        all_reduce(bad, op='max')
        if not bad:
            super().update_params(loss)

    def take_skipped(self) -> Tensor | None:
        """Whether the last step was skipped; None if none was due."""
        bad, self._bad = self._bad, None
        return bad


def _to_plain(value: Any) -> Any:
    """Dicts for mmengine's, which would be written into every checkpoint."""
    return value.to_dict() if isinstance(value, ConfigDict) else value


def refuse_code(folder: str | Path) -> None:
    """Look for code in the files of a DeepSpeed checkpoint, which is loaded by unpickling.

    Raises:
        UserError: There is some; names it.
    """
    for file in sorted(Path(folder).glob('*.pt')):
        asked = set(names_in_checkpoint(file)) - _OWN_TYPES
        if asked:
            raise UserError(
                f'checkpoint {file} was refused: its pickle asks for {", ".join(sorted(asked))}, '
                'which could run code; load a checkpoint that you made yourself'
            )
