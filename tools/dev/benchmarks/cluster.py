"""A run on many GPUs, worked out on paper: what bounds its step, and how long it takes.

Parameters, operations and bytes are counted on this project's own models; the machines are
numbers that you give (the defaults are those of H100 machines with eight network cards). The
global batch is the recipe's whatever the number of GPUs, so each GPU gets less to compute with
every machine that joins, while what it sends stays the same: that is where the bottleneck moves.
Computation, communication and input are set side by side; a step takes the longest of them at
least, and their sum at most.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

from .report import Report, number

ARCHS = {'B/16': ('base', 16), 'L/16': ('large', 16), 'H/14': ('huge', 14)}
GPUS_PER_MACHINE = 8
# Bytes for each parameter in float32: weight, gradient, and AdamW's two moments.
STATE_BYTES = 16
WEIGHT_BYTES = 4


# Read off the tables with the default figures.
ADVICE = (
    'Figures of machines are assumptions, not measurements; parameters, operations and bytes are '
    'counted.',
    'One machine: DDP. Sending takes a thirtieth of the computation; what runs short first is the '
    'input (ViT-B takes tens of cores): shards, `repeats=2` to 4, and more workers.',
    'Eight machines with fast networks: DDP. Gradients travel while the backward pass computes '
    'and nearly hide behind it for every size.',
    'Sixty-four machines: the network is the bound for every size, because 4096 images leave '
    'eight to a GPU. Only a larger global batch helps (the learning rate follows; the paper has '
    'no result above 4096), so take fewer machines or run several experiments.',
    'Slow networks: eight machines are hardly faster than one, whatever the size.',
    'FSDP and ZeRO-3 buy memory and pay with half as many bytes again. ViT-H keeps 10.5 GB of '
    'weights, gradients and moments: DDP with recomputed activations fits GPUs of 40 GB and '
    'more; shard on 24 GB, or for models beyond a billion parameters. ZeRO-1 and -2 save the '
    'moments (and gradients) at the price of DDP.',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py cluster``."""
    parser.add_argument('--out', metavar='DIR', help='write the report there')
    parser.add_argument('--gpus', type=int, nargs='+', default=[8, 64, 512])
    parser.add_argument('--batch-size', type=int, default=4096, help='of all GPUs together')
    parser.add_argument('--epochs', type=int, default=800)
    parser.add_argument('--images', type=int, default=1_281_167, help='in the data set')
    parser.add_argument('--image-kb', type=float, default=110, help='of a file (ImageNet: 110)')
    parser.add_argument(
        '--images-per-core', type=float, default=500,
        help='that one core prepares in a second: see benchmark.py data',
    )  # fmt: skip
    parser.add_argument(
        '--tflops', type=float, default=350,
        help='that a GPU reaches in bfloat16: see benchmark.py train (an assumption: 35%% of 989)',
    )  # fmt: skip
    parser.add_argument(
        '--inside-gbs', type=float, default=300, help='GB/s of a GPU to others in its machine'
    )
    parser.add_argument(
        '--network-gbs', type=float, nargs='+', default=[400, 12.5],
        help='GB/s of a machine to others: eight 400 Gb/s cards, or one of 100 Gb/s',
    )  # fmt: skip


def settings_of(args: Namespace) -> dict[str, Any]:
    """The options, for the report's head."""
    return {k: v for k, v in vars(args).items() if k not in ('command', 'run', 'out')}


@dataclass(frozen=True)
class Size:
    """What a model brings along, counted.

    Attributes:
        parameters: All that are trained.
        flops: Floating-point operations of one image, forward and backward.
    """

    parameters: int
    flops: float


def main(args: Namespace) -> None:
    """Count, work out and report."""
    from mae_plugin.compat import require_torch

    require_torch('2.6', 'counting a step')
    report = Report('Scaling on paper', settings_of(args))
    sizes = {name: count(*arch) for name, arch in ARCHS.items()}
    report.table('Models, counted', [_model_row(name, size) for name, size in sizes.items()])
    for network in args.network_gbs:
        rows = [
            step_row(name, size, gpus, network, args)
            for name, size in sizes.items()
            for gpus in args.gpus
        ]
        report.table(f'A step, with {number(network)} GB/s between machines', rows)
    report.table(
        'Input, where computation is the bound',
        [input_row(name, size, args) for name, size in sizes.items()],
    )
    report.note(
        'DDP sends each gradient twice (reduce, then spread), FSDP gathers the weights for the '
        'forward and for the backward pass and scatters the gradients: 3 instead of 2 times '
        f'{WEIGHT_BYTES} bytes a parameter. ZeRO-1 and -2 send what DDP sends.'
    )
    for advice in ADVICE:
        report.note(advice)
    report.finish(args.out)


