"""Say what a checkpoint is and what would happen when it is loaded.

Examples::

    python tools/inspect_checkpoint.py mae_pretrain_vit_base.pth
    python tools/inspect_checkpoint.py work_dirs/mae/epoch_800.pth model.safetensors
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'files', nargs='+', metavar='FILE', help='.pth, .safetensors, .pkl or an address'
    )
    parser.add_argument('--prefix', help="what precedes the encoder's keys; found when left out")
    parser.add_argument(
        '--trust',
        action='store_true',
        help='unpickle everything, code included: only for files that you wrote yourself',
    )
    return parser.parse_args()


def main() -> int:
    """Describe each file; the exit status is 1 if one cannot be used."""
    args = parse_args()
    from mae_plugin.checkpoint import read_checkpoint
    from mae_plugin.checkpoint.describe import describe

    status = 0
    for file in args.files:
        try:
            print(describe(read_checkpoint(file, args.trust), file, args.prefix))
        except (ValueError, OSError) as error:
            print(f'{file}\n  cannot be used: {error}', file=sys.stderr)
            status = 1
    return status
