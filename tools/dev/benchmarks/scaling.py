"""Cost of a training step against resolution, batch, depth and mask ratio, with its growth.

One quantity is varied at a time around the centre (--img-size, --batch-size, --depth,
--mask-ratio). Sizes run in turn, so that a busy moment does not look like growth. The exponent is
the slope of a straight line through the logarithms; each step's own slope stands beside it, so
that a jump shows. Against the mask ratio the abscissa is the share of patches kept.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from .report import Report, Stat, add_common_arguments, alternate, describe, seconds, set_threads


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py scaling``."""
    add_common_arguments(parser, rounds=3)
    parser.add_argument('--arch', default='base', choices=['tiny', 'small', 'base', 'large'])
    parser.add_argument('--img-size', type=int, default=224, help='centre')
    parser.add_argument('--batch-size', type=int, default=2, help='centre')
    parser.add_argument('--mask-ratio', type=float, default=0.75, help='centre')
    parser.add_argument(
        '--img-sizes', type=int, nargs='+', default=[224, 320, 448, 640, 768, 1024]
    )
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument('--depths', type=int, nargs='+', default=[3, 6, 12, 24])
    parser.add_argument(
        '--mask-ratios', type=float, nargs='+', default=[0.5, 0.6, 0.7, 0.75, 0.8, 0.9]
    )
    parser.add_argument('--decoder', default='mae', choices=['mae', 'cross'])
    parser.add_argument('--device', default='cpu', help='"cuda" for the GPU')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')


def main(args: Namespace) -> None:
    """Measure and report."""
    from mae_plugin.compat import require_torch

    require_torch('2.6', 'the scaling benchmark')
    set_threads(args.threads)
    if args.device == 'cpu':
        from mae_plugin.engine.cpu_tuning import keep_freed_memory

        keep_freed_memory()  # as tools/train.py does
    report = Report('Growth of the training step', describe(args))
    sweeps = dict(
        img_size=('image side (px)', args.img_sizes),
        batch_size=('batch', args.batch_sizes),
        depth=('encoder blocks', args.depths),
        mask_ratio=('share of patches kept', args.mask_ratios),
    )
    for quantity, (label, values) in sweeps.items():
        report_sweep(report, quantity, label, values, args)
    report.finish(args.out)


def report_sweep(
    report: Report, quantity: str, label: str, values: Sequence[Any], args: Namespace
) -> None:
    """Vary one quantity; add its table, its exponents and its plots."""
    steps = {value: Step(args, **{quantity: value}) for value in values}
    # Each warms itself up.
    times = alternate({str(v): s.seconds for v, s in steps.items()}, args.rounds, warmup=0)
    xs = [1 - value if quantity == 'mask_ratio' else value for value in values]
    median = [Stat(times[str(value)]).median for value in values]
    memory = [step.peak_bytes() / 2**20 for step in steps.values()]
    patches = [step.tokens for step in steps.values()]
    rows: list[dict[str, Any]] = []
    for index, value in enumerate(values):
        rows.append(
            {
                quantity.replace('_', ' '): str(value),
                'patches in the batch': patches[index],
                'step (s)': Stat(times[str(value)]),
                'slope of time': local_slope(xs, median, index),
                'peak activations (MiB)': memory[index],
                'slope of memory': local_slope(xs, memory, index),
            }
        )
    report.table(f'Against {label}', rows)
    time_exponent, memory_exponent = exponent(xs, median), exponent(xs, memory)
    report.note(
        f'{label}: time grows with exponent {time_exponent:.2f}, memory {memory_exponent:.2f}'
    )
    report.plot(f'Time against {label}', {args.arch: (xs, median)}, label, 'step (s)')
    report.plot(f'Memory against {label}', {args.arch: (xs, memory)}, label, 'MiB')


class Step:
    """Forward and backward pass of one size of model and batch; models are built when used.

    Args:
        args: The command line, which is the centre.
        img_size: Image side.
        batch_size: B.
        depth: Encoder blocks; the architecture's own when None.
        mask_ratio: Share of patches removed.
    """

    def __init__(
        self,
        args: Namespace,
        img_size: int | None = None,
        batch_size: int | None = None,
        depth: int | None = None,
        mask_ratio: float | None = None,
    ) -> None:
        self.args = args
        self.img_size = img_size or args.img_size
        self.batch_size = batch_size or args.batch_size
        self.depth = depth
        self.mask_ratio = args.mask_ratio if mask_ratio is None else mask_ratio
        self.tokens = self.batch_size * (self.img_size // 16) ** 2

    def seconds(self) -> float:
        """Seconds of one pass, after one that is not counted."""
        run = self._build()
        run()
        return seconds(run, self.args.device)

    def peak_bytes(self) -> int:
        """Most bytes of activations at once; the parameters' gradients are there before."""
        from .memory import peak_bytes

        run = self._build(keep_gradients=True)
        run()
        return peak_bytes(run, self.args.device)

    def _build(self, keep_gradients: bool = False) -> Any:
        import torch
        from mmengine.config import Config

        from mae_plugin.arch import ARCHS
        from mae_plugin.registry import MODELS

        from .contestants import CONFIGS, ROOT, quiet

        arch = ARCHS[self.args.arch]._asdict()
        arch['num_layers'] = self.depth or arch['num_layers']
        cfg = Config.fromfile(ROOT / CONFIGS[self.args.decoder]).model
        cfg.backbone.update(arch=arch, img_size=self.img_size)
        cfg.decoder.update(in_dims=arch['embed_dims'], img_size=self.img_size)
        if self.args.decoder == 'cross':
            cfg.decoder.in_layers = arch['num_layers']
        cfg.masking.mask_ratio = self.mask_ratio
        if cfg.get('prediction_ratio') is not None:
            cfg.prediction_ratio = min(cfg.prediction_ratio, self.mask_ratio)
        with quiet():
            model = MODELS.build(cfg)
            model.init_weights()
        model.to(self.args.device).train()
        images = torch.randn(self.batch_size, 3, self.img_size, self.img_size)
        images = images.to(self.args.device)

        def run() -> None:
            device = torch.device(self.args.device).type
            with torch.autocast(device, torch.bfloat16, enabled=self.args.amp):
                loss = model.loss(images)['loss']
            loss.backward()
            if not keep_gradients:
                model.zero_grad(set_to_none=True)

        return run


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Slope of the least-squares line through (log x, log y)."""
    log_x, log_y = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_x, mean_y = sum(log_x) / len(xs), sum(log_y) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(log_x, log_y))
    return covariance / sum((x - mean_x) ** 2 for x in log_x)


def local_slope(xs: Sequence[float], ys: Sequence[float], index: int) -> str:
    """Slope of the logarithms from the point before, as text; nothing for the first."""
    if index == 0:
        return ''
    return f'{exponent(xs[index - 1 : index + 1], ys[index - 1 : index + 1]):.2f}'
