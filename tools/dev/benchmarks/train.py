"""Training step of this project against other MAEs, and against the machine's matrix products.

All models take a step in turn. Forward + backward and the optimizer are timed apart. The bound is
what the step's useful floating-point operations would take at the rate of a 2048 x 2048 x 2048
matrix product, measured in the same rounds, by the fastest library there is (on a CPU torch.mm
takes MKL, and oneDNN may be faster); beside it stands the time of exactly the step's own matrix
products, run alone. --compile applies to this project's step, which has the switch.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from .report import Report, Stat, add_common_arguments, alternate, describe, ratio, set_threads


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py train``."""
    add_common_arguments(parser)
    parser.add_argument('--arch', default='base', choices=['tiny', 'small', 'base', 'large'])
    parser.add_argument('--img-size', type=int, default=224)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--decoder-depth', type=int, default=8)
    parser.add_argument(
        '--decoder',
        default='mae',
        choices=['mae', 'cross'],
        help='"cross" adds the cross-attention decoder at prediction ratio 0.25',
    )
    parser.add_argument('--no-peers', action='store_true', help='measure this project alone')
    parser.add_argument('--device', default='cpu', help='"cuda" for the GPU')
    parser.add_argument('--amp', action='store_true', help='bfloat16 (mmpretrain: its float16)')
    parser.add_argument(
        '--peak-tflops', type=float, help="the device's peak in its data sheet (H100, bf16: 989)"
    )
    parser.add_argument('--compile', action='store_true', help="torch.compile this project's step")


def main(args: Namespace) -> None:
    """Measure and report."""
    from mae_plugin.compat import require_torch

    require_torch('2.6', 'the training benchmark')
    set_threads(args.threads)
    import torch

    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
    from mae_plugin.engine.cpu_tuning import keep_freed_memory

    keep_torchvision_importable()
    if args.device == 'cpu':
        keep_freed_memory()  # as tools/train.py does; all contestants profit
    from . import contestants
    from .matmul import StepProducts, kernels, square_rate
    from .memory import peak_bytes

    options = contestants.Options(
        args.arch, args.img_size, args.batch_size, args.decoder_depth,
        args.device, args.amp, args.compile,
    )  # fmt: skip
    settings = describe(args)
    builders: dict[str, Callable[[contestants.Options], contestants.Contestant]]
    builders = {'mae_plugin': contestants.ours}
    if args.decoder == 'cross':
        builders['mae_plugin, cross decoder'] = lambda o: contestants.ours(o, 'cross')
    if not args.no_peers:
        builders.update(contestants.installed())
    with contestants.quiet():
        models = {name: build(options) for name, build in builders.items()}

    # Optimizer states exist and kernels are chosen after one step; then memory and products.
    memory, products = {}, {}
    for name, model in models.items():
        model.step()
        memory[name] = peak_bytes(model.step, args.device)
        products[name] = StepProducts(model.forward_backward)
        model.optimizer.zero_grad(set_to_none=True)

    dtype = torch.bfloat16 if args.amp else torch.float32
    runs: dict[str, Any] = {name: model.step for name, model in models.items()}
    libraries = kernels(args.device, dtype)
    own_products = products['mae_plugin']
    for name, multiply in libraries.items():
        runs[f'2048³ {name}'] = lambda m=multiply: square_rate(2048, args.device, dtype, m)
        runs[f'products {name}'] = lambda m=multiply: own_products.seconds(args.device, dtype, m)
    values = alternate(runs, args.rounds)
    rates = {name: Stat(values.pop(f'2048³ {name}')) for name in libraries}
    times_alone = {name: Stat(values.pop(f'products {name}')) for name in libraries}
    rate = max(rates.values(), key=lambda stat: stat.median)
    alone = min(times_alone.values(), key=lambda stat: stat.median)

    report = Report('Training step', settings)
    speeds = {name: _speeds(times, args) for name, times in values.items()}
    peers = [speed for name, speed in speeds.items() if 'mae_plugin' not in name]
    fastest_peer = max(peers, key=lambda speed: Stat(speed).median, default=None)
    rows = []
    for name, times in values.items():
        ideal = products[name].flops / (rate.median * 1e9)
        step = Stat(sum(parts) for parts in times).median
        rows.append(
            {
                'model': name,
                'images/s': Stat(speeds[name]),
                'to the fastest peer': ratio(speeds[name], fastest_peer) if fastest_peer else '',
                'step (s)': Stat(sum(parts) for parts in times),
                'forward + backward (s)': Stat(parts[0] for parts in times),
                'optimizer (s)': Stat(parts[1] for parts in times),
                'parameter groups': len(models[name].optimizer.param_groups),
                'fused': str(bool(models[name].optimizer.defaults.get('fused'))),
                'peak activations and gradients (MiB)': memory[name] / 2**20,
                'GFLOP per image': products[name].flops / args.batch_size / 1e9,
                'share of the bound': f'{ideal / step:.0%}',
            }
        )
        if args.peak_tflops:
            reached = products[name].flops / step / 1e12
            rows[-1]['share of the peak'] = f'{reached / args.peak_tflops:.0%}'
    report.table('Training step', rows)
    own = Stat(sum(parts) for parts in values['mae_plugin']).median
    report.table(
        'Matrix-product bound',
        [
            {
                'library': name,
                '2048³ product (GFLOP/s)': rates[name],
                'images/s of mae_plugin at this rate': args.batch_size * rates[name].median * 1e9
                / own_products.flops,
                f"the step's {own_products.count} products alone (s)": times_alone[name],
                'images/s at this time': args.batch_size / times_alone[name].median,
            }
            for name in libraries
        ],
    )  # fmt: skip
    report.note(f"The step's own matrix products are {alone.median / own:.0%} of its time.")
    if 'mae_plugin, cross decoder' in values:
        gain = ratio(speeds['mae_plugin, cross decoder'], speeds['mae_plugin'])
        report.note(f'The cross-attention decoder makes the step {gain}x as fast.')
    report.finish(args.out)


def _speeds(times: list[tuple[float, float]], args: Namespace) -> list[float]:
    return [args.batch_size / sum(parts) for parts in times]
