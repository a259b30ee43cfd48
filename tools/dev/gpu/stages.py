"""The stages of the GPU check, in order of worth; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mae_plugin.errors import UserError


@dataclass(frozen=True)
class Stage:
    """One measurement, which runs as a process of its own.

    Attributes:
        name: On the command line, and the module of this package that has ``main(context)``.
        title: Heading.
        seconds: Its time limit.
        shows: What its tables say.
        by_default: Whether it runs when no stages are named.
    """

    name: str
    title: str
    seconds: int
    shows: str
    by_default: bool = True


STAGES = (
    Stage(
        'equality',
        'Equality with the CPU',
        70,
        'outputs and gradients of every registered part in float32 and bfloat16 against the CPU, '
        'and the attention kernels that were chosen',
    ),
    Stage(
        'training_run',
        'A run through tools/train.py',
        130,
        'no wait for the GPU after warm-up, no recompilation, no NaN, resuming bit for bit',
    ),
    Stage(
        'training_step',
        'Training step',
        150,
        'images/s, share of the bound by matrix products, peak memory, against other MAEs',
    ),
    Stage(
        'dense_backbone',
        'Dense backbone at 1024 px',
        95,
        'time and memory of relative positions: without a bias matrix, with one, FlexAttention',
    ),
    Stage(
        'input_path',
        'Input path',
        50,
        'crops a second for 1 to 16 workers, what the step needs, idle share of the GPU',
    ),
    Stage(
        'parallel',
        'DDP, FSDP, memory',
        75,
        'DDP and FSDP over NCCL on one GPU, the price of recomputing, memory against batch',
    ),
    Stage(
        'learning',
        'Learning at equal time',
        420,
        'kNN and linear probe after equal minutes of our MAE and of mmpretrain',
        by_default=False,
    ),
)
# Less than this is not worth starting a process for.
LEAST_SECONDS = 15


def chosen(names: Sequence[str] | None) -> list[Stage]:
    """The stages of these names, in the order given; those run by default for None.

    Raises:
        UserError: If there is no stage of a name.
    """
    if names is None:
        return [stage for stage in STAGES if stage.by_default]
    known = {stage.name: stage for stage in STAGES}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f'no stage {", ".join(unknown)}: choose from {", ".join(known)}')
    return [known[name] for name in names]
