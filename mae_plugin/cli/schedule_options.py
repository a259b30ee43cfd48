"""The command line's say in the schedule: ``--schedule`` and ``--cool-down``."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def add_schedule_arguments(parser: ArgumentParser) -> None:
    """Add both to a parser."""
    parser.add_argument(
        '--schedule',
        choices=['cosine', 'wsd'],
        help="wsd: after the warm-up the learning rate stays, where the config's is a cosine; "
        'such a run may be prolonged with --resume and a larger train_cfg.max_epochs',
    )
    parser.add_argument(
        '--cool-down',
        type=int,
        metavar='N',
        help='wsd: let the learning rate fall to zero in the last N epochs',
    )


def set_schedule(cfg: 'Config', args: Namespace) -> None:
    """Change the config's schedulers as the arguments say.

    Raises:
        UserError: If there is no cosine to take the place of, or nothing to cool down.
    """
    if args.schedule != 'wsd' and args.cool_down is None:
        return
    from mmengine.optim import CosineAnnealingParamScheduler

    from mae_plugin.engine.stable_decay import StableDecayLR
    from mae_plugin.registry import PARAM_SCHEDULERS, builds

    scope = cfg.get('default_scope')
    schedulers: list[Any] = [cfg.get('param_scheduler')]
    if isinstance(schedulers[0], (list, tuple)):
        schedulers = list(schedulers[0])

    def places(kind: Any) -> list[int]:
        return [
            number
            for number, scheduler in enumerate(schedulers)
            if builds(PARAM_SCHEDULERS, scheduler, kind, scope)
        ]

    if args.schedule == 'wsd' and not places(StableDecayLR):
        found = places(CosineAnnealingParamScheduler)
        if len(found) != 1:
            raise UserError(
                f'--schedule wsd takes the place of one cosine, and {args.config} has '
                f'{len(found) or "none"}: put mae_plugin.StableDecayLR into its param_scheduler'
            )
        kept = ('begin', 'end', 'by_epoch', 'convert_to_iter_based')
        old = schedulers[found[0]]
        schedulers[found[0]] = dict(
            type='mae_plugin.StableDecayLR', **{key: old[key] for key in kept if key in old}
        )
        cfg.param_scheduler = schedulers
    if args.cool_down is not None:
        found = places(StableDecayLR)
        if not found:
            raise UserError(
                f'--cool-down {args.cool_down}: the schedule is none that cools down when it is '
                'wanted; add --schedule wsd'
            )
        for number in found:
            schedulers[number]['decay'] = args.cool_down
        cfg.param_scheduler = schedulers
