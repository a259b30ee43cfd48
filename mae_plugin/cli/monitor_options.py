"""The command line's say in what a run is watched on: ``--probe-train``, ``--held-out`` ..."""

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from mae_plugin.cli.config_kinds import builds_ours
from mae_plugin.errors import MissingFileError, UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def add_monitor_arguments(parser: ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        '--probe-train',
        metavar='DIR',
        help='pretraining: labelled images, a folder for each class, which probes learn from',
    )
    parser.add_argument(
        '--probe-val',
        metavar='DIR',
        help='pretraining: labelled images that probes are tested on',
    )
    parser.add_argument(
        '--held-out',
        metavar='DIR',
        help='pretraining: images without labels on which loss, rank and neighbours are looked '
        "at; --probe-val's by default",
    )


def set_monitor(cfg: 'Config', args: Namespace) -> None:
    """Hand the folders to the config's ``MonitorHook``, which is added where there is none.

    Raises:
        UserError: If a folder is missing, one of the two labelled ones is not given, or the
            config is none of pretraining.
    """
    given = dict(train=args.probe_train, val=args.probe_val, images=args.held_out)
    given = {name: folder for name, folder in given.items() if folder is not None}
    if not given:
        return
    if ('train' in given) != ('val' in given):
        raise UserError(
            '--probe-train and --probe-val go together: one folder to learn the labels from, one '
            'to test on'
        )
    for folder in given.values():
        if not os.path.isdir(folder):
            raise MissingFileError(
                f'{folder} is no folder: give images for --probe-..., --held-out'
            )
    if not builds_ours('MODELS', cfg.model, 'MAE'):
        raise UserError('--probe-train, --probe-val and --held-out are for pretraining (MAE)')
    hooks: list[Any] = list(cfg.get('custom_hooks') or [])
    found = [hook for hook in hooks if builds_ours('HOOKS', hook, 'MonitorHook')]
    if not found:
        hooks.append(dict(type='mae_plugin.MonitorHook'))
        found = hooks[-1:]
    for hook in found:
        hook.update(given)
    cfg.custom_hooks = hooks
