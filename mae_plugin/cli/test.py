"""Evaluate a checkpoint with a config's test loop.

For a pretraining config that is the reconstruction loss on held-out images; for classification,
detection and segmentation their own metrics.

Example:
    python tools/test.py configs/mae_vit-b_pretrain.py work_dirs/RUN/epoch_800.pth --data-root DIR
"""

import os
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mae_plugin.cli.run_config import add_common_arguments, load_config, user_errors
from mae_plugin.errors import UserError


def parse_args() -> Namespace:
    """Command line of OpenMMLab's tools, plus ``--data-root``."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights to evaluate')
    add_common_arguments(parser)
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation of the config's `tta_model`"
    )
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    """Build the runner and test."""
    args = parse_args()
    with user_errors():
        from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
        from mae_plugin.engine.runner import build_runner
        from mae_plugin.engine.terminal import Terminal

        keep_torchvision_importable()
        cfg = load_config(args, ['test_dataloader'])
        if not cfg.get('test_dataloader'):
            raise UserError(f'{args.config} has no `test_dataloader`: nothing to evaluate')
        if args.tta:
            if not (cfg.get('tta_model') and cfg.get('tta_pipeline')):
                raise UserError(f'--tta: {args.config} has no `tta_model` and `tta_pipeline`')
            cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
            cfg.model = dict(cfg.tta_model, module=cfg.model)
        terminal = Terminal()
        with terminal.watch():
            build_runner(cfg, load_from=args.checkpoint, terminal=terminal).test()
