"""An encoder or backbone as one file that runs without this package: ONNX, or ``torch.export``."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mae_plugin.checkpoint.load import load_pretrained
from mae_plugin.compat import require_torch, tracing_exporter
from mae_plugin.errors import UserError
from mae_plugin.evaluation.encoder import load_encoder, read_model_config
from mae_plugin.models.dense.vit_backbone import ViTBackbone
from mae_plugin.registry import MODELS, builds

# Sides in patches at which an exported file is compared: a wide, a high and a square image. Each
# differs from the one that it is traced at.
_TRACED = (6, 9)
_COMPARED = ((5, 8), (9, 4), (7, 7))
_LARGEST = 256  # patches to a side, where the format wants a bound
_TOLERANCE = 1e-4


class Deployable(nn.Module):
    """Raw pixels in, features out.

    Args:
        model: A ``ViT`` or ``ViTBackbone``.
        mean: Of each channel, in the units of the pixels.
        std: Of each channel, likewise.
    """

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32)[:, None, None])

    @property
    def outputs(self) -> list[str]:
        """list[str]: Names of what comes out."""
        if isinstance(self.model, ViTBackbone):
            return [f'map{index}' for index in self.model.out_indices]
        return ['tokens']

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) pixels, as the mean has them (0 to 255), to tokens or feature maps."""
        features = self.model((images - self.mean) / self.std)
        return features if isinstance(features, tuple) else (features,)


class Difference(NamedTuple):
    """How far an exported file's features are from PyTorch's for one shape of images.

    Attributes:
        shape: (B, C, H, W).
        relative: Largest difference over the largest feature.
    """

    shape: tuple[int, ...]
    relative: float


def load_deployable(
    checkpoint: str, config: str | None = None, num_heads: int | None = None
) -> Deployable:
    """The encoder of a checkpoint, or the backbone of a config with a checkpoint's weights.

    Args:
        checkpoint: Any file that ``load_pretrained`` knows, a trained detector's too.
        config: One whose ``model.backbone`` is a ``ViTBackbone``; None for the plain encoder.
        num_heads: Attention heads, where nothing tells.

    Raises:
        UserError: If the config has no backbone of ours, or the checkpoint does not fit.
    """
    if config is None:
        vit, preprocess = load_encoder(checkpoint, num_heads)
        statistics = preprocess.statistics
        return Deployable(vit, list(statistics['mean']), list(statistics['std'])).eval()
    model = read_model_config(config)
    backbone = dict(model.get('backbone') or {}, init_cfg=None)
    if not builds(MODELS, backbone, ViTBackbone, 'mae_plugin'):
        raise UserError(
            f'{config} has no ViTBackbone: leave --config out to export the encoder of a file'
        )
    built = MODELS.build(backbone)
    load_pretrained(built, checkpoint, num_heads=num_heads)
    told = model.get('data_preprocessor') or {}
    if 'mean' not in told or 'std' not in told:
        raise UserError(f'{config} does not say mean and std in model.data_preprocessor')
    return Deployable(built.requires_grad_(False), told['mean'], told['std']).eval()


def write_onnx(deployable: Deployable, path: str | Path) -> None:
    """Write ONNX with any batch, height and width, by the exporter that traces.

    Raises:
        UserError: If torch is older than 2.6, and the model a dense backbone.
    """
    if isinstance(deployable.model, ViTBackbone):  # its attention has a scale of its own
        require_torch('2.6', 'ONNX of a dense backbone')
    names = deployable.outputs
    sides = {0: 'batch', 2: 'height', 3: 'width'}
    axes = {name: {0: 'batch', 1: f'{name}_1'} for name in names}
    if isinstance(deployable.model, ViTBackbone):
        axes = {name: {0: 'batch', 2: f'{name}_rows', 3: f'{name}_columns'} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that it traces, which is what is compared afterwards
        torch.onnx.export(
            deployable,
            (_images(deployable, _TRACED, batch=2),),
            str(path),
            input_names=['images'],
            output_names=names,
            dynamic_axes=dict(images=sides, **axes),
            opset_version=17,
            **tracing_exporter(),
        )


def write_program(deployable: Deployable, path: str | Path) -> None:
    """Write a ``torch.export`` program with any batch, height and width.

    Raises:
        UserError: If torch is older than 2.7.
    """
    require_torch('2.7', 'a torch.export program with dynamic sizes')
    p = deployable.model.patch_size
    sides = {}
    for dim, name in ((2, 'height'), (3, 'width')):
        if isinstance(deployable.model, ViTBackbone):  # pads
            sides[dim] = torch.export.Dim(name, min=p, max=_LARGEST * p)
        else:
            sides[dim] = p * torch.export.Dim(f'{name}_in_patches', min=2, max=_LARGEST)
    shapes = ({0: torch.export.Dim('batch', min=1, max=1024)} | sides,)
    images = _images(deployable, _TRACED, batch=2)
    program = torch.export.export(deployable, (images,), dynamic_shapes=shapes)
    torch.export.save(program, str(path))


def compare_onnx(deployable: Deployable, path: str | Path) -> Iterator[Difference]:
    """Run an ONNX file in onnxruntime beside PyTorch, for three shapes of images."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            'onnxruntime is not installed, so that the file cannot be compared: pip install '
            "'mae_plugin[export]', or --no-check"
        ) from None
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for images in _compared_images(deployable):
        found = session.run(None, dict(images=images.numpy()))
        yield _difference(deployable, images, [torch.from_numpy(value) for value in found])


def compare_program(deployable: Deployable, path: str | Path) -> Iterator[Difference]:
    """Run a ``torch.export`` program beside the model, for three shapes of images."""
    program = torch.export.load(str(path)).module()
    for images in _compared_images(deployable):
        yield _difference(deployable, images, list(program(images)))


def _compared_images(deployable: Deployable) -> Iterator[Tensor]:
    for batch, sides in enumerate(_COMPARED, start=1):
        yield _images(deployable, sides, batch)


def _images(deployable: Deployable, sides: tuple[int, int], batch: int) -> Tensor:
    """Random pixels; for a backbone, which pads, of no whole number of patches."""
    model = deployable.model
    more = model.patch_size // 3 if isinstance(model, ViTBackbone) else 0
    height, width = (side * model.patch_size + more for side in sides)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, len(deployable.mean), height, width, generator=generator)
    return deployable.mean + noise * deployable.std


@torch.no_grad()
def _difference(deployable: Deployable, images: Tensor, found: list[Tensor]) -> Difference:
    wanted = deployable(images)
    largest = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)
    )
    if not largest < _TOLERANCE:
        raise UserError(
            f'the exported file gives other features than PyTorch for images of shape '
            f'{tuple(images.shape)}: {largest:.1e} of the largest feature'
        )
    return Difference(tuple(images.shape), largest)
