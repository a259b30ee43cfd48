"""Stage 1: every registered part on the GPU against the CPU, and the attention kernels chosen.

Float32 on the GPU (no TF32) against float32 on the CPU: 1e-4 for outputs and for gradients.
Autocast to bfloat16 against the same: a number of it has 8 bits, so one rounding is up to 4e-3 of
a value. Outputs pass through tens of roundings that are independent of each other: 3e-2 is asked.
Gradients pass through twice as many, and where they cancel the error stands out: 1e-1.
Errors are norms, ``|out - reference| / |reference|``, the worst of all tensors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .context import Context, Failure
from .kernels import AttentionOperators, attention_kernels
from .part_list import parts
from .parts import REAL, TINY, Part, scalar, tensors_in

FLOAT32_BOUND = 1e-4
BFLOAT16_BOUNDS = (3e-2, 1e-1)


@dataclass
class Result:
    """What a part computed: its outputs, and its parameters' gradients where it has any."""

    outputs: list[Tensor]
    gradients: list[Tensor]


def main(context: Context) -> None:
    """Compare all parts."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows: list[dict[str, Any]] = []
    kernels: dict[str, dict[str, Any]] = {}
    for part in parts(context.scale(REAL, TINY)):
        row = context.attempt(part.name, compare, part, context.device, kernels)
        if isinstance(row, Failure):
            row = {'part': part.name, 'verdict': f'FAILED: {row}'}
        rows.append(row)
        context.record.table('Errors relative to the CPU', rows)
    context.record.table('Attention kernels', list(kernels.values()))
    failed = [row['part'] for row in rows if row['verdict'] != 'equal']
    context.record.goal(
        'all parts equal the CPU', f'{len(rows) - len(failed)} of {len(rows)}', 'all', not failed
    )
    context.record.note(
        f'float32 within {FLOAT32_BOUND:g}; bfloat16 within {BFLOAT16_BOUNDS[0]:g} (outputs) and '
        f'{BFLOAT16_BOUNDS[1]:g} (gradients). Not equal: {", ".join(failed) or "none"}'
    )


def compare(part: Part, device: str, kernels: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row: errors of a part on a device in both precisions; the kernels go to ``kernels``."""
    torch.manual_seed(0)
    reference_module = part.build()
    reference_module.train(part.trains)
    module = copy.deepcopy(reference_module).to(device)
    reference = compute(part, reference_module, 'cpu')
    row: dict[str, Any] = {'part': part.name}
    verdicts = []
    for dtype, bounds in (
        (torch.float32, (FLOAT32_BOUND, FLOAT32_BOUND)),
        (torch.bfloat16, BFLOAT16_BOUNDS),
    ):
        name = str(dtype).removeprefix('torch.')
        with AttentionOperators() as attention:
            result = compute(part, module, device, dtype)
        errors = (
            relative_error(result.outputs, reference.outputs),
            relative_error(result.gradients, reference.gradients),
        )
        row |= {f'{name}, outputs': errors[0], f'{name}, gradients': errors[1]}
        # NaN is no error that passes.
        verdicts += [error <= bound for error, bound in zip(errors, bounds, strict=True)]
        if attention.names:
            key = f'{name}: {", ".join(sorted(attention.names))}'
            if key not in kernels:
                run = partial(compute, part, module, device, dtype)
                started = attention_kernels(run) if device == 'cuda' else []
                kernels[key] = {
                    'precision': name,
                    'operators': ', '.join(sorted(attention.names)),
                    'kernels': ', '.join(started) or '-',
                    'parts': part.name,
                }
            else:
                kernels[key]['parts'] += f'; {part.name}'
    row['verdict'] = 'equal' if all(verdicts) else 'DIFFERENT'
    return row


def compute(
    part: Part, module: nn.Module, device: str, dtype: torch.dtype = torch.float32
) -> Result:
    """Run a part forward and, where it has parameters to train, backward."""
    inputs = to_device(part.inputs(), device)
    halved = dtype != torch.float32
    with torch.autocast(device, dtype) if halved else nullcontext():
        outputs = part.run(module, inputs)
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradients: Sequence[Tensor | None] = []
    if part.trains and parameters:
        gradients = torch.autograd.grad(scalar(outputs), parameters, allow_unused=True)
    return Result(
        [tensor.detach().double().cpu() for tensor in tensors_in(outputs)],
        [tensor.double().cpu() for tensor in gradients if tensor is not None],
    )


def to_device(inputs: Any, device: str) -> Any:
    """Tensors of inputs on a device; what else is in a batch stays the host's."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, tuple):
        return tuple(to_device(item, device) for item in inputs)
    return inputs  # a batch, which the data preprocessor moves


def relative_error(found: list[Tensor], reference: list[Tensor]) -> float:
    """The norm of the difference over that of the reference, the worst of a list of tensors.

    A tensor that should be zero, such as the gradient of a bias before a normalisation, holds
    nothing but rounding: none is measured by less than a hundredth of the norm of all together.
    """
    if not reference:
        return 0.0
    least = 1e-2 * math.hypot(*(float(tensor.norm()) for tensor in reference))
    errors = [
        float((a - b).norm()) / max(float(b.norm()), least, 1e-30)
        for a, b in zip(found, reference, strict=True)
    ]
    return max(errors, key=lambda error: (math.isnan(error), error))
