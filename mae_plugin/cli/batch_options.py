"""The command line's say in the batch: ``--batch-size`` and ``--accumulate``."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from mae_plugin.engine.batch_choice import BatchRequest

_SIZE = 'train_dataloader.batch_size'


def add_batch_arguments(parser: ArgumentParser) -> None:
    """Add both to a parser."""
    parser.add_argument(
        '--batch-size',
        type=_count_or('auto'),
        metavar='N|auto',
        help='images to an iteration of each process; auto, the default: as many of the '
        "config's as the device takes. The learning rate follows",
    )
    parser.add_argument(
        '--accumulate',
        type=_count_or('recipe'),
        metavar='N|recipe',
        help='iterations to a step of the optimizer; recipe: as many as make the images a step '
        'that the learning rate is written for',
    )


def batch_request(args: Namespace) -> 'BatchRequest':
    """What the arguments ask for.

    A batch that ``--cfg-options`` sets is taken as it is, and the learning rate follows it if the
    config says so, as everywhere in OpenMMLab.

    Raises:
        UserError: The batch is given twice.
    """
    from mae_plugin.engine.batch_choice import BatchRequest

    options = [option.partition('=')[0] for option in args.cfg_options]
    size = args.batch_size
    if _SIZE in options:
        if size is not None:
            raise UserError(f'--batch-size {size} and --cfg-options {_SIZE}=...: give one of them')
    elif size is None:
        size = 'auto'
    return BatchRequest(
        size=size,
        accumulate=args.accumulate,
        scale_lr=not any(option.startswith('auto_scale_lr') for option in options),
        limit_workers='train_dataloader.num_workers' not in options,
    )


def _count_or(word: str):
    """A type of argument: a whole number above zero, or a word."""

    def read(text: str) -> int | str:
        if text == word:
            return word
        if not text.isdigit() or int(text) < 1:
            raise ArgumentTypeError(f"'{text}' is no whole number above 0, nor '{word}'")
        return int(text)

    return read
