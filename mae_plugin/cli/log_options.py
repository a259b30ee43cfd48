"""The command line's say in where curves and pictures go: ``--log tensorboard,mlflow``."""

import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

PROJECT = 'mae_plugin'


class Tracker(NamedTuple):
    """A program that shows runs.

    Attributes:
        backend: The visualization backend that writes for it.
        package: What must be installed, and imports under this name.
        settings: Settings of the backend, from the run's folder, whose name the run has.
    """

    backend: str
    package: str
    settings: Callable[[Path], dict[str, Any]] = lambda work_dir: {}


def _mlflow(work_dir: Path) -> dict[str, Any]:
    """The server of MLFLOW_TRACKING_URI, or a file beside the runs; MLflow refuses folders."""
    runs = work_dir.resolve().parent
    uri = os.environ.get('MLFLOW_TRACKING_URI')
    local = dict(
        tracking_uri=f'sqlite:///{runs}/mlflow.db', artifact_location=(runs / 'mlflow').as_uri()
    )
    return dict(
        exp_name=PROJECT, run_name=work_dir.name, **(dict(tracking_uri=uri) if uri else local)
    )


TRACKERS = {
    'tensorboard': Tracker('TensorboardVisBackend', 'tensorboard'),
    'mlflow': Tracker('mae_plugin.MLflowVisBackend', 'mlflow', _mlflow),
    'wandb': Tracker(
        'mae_plugin.WandbVisBackend',
        'wandb',
        lambda work_dir: dict(init_kwargs=dict(project=PROJECT, name=work_dir.name)),
    ),
    'aim': Tracker(
        'AimVisBackend', 'aim', lambda work_dir: dict(init_kwargs=dict(experiment=work_dir.name))
    ),
    'clearml': Tracker(
        'ClearMLVisBackend',
        'clearml',
        lambda work_dir: dict(
            init_kwargs=dict(project_name=PROJECT, task_name=work_dir.name),
            artifact_suffix='.py',  # by default each checkpoint is uploaded too
        ),
    ),
}


def add_log_argument(parser: ArgumentParser) -> None:
    """Add ``--log`` to a parser."""
    parser.add_argument(
        '--log',
        type=_names,
        default=[],
        metavar='NAME[,NAME]',
        help=f'show curves and pictures in {", ".join(TRACKERS)} too',
    )


def add_trackers(cfg: 'Config', names: list[str]) -> None:
    """Let the run's visualizer write for more programs.

    Args:
        cfg: Config with ``work_dir``, of which the run has its name.
        names: Keys of :data:`TRACKERS`.

    Raises:
        UserError: A package is not installed.
    """
    if not names:
        return
    visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    for name in names:
        backend, package, settings = TRACKERS[name]
        if find_spec(package) is None:
            raise UserError(f'--log {name} needs the package {package}: pip install {package}')
        if backend not in [each['type'] for each in backends]:
            backends.append(dict(type=backend, **settings(Path(cfg.work_dir))))
    cfg.visualizer = dict(visualizer, vis_backends=backends)


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(',')))
    for name in names:
        if name not in TRACKERS:
            raise ArgumentTypeError(f"'{name}' is none of {', '.join(TRACKERS)}")
    return names
