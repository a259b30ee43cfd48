"""What the command line changes in a run's config, and how its errors are told."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def parse_value(text: str) -> object:
    """A number, boolean, None, list, tuple or dict as Python writes it; other text as it is."""
    from ast import literal_eval

    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        named = {'true': True, 'false': False, 'none': None}
        if text.lower() in named:
            return named[text.lower()]
        return [parse_value(part) for part in text.split(',')] if ',' in text else text


def add_common_arguments(parser: ArgumentParser) -> None:
    """Arguments that training and testing share, named as in OpenMMLab's tools."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and pictures go')
    parser.add_argument(
        '--data-root', metavar='DIR', help='your images: a folder, searched recursively'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_dataloader.batch_size=64',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def load_config(args: Namespace) -> 'Config':
    """Read the config that ``args`` names and apply the common arguments to it.

    Raises:
        ValueError: If the file is missing or no whole config, or an option cannot be applied.
    """
    from mmengine.config import Config

    if not Path(args.config).is_file():
        raise ValueError(f"no config file '{args.config}': see configs/ for those that exist")
    cfg = Config.fromfile(args.config)
    if 'model' not in cfg:
        raise ValueError(f'{args.config} has no model: it is a part that other configs inherit')
    for option in args.cfg_options:
        override(cfg, option)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = f'work_dirs/{Path(args.config).stem}'
    if args.data_root:
        set_data_root(cfg, args.data_root)
        follow_classes(cfg, args.data_root)
    return cfg


def override(cfg: 'Config', option: str) -> None:
    """Apply one KEY=VALUE of ``--cfg-options``.

    Raises:
        ValueError: If it is not of that form, or the config has no such place.
    """
    key, equals, value = option.partition('=')
    if not equals:
        raise ValueError(f"--cfg-options '{option}' is not KEY=VALUE")
    try:
        cfg.merge_from_dict({key: parse_value(value)})
    except (KeyError, TypeError) as error:
        raise ValueError(f"--cfg-options '{option}' does not fit: {error.args[0]}") from error


def set_data_root(cfg: 'Config', folder: str) -> None:
    """Point every data loader at ``folder``.

    A loader's ``data_prefix`` (ImageNet's ``train``) is kept where that folder exists; otherwise
    the whole of ``folder`` is used, searched recursively. Annotation files of the evaluators
    follow.
    """
    old_roots = set()
    for name in _LOADERS:
        dataset = (cfg.get(name) or {}).get('dataset')
        while dataset and 'dataset' in dataset:
            dataset = dataset.dataset
        if not dataset:
            continue
        old_roots.add(dataset.get('data_root'))
        dataset.data_root = folder
        prefix = dataset.get('data_prefix', '')
        if isinstance(prefix, str) and not (Path(folder) / prefix).is_dir():
            dataset.data_prefix = ''
    for name in ('val_evaluator', 'test_evaluator'):
        evaluators = cfg.get(name) or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            for root in filter(None, old_roots):
                if str(evaluator.get('ann_file', '')).startswith(root):
                    evaluator.ann_file = str(
                        Path(folder) / evaluator.ann_file[len(root) :].lstrip('/')
                    )


def follow_classes(cfg: 'Config', folder: str) -> None:
    """Give a classifier as many classes as the training images of ``folder`` have sub-folders.

    Only for data that is labelled by its folders; annotation files name their own labels.
    """
    model: Any = cfg.get('model') or {}
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if model.get('type') not in ('ImageClassifier', 'mmpretrain.ImageClassifier'):
        return
    images = Path(folder) / dataset.get('data_prefix', '')
    if not dataset or dataset.get('ann_file') or not images.is_dir():
        return
    classes = sum(entry.is_dir() and not entry.name.startswith('.') for entry in images.iterdir())
    if classes:
        model.head.num_classes = classes
        if 'data_preprocessor' in model:
            model.data_preprocessor.num_classes = classes


def set_precision(cfg: 'Config', precision: str) -> None:
    """Choose 'bfloat16' (where the device has it), 'float16' or 'float32' for training."""
    wrapper = cfg.optim_wrapper
    for key in ('dtype', 'loss_scale'):
        wrapper.pop(key, None)
    if precision == 'bfloat16':
        wrapper.type = 'mae_plugin.BFloat16OptimWrapper'
    elif precision == 'float16':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.update(dtype='float16', loss_scale='dynamic')
    else:
        wrapper.type = 'OptimWrapper'


def scale_for_accumulation(cfg: 'Config') -> None:
    """Let the learning rate follow the true global batch when gradients are accumulated.

    mmengine scales by batch size and processes alone; here ``accumulative_counts`` counts too.
    """
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    scaling = cfg.get('auto_scale_lr')
    if counts > 1 and scaling and scaling.get('enable'):
        scaling.base_batch_size = scaling.base_batch_size / counts


def _own_error(error: BaseException | None) -> BaseException | None:
    """The error that our own code raised on purpose, under what others wrapped around it.

    mmengine's registry raises anew, with 'class `X` in path: ' before the message, once per level.
    """
    while error is not None and not _from_this_project(error):
        error = error.__cause__ or error.__context__
    return error


def _from_this_project(error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    here = Path(__file__).resolve().parent
    homes = (here, here.parent / 'tools')
    if traceback is None:
        return False
    path = Path(traceback.tb_frame.f_code.co_filename).resolve()
    return any(path.is_relative_to(home) for home in homes)


@contextmanager
def user_errors() -> Iterator[None]:
    """Tell an error of the user's input that our code raised in one line, and exit with status 2.

    Errors of anyone else's code keep their traceback: they are not the user's input.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        own_error = _own_error(error)
        if own_error is None:
            raise
        print(f'error: {own_error}', file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if type(error).__name__ != 'TooManyBadImages':  # importing it would bring torch
            raise
        # From a worker it comes with that process's traceback before its own words.
        print(f'error: {str(error).rpartition("TooManyBadImages: ")[2].strip()}', file=sys.stderr)
        sys.exit(2)
