"""From a pretraining run to a detector or a segmentor of your own labelled images.

    python tools/start_transfer.py work_dirs/RUN --to mmdet --data instances_train.json
    python tools/start_transfer.py work_dirs/RUN --to mmseg --data masks/train
    python tools/train.py transfer/mask-rcnn_RUN.py              # as it was written

Writes one config: classes and sizes of your data; channels, mean, std and the way of decoding of
the run. It trains in tools/train.py and in the host's own. --data is a COCO-style JSON file for
mmdet, a folder of masks for mmseg (a pixel is the number of its class, 255 for none). A validation
set is looked for beside it; where there is none, each tenth image is held out.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from mae_plugin.cli.run_config import user_errors
from mae_plugin.cli.tools import as_typed
from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write

NAMES = {'mmdet': 'mask-rcnn', 'mmseg': 'upernet'}


def main() -> None:
    """Read the run and the data, write the config, print the command."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('run', help='work dir of a pretraining run, or its checkpoint')
    parser.add_argument('--to', choices=list(NAMES), required=True, help='toolbox')
    parser.add_argument(
        '--data', required=True, metavar='JSON|DIR', help='COCO file, or folder of masks'
    )
    parser.add_argument('--val', metavar='JSON|DIR', help='the same of the validation set')
    parser.add_argument('--images', metavar='DIR', help='the images, if they are not found')
    parser.add_argument('--classes', nargs='+', help='names of the values of masks, from 0')
    parser.add_argument('--out', default='transfer', metavar='DIR', help='where the config goes')
    args = parser.parse_args()
    with user_errors():
        print(start_transfer(**vars(args)))


def start_transfer(
    run: str,
    to: str,
    data: str,
    val: str | None = None,
    images: str | None = None,
    classes: list[str] | None = None,
    out: str = 'transfer',
) -> str:
    """Write a config; returns what there is to tell.

    Args:
        run: Work dir or checkpoint.
        to: 'mmdet' or 'mmseg'.
        data: COCO file, or folder of masks.
        val: The same of the validation set.
        images: Folder of the images, if they are not found.
        classes: Names of the values of masks.
        out: Folder for the config.

    Raises:
        UserError: If the run, the data or their fit is at fault.
    """
    from mae_plugin.cli.transfer.coco import read_coco
    from mae_plugin.cli.transfer.mask_folder import read_masks
    from mae_plugin.cli.transfer.run import read_run
    from mae_plugin.cli.transfer.write_config import write_config

    pretrained, folder = read_run(run), Path(out)
    if to == 'mmdet':
        if classes:
            raise UserError('--classes is for masks: a COCO file names its categories')
        found = read_coco(data, val, images, pretrained.channels, folder)
    else:
        found = read_masks(data, val, images, classes, pretrained.channels, folder)
    path = folder / f'{NAMES[to]}_{pretrained.name}.py'
    atomic_write(path, write_config(pretrained, found, to, folder).encode())
    held = ' (each tenth image, held out)' * found.held_out
    shown = ', '.join(found.classes[:8]) + f' and {len(found.classes) - 8} more' * (
        len(found.classes) > 8
    )
    return (
        f'{len(found.train.names):,} images to train on, {len(found.val.names):,} to validate on'
        f'{held}; {len(found.classes)} classes: {shown}\n'
        f'encoder: {pretrained.checkpoint}\n{path}\n\n{as_typed("train")} {path}'
    )
