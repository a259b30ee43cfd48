"""Features of all images of a folder: a table, a sheet of neighbours, a map.

    python tools/embed.py CHECKPOINT PHOTOS --out features.npz          # or .csv, .parquet
    python tools/embed.py CHECKPOINT PHOTOS --out f.npz --pool cls avg --processes 2
    python tools/embed.py CHECKPOINT PHOTOS --out f.npz --neighbours sheet.png --map map.html

The checkpoint may be a run of this project or any ViT or MAE file. Images are resized and cut at
the centre; what cannot be read is left out and told. An interrupted call goes on where it was;
its parts lie in a hidden folder beside the table until that is whole. The map is one page that
needs no network: PCA, or scikit-learn's t-SNE with --method tsne.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import redirect_stdout
from pathlib import Path

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='run of this project, or any ViT file')
    parser.add_argument('folders', nargs='+', metavar='DIR', help='images, searched recursively')
    parser.add_argument('--out', required=True, metavar='FILE', help='.npz, .csv or .parquet')
    parser.add_argument('--pool', choices=['avg', 'cls', 'cls-mean'], nargs='+', default=['avg'])
    parser.add_argument('--size', type=int, help='image side; by default that of pretraining')
    parser.add_argument('--neighbours', metavar='PNG', help='contact sheet of nearest images')
    parser.add_argument('--map', metavar='HTML', help='page with the images on a plane')
    parser.add_argument('--method', choices=['pca', 'tsne'], default='pca', help='of the map')
    parser.add_argument('--num-heads', type=int, help='of the encoder, if its file cannot tell')
    parser.add_argument('--config', help="the model's config, where the checkpoint has none")
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--num-workers', type=int, help='processes that decode, of each process')
    parser.add_argument('--processes', type=int, help='that compute; by default one, or the GPUs')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    return parser.parse_args()


def main() -> None:
    """Embed, write, draw."""
    args = parse_args()
    with user_errors():
        from mae_plugin.cli.embed_folder import embed_folder

        for name in ('batch_size', 'processes', 'num_workers', 'size'):
            value = getattr(args, name)
            if value is not None and value < (name != 'num_workers'):
                raise UserError(f'--{name.replace("_", "-")} {value} is too small')
        for name, suffix in (('neighbours', '.png'), ('map', '.html')):
            given = getattr(args, name)
            if given and Path(given).suffix != suffix:
                raise UserError(f'--{name} {given}: give a name that ends in {suffix}')
        with redirect_stdout(sys.stderr):
            written = embed_folder(args)
        print('\n'.join(map(str, written)))
