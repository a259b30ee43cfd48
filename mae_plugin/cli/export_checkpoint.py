"""Write a checkpoint of any known layout in a peer's layout.

Examples::

    python tools/export_checkpoint.py work_dirs/mae/epoch_800.pth --to official
    python tools/export_checkpoint.py epoch_800.pth --to huggingface --part full --out mae.pth
"""

import argparse
import sys
from pathlib import Path

# The keys of `mae_plugin.checkpoint.LAYOUTS`, without torch, which help does not need.
LAYOUTS = ('official', 'timm', 'huggingface', 'mmpretrain', 'mmseg', 'mmseg-mae')


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', metavar='FILE', help='.pth, .safetensors, .pkl or an address')
    parser.add_argument('--to', required=True, choices=LAYOUTS, help='layout to write')
    parser.add_argument(
        '--part',
        default='encoder',
        choices=('encoder', 'full'),
        help="encoder: with a classifier's head, if it is one; full: with the decoder",
    )
    parser.add_argument(
        '--out',
        help='.safetensors or .pth; default: FILE_LAYOUT.safetensors in the current folder',
    )
    parser.add_argument('--prefix', help="what precedes the encoder's keys; found when left out")
    parser.add_argument(
        '--trust',
        action='store_true',
        help='unpickle everything, code included: only for files that you wrote yourself',
    )
    return parser.parse_args()


def main() -> int:
    """Read, translate, write."""
    args = parse_args()
    from mae_plugin.checkpoint import export_checkpoint, read_checkpoint, write_export

    out = args.out or f'{Path(args.file).stem}_{args.to}.safetensors'
    try:
        content = read_checkpoint(args.file, args.trust)
        tensors = export_checkpoint(content, args.to, args.part, args.prefix)
        write_export(out, tensors, args.to)
    except (ValueError, OSError) as error:
        print(f'{args.file} cannot be exported: {error}', file=sys.stderr)
        return 1
    print(f'{len(tensors)} tensors in the layout of {args.to}: {out}')
    return 0
