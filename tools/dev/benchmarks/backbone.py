"""ViTDet's backbone, forward and backward, against eager attention with a bias matrix.

Windows of 14 patches, global attention in four blocks, decomposed relative positions. Against
mmpretrain's ViTSAM, which materialises logits and biases. Peak memory is that of the tensors alive
at once during one step, beyond the parameters and their gradients. All have the same weights, and
their outputs are compared.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .report import (
    Report,
    Stat,
    add_common_arguments,
    alternate,
    describe,
    ratio,
    seconds,
    set_threads,
)

if TYPE_CHECKING:
    from torch import nn


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py backbone``."""
    add_common_arguments(parser, rounds=3)
    parser.add_argument('--arch', default='base', choices=['base', 'large', 'huge'])
    parser.add_argument('--img-size', type=int, default=1024)
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--checkpointing', action='store_true', help='add recomputation of blocks')
    parser.add_argument('--no-peers', action='store_true', help='measure this project alone')
    parser.add_argument('--device', default='cpu', help='"cuda" for the GPU')
    parser.add_argument('--amp', action='store_true', help='bfloat16')


def main(args: Namespace) -> None:
    """Measure and report."""
    set_threads(args.threads)
    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()
    from .memory import peak_bytes

    settings = describe(args)
    models = _with_equal_weights(_contestants(args), args)
    steps = {name: _step(model, args) for name, model in models.items()}
    differences = _differences(models, args)
    for step in steps.values():
        step()  # gradients exist from here on
    memory = {name: peak_bytes(step, args.device) for name, step in steps.items()}
    times = alternate(
        {name: partial(seconds, step, args.device) for name, step in steps.items()},
        args.rounds,
        warmup=0,
    )
    own_memory = memory['mae_plugin']
    report = Report('Dense backbone', settings)
    report.table(
        f'Forward and backward at {args.img_size} px',
        [
            {
                'backbone': name,
                'seconds': Stat(times[name]),
                'ours takes of its time': ratio(times['mae_plugin'], times[name]),
                'peak memory (MiB)': memory[name] / 2**20,
                'ours takes of its memory': own_memory / memory[name],
                'greatest difference of outputs, to their deviation': differences[name],
            }
            for name in steps
        ],
    )
    report.finish(args.out)


def _contestants(args: Namespace) -> dict[str, Callable]:
    from mae_plugin.arch import ARCHS
    from mae_plugin.models import ViTBackbone

    depth = ARCHS[args.arch].num_layers
    global_attn_indexes = [depth // 4 * (i + 1) - 1 for i in range(4)]

    def ours(**options):
        return ViTBackbone(
            args.arch,
            img_size=args.img_size,
            with_cls_token=False,
            window_size=14,
            global_attn_indexes=global_attn_indexes,
            rel_pos_img_size=args.img_size,
            train_pos_embed=True,
            **options,
        )

    found: dict[str, Callable] = {'mae_plugin': ours}
    if args.checkpointing:
        found['mae_plugin, recomputing'] = lambda: ours(use_checkpoint=True)
    if not args.no_peers:

        def vitsam():
            from mmpretrain.models import ViTSAM

            return ViTSAM(args.arch, img_size=args.img_size, out_channels=0)

        found['mmpretrain ViTSAM'] = vitsam
    return found


def _with_equal_weights(builders: dict[str, Callable], args: Namespace) -> dict[str, nn.Module]:
    """Build all with the weights of the first, positions of all kinds included."""
    import torch

    torch.manual_seed(0)
    models = {name: build() for name, build in builders.items()}
    ours, *others = models.values()
    for name, parameter in ours.named_parameters():
        if 'pos' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    for other in others:
        tensors = ours.state_dict()
        if type(other).__name__ == 'ViTSAM':
            tensors = {_mmpretrain_name(name): tensor for name, tensor in tensors.items()}
            tensors['pos_embed'] = tensors['pos_embed'].reshape(other.pos_embed.shape)
        other.load_state_dict(tensors)
    for model in models.values():
        model.to(args.device)
        model.train()  # returns nothing in mmpretrain
    return models


def _mmpretrain_name(name: str) -> str:
    for ours, theirs in (
        ('patch_embed.proj', 'patch_embed.projection'),
        ('blocks.', 'layers.'),
        ('.norm', '.ln'),
        ('mlp.fc1', 'ffn.layers.0.0'),
        ('mlp.fc2', 'ffn.layers.1'),
    ):
        name = name.replace(ours, theirs)
    return name


def _differences(models: dict[str, nn.Module], args: Namespace) -> dict[str, float]:
    """How far each model's output is from the first's, at most, in its standard deviations."""
    import torch

    images = torch.randn(1, 3, args.img_size, args.img_size, device=args.device)
    with torch.no_grad():
        outputs = {name: model(images)[0] for name, model in models.items()}
    first = next(iter(outputs.values()))
    return {name: float((out - first).abs().max() / first.std()) for name, out in outputs.items()}


def _step(model: nn.Module, args: Namespace) -> Callable[[], None]:
    """One forward and backward pass; gradients are kept allocated and zeroed in place."""
    import torch

    images = torch.randn(args.batch_size, 3, args.img_size, args.img_size, device=args.device)
    device_type = torch.device(args.device).type

    def step() -> None:
        with torch.autocast(device_type, torch.bfloat16, enabled=args.amp):
            (features,) = model(images)
            loss = features.float().square().mean()
        loss.backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

    return step
