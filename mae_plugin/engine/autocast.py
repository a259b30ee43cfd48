"""bfloat16 where the device has it, float32 elsewhere, from one and the same config."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mae_plugin.compat import has_native_bfloat16
from mae_plugin.engine.optim_wrappers import OptimWrapper
from mae_plugin.registry import OPTIM_WRAPPERS


def supports_bfloat16(device_type: str) -> bool:
    """Whether autocasting to bfloat16 is native, and so worth it, on a kind of device.

    A CPU answers no: few have the instructions, and float32 is what its tests compare with.
    """
    if device_type == 'cuda':
        return has_native_bfloat16()
    return device_type in ('npu', 'xpu', 'mlu')


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Optimizer wrapper that autocasts to bfloat16 where that is native.

    bfloat16 has float32's range: no loss scaling, and none of float16's NaNs, which are the top
    complaint about MAE training. ``AmpOptimWrapper`` refuses to start on a CPU; this one trains in
    float32 there. For float16 ask for ``AmpOptimWrapper`` (``--amp float16``).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Forward pass under autocast; gradient synchronisation as in mmengine."""
        device_type = next(model.parameters()).device.type
        enabled = supports_bfloat16(device_type)
        with (
            super().optim_context(model),
            torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled),
        ):
            yield
