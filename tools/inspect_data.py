"""Look at folders of images before training: what is in them, what is broken, and which config.

    python tools/inspect_data.py PHOTOS                    # one screen, a page and a config
    python tools/inspect_data.py SCANS OTHERS --out found --all
    python tools/inspect_data.py files.txt 'shards/train-{000..127}.tar'
    python tools/train.py data_report/config.py            # as it was written

Reads all headers (once; an interrupted reading goes on) and the pixels of as many images as mean
and std need to be within 1%; --all reads every pixel, and compares all images with each other.
Writes data_report.html and config.py, whose comments tell the reason of each choice.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.run_config import user_errors


def main() -> None:
    """Inspect, print, write."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        'folders',
        nargs='+',
        metavar='DIR',
        help='searched recursively; or a list file (.txt, a path on each line), or tar shards',
    )
    parser.add_argument('--out', default='data_report', help='folder for the page and the config')
    parser.add_argument('--all', action='store_true', help='every pixel, and every pair of images')
    parser.add_argument('--pretrained', metavar='FILE', help='weights that the config starts from')
    parser.add_argument('--workers', type=int, help='processes; as many as there are cores')
    parser.add_argument(
        '--percentiles',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='more than 8 bits: let the values at these percentiles, such as 0.5 99.5, become 0 '
        'and 255, instead of keeping 16 bits',
    )
    args = parser.parse_args()
    with user_errors():
        from mae_plugin.cli.write_data_report import write_data_report

        percentiles = tuple(args.percentiles) if args.percentiles else None
        write_data_report(
            args.folders, args.out, args.all, args.pretrained, args.workers, percentiles
        )


if __name__ == '__main__':
    main()
