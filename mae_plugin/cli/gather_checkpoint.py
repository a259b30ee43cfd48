"""Make one plain file of a sharded checkpoint, for transfer or for training elsewhere.

Example:
    python tools/gather_checkpoint.py work_dirs/RUN/epoch_800.pth mae_vit-h.pth
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError


def main() -> None:
    """Read a folder of shards, write one file."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('folder', help="a sharded checkpoint's folder, of FSDP or of DeepSpeed")
    parser.add_argument('output', help='file to write')
    parser.add_argument(
        '--with-optimizer', action='store_true', help='keep the training state; 3 times the size'
    )
    args = parser.parse_args()
    with user_errors():
        from mae_plugin.engine.fsdp import read_checkpoint, save_plain

        checkpoint = read_checkpoint(args.folder)
        if args.with_optimizer and 'optimizer' not in checkpoint:
            raise UserError(
                f"--with-optimizer: {args.folder} is DeepSpeed's, whose training state only "
                'DeepSpeed can use'
            )
        if not args.with_optimizer:
            checkpoint = {key: checkpoint[key] for key in ('meta', 'state_dict')}
        save_plain(checkpoint, args.output)
    tensors = checkpoint['state_dict']
    total = sum(tensor.numel() for tensor in tensors.values())
    print(f'{args.output}: {len(tensors)} tensors, {total / 1e6:.1f} M numbers')
