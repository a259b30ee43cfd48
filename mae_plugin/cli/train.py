"""Train any config: MAE pretraining, fine-tuning, detection, segmentation.

Examples:
    python tools/train.py configs/mae_vit-b_pretrain.py --data-root photos
    python tools/train.py CONFIG --resume                      # goes on after an interruption
    python tools/train.py CONFIG --pretrained work_dirs/RUN/epoch_800.pth
    python tools/train.py CONFIG --data-root photos more/photos # without labels: several folders
    python tools/train.py CONFIG --batch-size 64 --accumulate 4
    python tools/train.py CONFIG --probe-train DIR/train --probe-val DIR/val   # is it learning?

The batch is the config's, or as much of it as fits: on a GPU what its memory holds, on a CPU what
takes seconds and fits into the memory that is free, in no more data workers than cores. The
learning rate follows where the config has `auto_scale_lr.base_batch_size`, enabled or not
(`--cfg-options auto_scale_lr.enable=False` keeps the config's). A line of the log says what was
chosen and why. `--accumulate N` makes a step of N iterations, `--accumulate recipe` of as many as
the recipe's images need; what counts iterations is lengthened by it. A resumed run keeps its
batch.
"""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import nullcontext

from mae_plugin.cli.batch_options import add_batch_arguments, batch_request
from mae_plugin.cli.block_imports import block_imports
from mae_plugin.cli.data_roots import config_first
from mae_plugin.cli.log_options import add_log_argument, add_trackers
from mae_plugin.cli.monitor_options import add_monitor_arguments, set_monitor
from mae_plugin.cli.run_config import add_common_arguments, load_config, set_precision, user_errors
from mae_plugin.cli.schedule_options import add_schedule_arguments, set_schedule
from mae_plugin.errors import UserError


def parse_args() -> Namespace:
    """Command line of OpenMMLab's tools, plus ``--data-root`` and ``--pretrained``."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('config', help='config file')
    add_common_arguments(parser, several_roots=True)
    add_batch_arguments(parser)
    add_log_argument(parser)
    add_monitor_arguments(parser)
    add_schedule_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='go on from a checkpoint; "auto" (or no value) takes the newest valid one of the '
        'work dir, and starts afresh where there is none',
    )
    parser.add_argument(
        '--pretrained',
        metavar='CKPT',
        help='start from these weights: a run of this project, any MAE or ViT file, '
        'hf://owner/name or a name such as mae-base-full; resized where needed, and an error if '
        'they do not fit',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16', 'float32'],
        help='precision; pretraining uses bfloat16 by default where the device has it',
    )
    parser.add_argument('--no-validate', action='store_true', help='leave validation out')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the real global batch (pretraining configs do anyway)',
    )
    parser.add_argument(
        '--no-cpu-tuning',
        action='store_true',
        help='on a CPU: leave matrix products and memory to PyTorch and the C library',
    )
    args = parser.parse_args(config_first(_amp_before_config(sys.argv[1:])))
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # On a CPU: threads that wait for each other sleep. Spinning, they starve the data workers and
    # each other (ten times slower on a busy machine). Read once, when torch is imported.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return args


def _amp_before_config(arguments: list[str]) -> list[str]:
    """Let ``--amp CONFIG``, OpenMMLab's order, mean ``--amp`` and a config, not its precision."""
    following = [*arguments[1:], '']
    return [
        '--amp=bfloat16' if argument == '--amp' and after.endswith('.py') else argument
        for argument, after in zip(arguments, following)
    ]


def main() -> None:
    """Build the runner and train."""
    args = parse_args()
    with user_errors():
        loaders = ['train_dataloader'] + ['val_dataloader'] * (not args.no_validate)
        cfg = load_config(args, loaders)
        # mmengine imports transformers for this optimizer alone.
        unused = () if 'Adafactor' in str(cfg.get('optim_wrapper')) else ('transformers',)
        with block_imports(*unused):
            from mmengine.device import get_device

            from mae_plugin.engine.autocast import supports_bfloat16
            from mae_plugin.engine.cpu_tuning import computes_again, cpu_tuning
            from mae_plugin.engine.runner import build_runner
            from mae_plugin.engine.terminal import Terminal
        from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

        keep_torchvision_importable()
        set_monitor(cfg, args)
        set_schedule(cfg, args)
        add_trackers(cfg, args.log)
        tuned = get_device() == 'cpu' and not args.no_cpu_tuning and not cfg.get('compile')
        tuned = tuned and not computes_again(cfg.get('model'))
        if args.no_validate:
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        if args.amp:
            set_precision(cfg, args.amp)
            if args.amp == 'float16' and get_device() in ('cpu', 'mps'):
                raise UserError(
                    f'--amp float16 needs a GPU, and the device here is {get_device()!r}: train '
                    'with --amp float32'
                )
            if args.amp == 'bfloat16' and not supports_bfloat16(get_device()):
                print(
                    f'warning: --amp bfloat16: the device here ({get_device()}) has it not, or '
                    'only emulated; training in float32',
                    file=sys.stderr,
                )
        if args.auto_scale_lr:
            if not cfg.get('auto_scale_lr'):
                raise UserError(
                    f'--auto-scale-lr: {args.config} has no `auto_scale_lr`; add '
                    'auto_scale_lr=dict(base_batch_size=...) to it'
                )
            cfg.auto_scale_lr.enable = True
        terminal = Terminal()
        with terminal.watch(), cpu_tuning() if tuned else nullcontext():
            runner = build_runner(
                cfg, args.resume, args.pretrained, batch=batch_request(args), terminal=terminal
            )
            runner.train()
