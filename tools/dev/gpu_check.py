"""Check everything on a GPU in one prepared run of minutes; see tools/dev/gpu/README.md.

Examples:
    python tools/dev/gpu_check.py --out work_dirs/gpu_check            # all stages, 560 s
    python tools/dev/gpu_check.py --stages training_step dense_backbone
    python tools/dev/gpu_check.py --dry                                # on a CPU, at tiny size

Each stage is a process with a time limit. gpu_check.md and gpu_check.json hold what is known
so far at every moment; gpu_check.log what the stages printed.
"""

import sys
import tempfile
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from importlib import import_module
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gpu.stages import STAGES, chosen

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

BUDGET, DRY_BUDGET = 560, 1800


def parse_args(argv: list[str] | None = None) -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = ', '.join(stage.name for stage in STAGES)
    parser.add_argument(
        '--stages', nargs='+', metavar='STAGE', help=f'only these, in this order: {names}'
    )
    parser.add_argument(
        '--budget',
        type=float,
        metavar='SECONDS',
        help=f'for all stages together; default: {BUDGET}, or {DRY_BUDGET} for a dry run',
    )
    parser.add_argument('--dry', action='store_true', help='on the CPU, at tiny size')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_check'), metavar='DIR')
    parser.add_argument(
        '--photos', type=Path, metavar='DIR', help='more photographs for the input and learning'
    )
    # How a stage is started as a process.
    parser.add_argument('--run-stage', help=SUPPRESS)
    parser.add_argument('--record', type=Path, help=SUPPRESS)
    parser.add_argument('--seconds', type=float, help=SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the stages; the exit status says whether all came to their end."""
    args = parse_args(argv)
    with user_errors():
        if args.run_stage:
            run_stage(args)
            return 0
        stages = chosen(args.stages)
        _check_device(args.dry)
        from gpu.supervisor import Supervisor

        args.out.mkdir(parents=True, exist_ok=True)
        passed_on = ['--photos', str(args.photos.resolve())] if args.photos else []
        budget = args.budget or (DRY_BUDGET if args.dry else BUDGET)
        done = Supervisor(args.out, budget, args.dry, passed_on).run(stages)
        print(f'written: {args.out}/gpu_check.md, gpu_check.json, gpu_check.log')
        return int(not done)


def run_stage(args: Namespace) -> None:
    """Run one stage in this process."""
    from gpu.context import Context
    from gpu.record import Record

    (stage,) = chosen([args.run_stage])
    with tempfile.TemporaryDirectory(prefix='gpu-stage-', dir=args.record.parent) as scratch:
        record = Record(args.record, args.dry)
        device = 'cpu' if args.dry else 'cuda'
        import_module(f'gpu.{stage.name}').main(
            Context(record, Path(scratch), device, args.dry, args.seconds, args.photos)
        )


def _check_device(dry: bool) -> None:
    import torch

    from mae_plugin.compat import require_torch

    require_torch('2.6', 'the GPU check')
    if not dry and not torch.cuda.is_available():
        raise UserError(
            'no CUDA GPU is seen by this torch: run where there is one, or with --dry to try '
            'the code on a CPU'
        )


if __name__ == '__main__':
    sys.exit(main())
