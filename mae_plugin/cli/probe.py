"""Score a checkpoint's frozen features on labelled images: kNN and a quick linear probe.

    python tools/probe.py CHECKPOINT --data-root DIR
    python tools/probe.py mae_pretrain_vit_base.pth dino_vitbase16.pth --data-root data/imagenet \
        --max-train 50000 --pool cls avg --device cuda

DIR holds train/ and val/ with one sub-folder for each class. The checkpoint may be a run of this
project or any ViT or MAE file; one of a size of its own that names no heads wants --num-heads.
Both numbers are for comparing checkpoints in minutes; the paper's linear probe is
configs/classification/linear_*.py.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from mae_plugin.models import ViT


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoints', nargs='+', help='run of this project, or any ViT file')
    parser.add_argument('--data-root', required=True, metavar='DIR', help='holds train/ and val/')
    parser.add_argument('--size', type=int, help='image side; by default that of pretraining')
    parser.add_argument(
        '--pool', choices=['avg', 'cls', 'cls-mean'], nargs='+', default=['avg', 'cls']
    )
    parser.add_argument('--k', type=int, default=20, help='neighbours')
    parser.add_argument('--max-train', type=int, help='use this many training images')
    parser.add_argument('--max-val', type=int, help='use this many validation images')
    parser.add_argument('--num-heads', type=int, help='of the encoder, if its file cannot tell')
    parser.add_argument('--config', help="the model's config, where the checkpoint has none")
    parser.add_argument(
        '--random', action='store_true', help="also score random weights of the last one's sizes"
    )
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=2)
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    return parser.parse_args()


def score(
    vit: 'ViT', preprocessor: 'nn.Module', name: str, args: Namespace, decoding: dict
) -> None:
    """Print an encoder's rows of the table, each as soon as it is known."""
    from mae_plugin.evaluation.features import evaluate_folders

    for pool in args.pool:
        if pool != 'avg' and vit.cls_token is None:
            print(f'{name} has no class token: feature {pool} is left out', file=sys.stderr)
            continue
        scores = evaluate_folders(
            vit.to(args.device),
            preprocessor.to(args.device),
            str(Path(args.data_root) / 'train'),
            str(Path(args.data_root) / 'val'),
            args.size or (vit.grid[0] * vit.patch_size, vit.grid[1] * vit.patch_size),
            pool=pool,
            k=args.k,
            max_train=args.max_train,
            max_val=args.max_val,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            channels=vit.patch_embed.proj.in_channels,
            **decoding,
        )
        print(
            f'| {name} | {pool} | {scores["knn"]:.1f} | {scores["linear"]:.1f} |',
            flush=True,
        )


def main() -> None:
    """Print a Markdown table."""
    args = parse_args()
    with user_errors():
        import torch

        from mae_plugin.evaluation.encoder import load_encoder, random_encoder
        from mae_plugin.evaluation.stored_decoding import stored_decoding

        args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        for split in ('train', 'val'):
            if not (Path(args.data_root) / split).is_dir():
                raise UserError(f'--data-root {args.data_root} has no folder {split}/')
        for number, path in enumerate(args.checkpoints):
            # What was loaded is told beside the table, not within it.
            with redirect_stdout(sys.stderr):
                vit, preprocessor = load_encoder(path, args.num_heads, args.config)
            if number == 0:
                print('| checkpoint | feature | kNN | linear |\n|---|---|---|---|', flush=True)
            decoding = stored_decoding(path, args.config)
            score(vit, preprocessor, path, args, decoding)
        if args.random:
            torch.manual_seed(0)
            score(random_encoder(vit), preprocessor, 'random weights', args, decoding)
