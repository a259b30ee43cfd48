"""Write an encoder or backbone as one file that runs without this package.

    python tools/export_model.py CHECKPOINT --to onnx
    python tools/export_model.py CHECKPOINT --to torch --out encoder.pt2
    python tools/export_model.py detector.pth --to onnx --config CONFIG

CHECKPOINT is a run of this project or any ViT file. Without --config its encoder is written:
images to tokens. With a detection or segmentation config, a file or a name such as
mask-rcnn_vitdet-b_mae_lsj-100e_coco, the config's backbone: images to feature maps. The file
takes raw pixels (B, C, H, W), 0 to 255, of any batch, height and width, and normalises them;
before it gets its name it is run beside PyTorch on three sizes.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

SUFFIXES = {'onnx': '.onnx', 'torch': '.pt2'}


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='run of this project, or any ViT file')
    parser.add_argument(
        '--to', required=True, choices=list(SUFFIXES), help='ONNX, or a torch.export program'
    )
    parser.add_argument('--config', help='export the backbone of this config')
    parser.add_argument('--out', type=Path, help='default: CHECKPOINT.onnx or .pt2 in this folder')
    parser.add_argument('--num-heads', type=int, help='of the encoder, if its file cannot tell')
    parser.add_argument('--no-check', action='store_true', help='do not compare it with PyTorch')
    return parser.parse_args()


def main() -> None:
    """Load, write, compare."""
    args = parse_args()
    with user_errors():
        from mae_plugin.evaluation import deployment
        from mae_plugin.files import temporary_name

        suffix = SUFFIXES[args.to]
        out = args.out or Path(Path(args.checkpoint).stem + suffix)
        if out.suffix != suffix:
            raise UserError(f'--out {out}: with --to {args.to} a name ends in {suffix}')
        deployable = deployment.load_deployable(args.checkpoint, args.config, args.num_heads)
        write, compare = {
            'onnx': (deployment.write_onnx, deployment.compare_onnx),
            'torch': (deployment.write_program, deployment.compare_program),
        }[args.to]
        partial = out.with_name(temporary_name(out.stem) + out.suffix)
        try:
            print(f'Writing {out}', file=sys.stderr)
            write(deployable, partial)
            if not args.no_check:
                for found in compare(deployable, partial):
                    print(f'{found.shape}: differs by {found.relative:.1e} from PyTorch')
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
        names = ', '.join(deployable.outputs)
        print(f'{out}: images (B, {len(deployable.mean)}, H, W), 0 to 255, to {names}')