def count(arch: str, patch_size: int) -> Size:
    """Count parameters and operations of the shipped model, without memory for it."""
    import torch
    from mmengine.config import Config

    from mae_plugin.arch import ARCHS as VIT_ARCHS
    from mae_plugin.registry import MODELS

    from .contestants import CONFIGS, ROOT, quiet
    from .matmul import StepProducts

    cfg = Config.fromfile(ROOT / CONFIGS['mae']).model
    cfg.pop('data_preprocessor')
    cfg.backbone.update(arch=arch, patch_size=patch_size)
    cfg.decoder.update(in_dims=VIT_ARCHS[arch].embed_dims, patch_size=patch_size)
    cfg.head.target.update(patch_size=patch_size)
    with torch.device('meta'), quiet():
        model = MODELS.build(cfg)
        images = torch.empty(2, 3, 224, 224)
        flops = StepProducts(lambda: model.loss(images)['loss'].backward()).flops
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Size(trained, flops / 2)


def communication(parameters: int, gpus: int, network: float, inside: float, passes: int) -> float:
    """Seconds that the gradients (and weights) of one step travel, rings inside and between.

    Args:
        parameters: Of the model.
        gpus: All of them.
        network: GB/s of one machine to the others.
        inside: GB/s of one GPU to the others in its machine.
        passes: How often every parameter crosses: 2 for DDP, 3 for FSDP.
    """
    machines = max(1, gpus // GPUS_PER_MACHINE)
    local = min(gpus, GPUS_PER_MACHINE)
    gigabytes = passes * WEIGHT_BYTES * parameters / 1e9
    within = gigabytes * (local - 1) / local / inside
    between = gigabytes * (machines - 1) / machines / network
    return within + between


def step_row(name: str, size: Size, gpus: int, network: float, args: Namespace) -> dict[str, Any]:
    """One model on so many GPUs."""
    compute = args.batch_size / gpus * size.flops / (args.tflops * 1e12)
    ddp, fsdp = (
        communication(size.parameters, gpus, network, args.inside_gbs, passes) for passes in (2, 3)
    )
    steps = args.images // args.batch_size * args.epochs
    bound = 'computation' if compute > ddp else 'network' if gpus > GPUS_PER_MACHINE else 'links'
    return {
        'model': name,
        'GPUs': str(gpus),
        'images per GPU': number(args.batch_size / gpus),
        'computation (ms)': 1000 * compute,
        'DDP sends (ms)': 1000 * ddp,
        'FSDP sends (ms)': 1000 * fsdp,
        'bound by': bound,
        f'{args.epochs} epochs with DDP (hours)': (
            f'{number(steps * max(compute, ddp) / 3600)} to '
            f'{number(steps * (compute + ddp) / 3600)}'
        ),
    }


def input_row(name: str, size: Size, args: Namespace) -> dict[str, Any]:
    """What the machines must read and decode when computation is the bound."""
    per_gpu = args.tflops * 1e12 / size.flops
    machine = GPUS_PER_MACHINE * per_gpu
    stores = [number(gpus * per_gpu * args.image_kb / 1e6) for gpus in args.gpus]
    return {
        'model': name,
        'images/s of a GPU': per_gpu,
        'images/s of a machine': machine,
        'cores of a machine': machine / args.images_per_core,
        'MB/s of a machine': machine * args.image_kb / 1e3,
        f'GB/s from the store, {" / ".join(map(str, args.gpus))} GPUs': ' / '.join(stores),
    }


def _model_row(name: str, size: Size) -> dict[str, Any]:
    state = size.parameters * STATE_BYTES / 1e9
    return {
        'model': name,
        'parameters, encoder and decoder (M)': size.parameters / 1e6,
        'GFLOP per image, forward + backward': size.flops / 1e9,
        'gradients (GB)': size.parameters * WEIGHT_BYTES / 1e9,
        'weights, gradients, AdamW (GB)': state,
        'of that on a GPU with FSDP or ZeRO-3, 8 / 64 GPUs (GB)': (
            f'{number(state / 8)} / {number(state / 64)}'
        ),
    }
