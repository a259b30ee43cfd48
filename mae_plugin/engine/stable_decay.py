"""Warm-up, constant, decay: a learning rate whose run may be prolonged (WSD).

Hu et al. 2024 (MiniCPM, arXiv 2404.06395); Hägele et al. 2024 (arXiv 2405.18392) compare it with
the cosine.
"""

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin

from mae_plugin.compat import param_scheduler, scheduler_step
from mae_plugin.errors import UserError
from mae_plugin.registry import PARAM_SCHEDULERS

ENDLESS = 10**9  # mmengine's end of a schedule that has none

_Base: Any = param_scheduler()


@PARAM_SCHEDULERS.register_module()
class StableDecayLR(LRSchedulerMixin, _Base):
    """The learning rate of the optimizer, then a straight fall to zero in the last steps.

    After a linear warm-up, ``dict(type='LinearLR', end=w)`` and this one with ``begin=w`` are
    WSD. Without ``decay`` the rate stays; such a run is prolonged with a larger ``max_epochs`` and
    ``--resume``, and cooled down, from any checkpoint of before, with ``decay``.

    Args:
        optimizer: Wrapped optimizer.
        decay: Epochs, or iterations without ``by_epoch``, before ``end`` in which the rate falls.
        begin: Where it begins, the end of the warm-up.
        end: That of training by default.
        by_epoch: Whether these are epochs.
        kwargs: mmengine's; ``convert_to_iter_based`` lets the rate fall with each iteration.

    Raises:
        UserError: If the decay does not fit between ``begin`` and ``end``.
    """

    def __init__(
        self,
        optimizer: Any,
        decay: int = 0,
        begin: int = 0,
        end: int = ENDLESS,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        if not 0 <= decay <= end - begin:
            unit = 'epochs' if by_epoch else 'iterations'
            raise UserError(
                f'a cool-down of {decay} {unit} does not fit between the end of the warm-up, '
                f'{begin}, and that of training, {end}: train longer (train_cfg.max_epochs) or '
                'make it shorter (--cool-down, decay)'
            )
        self.decay = decay
        super().__init__(optimizer, begin=begin, end=end, by_epoch=by_epoch, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Any,
        decay: int = 0,
        begin: int = 0,
        end: int = ENDLESS,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> 'StableDecayLR':
        """The same by iteration; mmengine calls it for ``convert_to_iter_based``."""
        assert by_epoch and epoch_length, 'only epochs can become iterations'
        end = end if end == ENDLESS else int(end * epoch_length)
        return cls(
            optimizer,
            decay=int(decay * epoch_length),
            begin=int(begin * epoch_length),
            end=end,
            by_epoch=False,
            **kwargs,
        )

    @property
    def decay_begin(self) -> int:
        """The step from which the rate falls."""
        return self.end - self.decay

    def _get_value(self) -> list[float]:
        """From the step alone, not from the rate before: a prolonged run is as one planned so."""
        step = scheduler_step(self)
        factor = min(1.0, (self.end - step) / self.decay) if self.decay else 1.0
        return [value * factor for value in self.base_values]


def prolong(own: StableDecayLR, stored: dict[str, Any], unit: int) -> None:
    """Let a resumed run end, and cool down, where its own config says.

    Args:
        own: This run's scheduler.
        stored: The state of the checkpoint's, changed in place.
        unit: Steps to an epoch.

    Raises:
        UserError: If the checkpoint is inside its cool-down, or this run's would have begun before
            the checkpoint.
    """
    if (own.end, own.decay) == (stored['end'], stored['decay']):
        return
    step = scheduler_step(stored)
    began = stored['end'] - stored['decay']
    if stored['decay'] and step > began:
        raise UserError(
            f'--resume: the checkpoint is {_epochs(step - began, unit)} into its cool-down, which '
            f'began after epoch {began / unit:g}: keep length and cool-down, or give a checkpoint '
            'of before it (--resume PATH; --work-dir for its own folder)'
        )
    if own.decay and own.decay_begin < step:
        epochs = -(-(step + own.decay) // unit)
        raise UserError(
            f'--resume: a cool-down of {_epochs(own.decay, unit)} to epoch {own.end / unit:g} '
            f'would have begun before the checkpoint, which is at epoch {step / unit:g}: add '
            f'--cfg-options train_cfg.max_epochs={epochs}'
        )
    stored.update(end=own.end, decay=own.decay)


def _epochs(steps: int, unit: int) -> str:
    return f'{steps / unit:g} epochs'
