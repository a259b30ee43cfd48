"""What the decoder predicts: pixels, normalised pixels, PCA coefficients or tokens (Table 1d).

A target turns images into what is to be predicted for chosen patches, and, for pictures, turns
predictions back into pixels. Images are the normalised ones that the encoder sees.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.compat import is_compiling
from mae_plugin.errors import UserError
from mae_plugin.geometry import patch_grid
from mae_plugin.models.patch_embed import patchify
from mae_plugin.registry import MODELS

from .frozen_weights import load_frozen
from .parts import build_part


@MODELS.register_module()
class PixelTarget(nn.Module):
    """Pixels of each patch, as they are or normalised per patch (paper, section 3).

    Args:
        patch_size: p.
        in_channels: C.
        norm_pix: Subtract each patch's mean and divide by its standard deviation
            (``sqrt(var + 1e-6)``, unbiased variance): the paper's best target.
    """

    is_classification = False

    def __init__(self, patch_size: int = 16, in_channels: int = 3, norm_pix: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.norm_pix = norm_pix
        self.dims = patch_size**2 * in_channels

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """(B, C, H, W) images and (B, K) raster indices to (B, K, p·p·C) targets."""
        patches = patchify(images, self.patch_size, ids)
        if not self.norm_pix:
            return patches
        mean, std = self._statistics(patches)
        return (patches - mean) / std

    def to_pixels(self, predictions: Tensor, images: Tensor, ids: Tensor) -> Tensor:
        """Predictions (B, K, p·p·C) to pixels in the images' (normalised) scale.

        A per-patch normalised prediction lacks the patch's mean and deviation: they are taken
        from the true image, as in the paper's pictures.
        """
        if not self.norm_pix:
            return predictions
        mean, std = self._statistics(patchify(images, self.patch_size, ids))
        return predictions * std + mean

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
        return mean, (variance + 1e-6).sqrt()


@MODELS.register_module()
class PCATarget(nn.Module):
    """The largest PCA coefficients of each patch (Table 1d; the paper keeps 96).

    The components are fitted on the user's own images by ``PCAFitHook`` before the first
    iteration and live in buffers, so that they are stored with the run and resumed with it.

    Args:
        patch_size: p.
        in_channels: C.
        num_components: Coefficients kept.

    Raises:
        UserError: If more coefficients are asked for than a patch has values.
    """

    is_classification = False

    def __init__(
        self, patch_size: int = 16, in_channels: int = 3, num_components: int = 96
    ) -> None:
        super().__init__()
        values = patch_size**2 * in_channels
        if num_components > values:
            raise UserError(
                f'num_components={num_components} exceeds the {values} values of a patch '
                f'({patch_size}x{patch_size}, {in_channels} channels)'
            )
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.dims = num_components
        self.register_buffer('mean', torch.zeros(values))
        # Compiled code cannot ask whether they were fitted: then not a number, loudly.
        self.register_buffer('components', torch.full((values, num_components), torch.nan))
        self.register_buffer('fitted', torch.tensor(False))
        self._known_fitted = False

    def fit(self, mean: Tensor, covariance: Tensor) -> None:
        """Set the components from the patches' mean (P,) and covariance (P, P)."""
        _, vectors = torch.linalg.eigh(covariance.double())
        largest = vectors[:, -self.dims :].flip(1)
        # An eigenvector's sign is arbitrary: fix it, so that every machine agrees.
        peak = largest.abs().argmax(0, keepdim=True)
        largest = largest * largest.gather(0, peak).sign()
        self.mean.copy_(mean)
        self.components.copy_(largest)
        self.fitted.fill_(True)
        self._known_fitted = True

    def share(self, broadcast: Callable[[Tensor], None]) -> None:
        """Take the components of the process that fitted them.

        Args:
            broadcast: Fills a tensor with the values of that process.
        """
        for buffer in (self.mean, self.components):
            broadcast(buffer)
        self.fitted.fill_(True)
        self._known_fitted = True

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """As usual; a checkpoint's answer is read where it lies, most often on the CPU."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        fitted = state_dict.get(f'{prefix}fitted')
        if fitted is not None and fitted.device.type != 'meta':
            self._known_fitted = bool(fitted)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """(B, C, H, W) images and (B, K) raster indices to (B, K, num_components).

        Raises:
            UserError: If the components were never fitted.
        """
        # Known where they are fitted or loaded: reading a buffer would wait for the device.
        if not (self._known_fitted or is_compiling()):
            self._known_fitted = bool(self.fitted)
            if not self._known_fitted:
                raise UserError(
                    'the PCA target has no components yet: add '
                    "custom_hooks=[dict(type='PCAFitHook')] to the config, or load a checkpoint "
                    'that has them'
                )
        return (patchify(images, self.patch_size, ids) - self.mean) @ self.components

    def to_pixels(self, predictions: Tensor, images: Tensor, ids: Tensor) -> Tensor:
        """Coefficients back to the pixels (B, K, p·p·C) that they describe."""
        return predictions @ self.components.T + self.mean


@MODELS.register_module()
class TokenTarget(nn.Module):
    """Discrete tokens of a frozen tokenizer, predicted by cross-entropy (BEiT's target).

    Args:
        tokenizer: Config of any registered module that has ``get_codebook_indices(images)``, or
            whose output has the token logits in dimension 1 (``mmpretrain.DALL-E``).
        vocab_size: Tokens in its code book (DALL-E: 8192).
        patch_size: p.
        downsample: Pixels that one of its tokens covers (DALL-E: 8). Images are resized so that
            one token falls on each patch.
        mean: The data preprocessor's, to get the raw pixels back (0 to 255); handed on by the MAE.
        std: The same of its deviation.
        tokenizer_mean: What the tokenizer wants instead. The defaults are DALL-E's:
            ``0.1 + 0.8 · pixel / 255``.
        tokenizer_std: What the tokenizer wants instead.
    """

    is_classification = True

    def __init__(
        self,
        tokenizer: dict | nn.Module,
        vocab_size: int = 8192,
        patch_size: int = 16,
        downsample: int = 8,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        tokenizer_mean: Sequence[float] = (-31.875, -31.875, -31.875),
        tokenizer_std: Sequence[float] = (318.75, 318.75, 318.75),
    ) -> None:
        super().__init__()
        self.tokenizer = build_part(tokenizer)
        self.tokenizer.requires_grad_(False).eval()
        self.patch_size = patch_size
        self.in_channels = len(mean)
        self.downsample = downsample
        self.dims = vocab_size
        scale = torch.tensor(std) / torch.tensor(tokenizer_std)
        shift = (torch.tensor(mean) - torch.tensor(tokenizer_mean)) / torch.tensor(tokenizer_std)
        self.register_buffer('scale', scale[:, None, None], persistent=False)
        self.register_buffer('shift', shift[:, None, None], persistent=False)

    def init_weights(self) -> None:
        """Load the tokenizer's weights, where its ``init_cfg`` names them."""
        load_frozen(self.tokenizer)

    def train(self, mode: bool = True) -> 'TokenTarget':
        """Keep the tokenizer in evaluation mode: it is a fixed teacher."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @torch.no_grad()
    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """(B, C, H, W) images and (B, K) raster indices to (B, K) token numbers.

        Raises:
            UserError: If the tokenizer does not give one token for each patch.
        """
        h, w = patch_grid(images.shape[-2:], self.patch_size)
        size = (h * self.downsample, w * self.downsample)
        pixels = F.interpolate(images, size=size, mode='bicubic', antialias=True)
        pixels = pixels * self.scale + self.shift
        if hasattr(self.tokenizer, 'get_codebook_indices'):
            tokens = self.tokenizer.get_codebook_indices(pixels)
        else:
            tokens = self.tokenizer(pixels).argmax(dim=1)
        tokens = tokens.flatten(1)
        if tokens.shape[1] != h * w:
            raise UserError(
                f'the tokenizer gives {tokens.shape[1]} tokens for {h * w} patches: set '
                f'`downsample` (now {self.downsample}) to the pixels that one token covers'
            )
        return tokens.gather(1, ids)

    def to_pixels(self, predictions: Tensor, images: Tensor, ids: Tensor) -> None:
        """Tokens have no pixels without the tokenizer's decoder: None, and no such panel."""
        return None
