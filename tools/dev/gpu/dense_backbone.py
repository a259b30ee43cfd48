"""Stage 4: ViTDet's backbone at 1024 px, forward and backward, with all ways to add positions.

Windows of 14 patches, global attention in four blocks, decomposed relative positions, bfloat16.
The ways are those of ``dense_attention.py``; mmpretrain's ViTSAM, which is eager, is a peer. All
of ours have the same weights, and their outputs are compared in float32, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from benchmarks.memory import peak_bytes
from benchmarks.report import Stat, alternate, ratio, seconds
from torch import Tensor, nn

from mae_plugin.arch import ARCHS
from mae_plugin.models import ViTBackbone

from .context import Context, Failure
from .dense_attention import WAYS, use_attention

OURS, EAGER, PEER = 'mae_plugin', 'eager', 'mmpretrain ViTSAM'
WANTED_SPEED, WANTED_MEMORY, BOUND = 1.5, 0.5, 1e-3


@dataclass(frozen=True)
class Size:
    """Image side, windows, and the (arch, batch) pairs that are measured."""

    side: int
    window: int
    cases: tuple[tuple[str, int], ...]
    rounds: int


def main(context: Context) -> None:
    """Measure each architecture at each batch."""
    size = context.scale(
        Size(1024, 14, (('base', 1), ('base', 4), ('large', 1), ('large', 4)), 5),
        Size(64, 2, (('tiny', 1),), 1),
    )
    # Float32 products are exact where outputs are compared.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    differences: dict[str, float | Failure] = {}
    for arch, batch in size.cases:
        if context.left() < 8:
            context.record.note(f'ViT-{arch}, batch {batch}: not measured, time was up')
            continue
        _measure(context, arch, batch, size, differences)
        context.free()


def _measure(
    context: Context,
    arch: str,
    batch: int,
    size: Size,
    differences: dict[str, float | Failure],
) -> None:
    images = torch.randn(batch, 3, size.side, size.side, device=context.device)
    models, rows = _models(context, arch, size)
    for name in WAYS:
        if name not in differences:  # once: each precision and shape is compiled anew
            differences[name] = context.attempt(name, _difference, models, name, images[:1])
        found = differences[name]
        rows[name]['differs by'] = str(found) if isinstance(found, Failure) else found
    steps: dict[str, Callable[[], Any]] = {}
    for name, model in models.items():
        step = partial(_step, model, images, context.device)
        peak = context.attempt(name, _peak_after_one, step, context.device)
        if isinstance(peak, Failure):
            rows[name]['step (ms)'] = str(peak)
        else:
            rows[name]['peak memory (GiB)'] = peak / 2**30
            steps[name] = partial(seconds, step, context.device)
    times = context.attempt('steps', alternate, steps, size.rounds) if steps else {}
    if isinstance(times, Failure):
        context.record.note(f'ViT-{arch}, batch {batch}: {times}')
        times = {}
    for name, values in times.items():
        rows[name]['step (ms)'] = Stat(1e3 * value for value in values)
        if EAGER in times:
            rows[name]["to eager's speed"] = ratio(times[EAGER], values)
            memory = rows[name]['peak memory (GiB)'] / rows[EAGER]['peak memory (GiB)']
            rows[name]["to eager's memory"] = memory
    title = f'ViT-{arch} at {size.side} px, batch {batch}'
    context.record.table(title, list(rows.values()))
    if EAGER in times:
        _goals(context, title, rows, times)


def _goals(
    context: Context, title: str, rows: dict[str, dict[str, Any]], times: dict[str, list[float]]
) -> None:
    exact = [name for name in times if name in WAYS and _is_exact(rows[name]['differs by'])]
    fastest = min(exact, key=lambda name: Stat(times[name]).median, default='none')
    context.record.goal(
        f'{title}: the default is the fastest exact one', fastest, OURS, fastest == OURS
    )
    if OURS not in times:
        return
    speed, memory = ratio(times[EAGER], times[OURS]).median, rows[OURS]["to eager's memory"]
    context.record.goal(
        f'{title}: speed and memory to eager',
        f'{speed:.2f} x, {memory:.2f}',
        f'{WANTED_SPEED} x, {WANTED_MEMORY}',
        speed >= WANTED_SPEED and memory <= WANTED_MEMORY,
    )


def _is_exact(difference: float | str) -> bool:
    return isinstance(difference, float) and difference <= BOUND


def _models(
    context: Context, arch: str, size: Size
) -> tuple[dict[str, nn.Module], dict[str, dict[str, Any]]]:
    """The contestants that can be built, ours with the same weights; a row for each."""
    torch.manual_seed(0)
    depth = ARCHS[arch].num_layers
    backbone = ViTBackbone(
        arch,
        img_size=size.side,
        with_cls_token=False,
        window_size=size.window,
        global_attn_indexes=[depth // 4 * (index + 1) - 1 for index in range(4)],
        rel_pos_img_size=size.side,
        train_pos_embed=True,
    )
    for name, parameter in backbone.named_parameters():
        if 'rel_pos' in name:  # zero at the start, where nothing could differ
            nn.init.normal_(parameter, std=0.3)
    models: dict[str, nn.Module] = {
        name: use_attention(backbone, *ways).to(context.device).train()
        for name, ways in WAYS.items()
    }
    rows = {name: {'backbone': name, 'step (ms)': ''} for name in [*models, PEER]}
    peer = context.attempt(PEER, _vitsam, arch, size)
    if isinstance(peer, Failure):
        rows[PEER]['step (ms)'] = f'absent: {peer}'
    else:
        models[PEER] = peer.to(context.device)
    return models, rows


def _vitsam(arch: str, size: Size) -> nn.Module:
    """mmpretrain's, in training mode; its weights are its own."""
    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()
    from mmpretrain.models import ViTSAM

    width, depth, heads = ARCHS[arch][:3]
    model = ViTSAM(
        dict(
            embed_dims=width,
            num_layers=depth,
            num_heads=heads,
            feedforward_channels=4 * width,
            global_attn_indexes=[depth // 4 * (index + 1) - 1 for index in range(4)],
        ),
        img_size=size.side,
        out_channels=0,
        window_size=size.window,
    )
    model.train()  # returns nothing
    return model


def _difference(models: dict[str, nn.Module], name: str, images: Tensor) -> float:
    """How far a float32 output is from that of the eager way, relative to its norm."""
    with torch.no_grad():
        (reference,) = models[EAGER](images)
        (found,) = models[name](images)
    return float((found - reference).norm() / reference.norm())


def _peak_after_one(step: Callable[[], Any], device: str) -> int:
    """Peak memory of a second step: the first one compiles, and makes the gradients."""
    step()
    return peak_bytes(step, device)


def _step(model: nn.Module, images: Tensor, device: str) -> None:
    """One forward and backward pass; gradients stay allocated and are zeroed in place."""
    with torch.autocast(device, torch.bfloat16):
        features = model(images)[-1]
        loss = features.float().square().mean()
    loss.backward()
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
