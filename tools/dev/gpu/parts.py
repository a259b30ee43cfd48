"""A model part with its inputs, ready to run; ``part_list.py`` has all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """How large the parts are: images of ``batch`` x 3 x ``side`` x ``side`` px."""

    batch: int = 2
    side: int = 32
    patch: int = 8
    dims: int = 32
    depth: int = 2
    heads: int = 2
    decoder_dims: int = 16
    decoder_heads: int = 2
    window: int = 3

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.side // self.patch


TINY = Size()
# ViT-S at 224 px: the least at which kernels are those of practice.
REAL = Size(4, 224, 16, 384, 12, 6, 512, 16, 7)


@dataclass(frozen=True)
class Part:
    """One way to run a registered part.

    Attributes:
        name: For tables.
        types: Names in the registry that it runs.
        build: Makes the module, on the CPU.
        inputs: Makes its inputs, on the CPU.
        run: Calls the module on its inputs: a tensor, or a dict or sequence of them.
        trains: Whether a backward pass follows in practice.
    """

    name: str
    types: tuple[str, ...]
    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    run: Callable[[nn.Module, Any], Any] = lambda module, inputs: module(inputs)
    trains: bool = True


class Tokenizer(nn.Module):
    """Stands for DALL-E's: token logits (B, 16, h, w) of each 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Conv2d(3, 16, 8, 8)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 16, H/8, W/8)."""
        return self.logits(pixels)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of a normal distribution, the same on every machine."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(size: Size, height: int | None = None) -> Tensor:
    """Normalised images (B, 3, H, W)."""
    return normal(size.batch, 3, height or size.side, size.side)


def raw_images(size: Size) -> dict[str, Any]:
    """A batch as a data loader gives it: bytes, and samples whose keys say the masks."""
    pixels = (images(size) * 58 + 115).clamp(0, 255).to(torch.uint8)
    samples = [SimpleNamespace(sample_key=1000 + index) for index in range(size.batch)]
    return dict(inputs=pixels, data_samples=samples)


def run_mae(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Loss and predictions of a batch, from its bytes on."""
    inputs = _preprocessed(model, batch)
    samples = batch['data_samples']
    ids_keep, ids_masked = model.mask(inputs, samples)
    tokens = model.encode(inputs, ids_keep, ids_masked)
    features, _ = model.decode(inputs, tokens, ids_keep, ids_masked)
    return dict(prediction=model.head(features), loss=model(inputs, samples, mode='loss')['loss'])


def run_reconstruction(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Pixels and losses of a batch."""
    result = model.reconstruct(_preprocessed(model, batch), batch['data_samples'])
    return dict(pixels=result.images, loss=result.loss)


def _preprocessed(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return model.data_preprocessor(dict(inputs=batch['inputs']))['inputs']


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of an output: of a tensor, a dict, or a sequence."""
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for item in values for tensor in tensors_in(item)]


def scalar(outputs: Any) -> Tensor:
    """One number that depends on every output value, each with a weight of its own.

    The weights jump about: smooth ones cancel in a normalisation's gradient.
    """
    terms = []
    for out in tensors_in(outputs):
        places = torch.arange(out.numel(), device=out.device)
        weights = (places * 7919 % 1009).float() / 1009 - 0.4
        terms.append((out.float().flatten() * weights).mean())
    return torch.stack(terms).sum()
