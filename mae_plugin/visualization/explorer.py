"""What one checkpoint makes of one image, picture by picture: for pages that people play with."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.checkpoint.load import read_checkpoint
from mae_plugin.checkpoint.recognise import recognise
from mae_plugin.checkpoint.sizes import sizes
from mae_plugin.checkpoint.stored_config import stored_config
from mae_plugin.datasets.randomness import sample_key
from mae_plugin.evaluation.encoder import load_encoder, patch_features, read_model_config
from mae_plugin.evaluation.stored_decoding import stored_decoding
from mae_plugin.evaluation.stored_model import model_of_checkpoint
from mae_plugin.geometry import Grid
from mae_plugin.models.mae import MAE
from mae_plugin.models.masking import Masking
from mae_plugin.registry import MODELS, builds
from mae_plugin.shipped import config_path

from .attention import heat, token_attention
from .features import pca_colours
from .images import load_image
from .reconstruction import GREY, display_bands, reconstruction_pictures, to_display

# Official files with a decoder bring no config; their width tells which they are.
_OFFICIAL = {
    768: 'mae_vit-b_pretrain',
    1024: 'mae_vit-large-p16_8xb512-amp-coslr-1600e_in1k',
    1280: 'mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k',
}
_CAPTIONS = ('original', 'masked', 'reconstruction', 'with the visible patches')
# Images are decoded no larger than this, whatever their headers say.
MAX_BYTES = 1 << 28


class GivenMask(Masking):
    """Removes the patches that somebody chose.

    Args:
        hidden: (h, w), True where a patch is removed; at least one of them is visible.
    """

    def __init__(self, hidden: np.ndarray) -> None:
        super().__init__(float(hidden.mean()))
        self.hidden = torch.from_numpy(hidden.reshape(-1))

    def forward(
        self,
        batch_size: int,
        grid: Grid,
        device: torch.device | str | None = None,
        keys: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same ids_keep (B, K) and ids_masked (B, M) for each image."""
        ids = (self.hidden.logical_not().nonzero(), self.hidden.nonzero())
        kept, masked = (part.T.to(device or 'cpu').expand(batch_size, -1) for part in ids)
        return kept, masked


class Explorer:
    """A checkpoint that is looked at: reconstructions, attention, likeness, colours.

    Args:
        checkpoint: A run of this project, or any ViT file that is recognised.
        config: The model's config, where the checkpoint has none.
        num_heads: Attention heads, where nothing tells.
        device: Where to compute.
        bands: One or three channels to show; see
            :func:`~mae_plugin.visualization.reconstruction.display_bands`.

    Raises:
        UserError: If the file cannot be read, or holds no ViT.
    """

    def __init__(
        self,
        checkpoint: str,
        config: str | None = None,
        num_heads: int | None = None,
        device: str = 'cpu',
        bands: Sequence[int] | None = None,
    ) -> None:
        self.name = '/'.join(Path(checkpoint).parts[-2:])
        content = read_checkpoint(checkpoint)
        stored = stored_config(content).get('model')
        if config is None and stored is None:
            config = _official_config(content)
        if config is not None:
            stored = read_model_config(config)
        self.mae: MAE | None = None
        if builds(MODELS, stored, MAE, 'mae_plugin'):
            self.mae = cast(MAE, model_of_checkpoint(checkpoint, config).to(device))
        if self.mae is not None:
            self.vit, self.preprocessor = self.mae.backbone, self.mae.data_preprocessor
        else:
            self.vit, self.preprocessor = load_encoder(checkpoint, num_heads, config)
            self.vit, self.preprocessor = self.vit.to(device), self.preprocessor.to(device)
        self.channels: int = self.vit.patch_embed.proj.in_channels
        self.bands = display_bands(self.channels, bands)
        self._decoding = dict(dict(max_bytes=MAX_BYTES), **stored_decoding(checkpoint, config))

    def load(self, path: str) -> Tensor:
        """An image file as (1, C, H, W), its shorter side as in pretraining.

        Raises:
            UserError: If it cannot be read, is too large, or has other channels.
        """
        return load_image(path, self.vit, None, **self._decoding)

    def grid(self, image: Tensor) -> Grid:
        """Patches (h, w) of an image."""
        return image.shape[-2] // self.vit.patch_size, image.shape[-1] // self.vit.patch_size

    def shown(self, image: Tensor) -> np.ndarray:
        """The image as uint8 (H, W, 3) RGB."""
        return to_display(image, image, self.bands)[0]

    def masked(self, image: Tensor, hidden: np.ndarray) -> np.ndarray:
        """The image with the patches in grey that ``hidden`` (h, w) says."""
        original = self.shown(image)
        mask = enlarge_to(torch.from_numpy(hidden)[None].float(), original.shape[:2]).bool()
        return np.where(mask[0, :, :, None].numpy(), np.uint8(GREY), original)

    def reconstruct(
        self, image: Tensor, masking: Masking, seed: int = 0
    ) -> list[tuple[np.ndarray, str]]:
        """Original, masked, reconstruction, and that with what was visible, with their captions.

        Only the first two where the file has no decoder, or its target no pixels.

        Args:
            image: As :meth:`load` gives it.
            masking: Which patches are removed.
            seed: Of a random mask.
        """
        keys = [sample_key(seed, 0)]
        if self.mae is None:
            grid = self.grid(image)
            _, masked = masking(1, grid, 'cpu', torch.tensor(keys))
            hidden = np.zeros(grid[0] * grid[1], bool)
            hidden[masked[0].numpy()] = True
            both = (self.shown(image), self.masked(image, hidden.reshape(grid)))
            return list(zip(both, _CAPTIONS))
        trained, self.mae.masking = self.mae.masking, masking
        try:
            pictures = reconstruction_pictures(self.mae, image, keys, self.bands)
        finally:
            self.mae.masking = trained
        return [(picture[0], caption) for picture, caption in zip(pictures, _CAPTIONS)]

    def look(self, image: Tensor, patch: tuple[int, int]) -> list[tuple[np.ndarray, str]]:
        """Where a patch attends in the last block, and which patches have like features.

        Args:
            image: As :meth:`load` gives it.
            patch: Row and column on the grid.
        """
        inputs = self._normalised(image)
        row, column = patch
        width = self.grid(image)[1]
        token = self.vit.num_prefix_tokens + row * width + column
        weights = token_attention(self.vit, inputs, token).mean(1)
        limit = weights.flatten(1).quantile(0.99, dim=1).clamp(min=1e-12)
        features = F.normalize(patch_features(self.vit, inputs), dim=-1)
        likeness = (features @ features[0, row, column])[0]
        picture = self.shown(image)[None]
        low, high = likeness.min(), likeness.max()
        scaled = ((likeness - low) / (high - low).clamp(min=1e-12))[None]
        return [
            (heat(picture, (weights / limit[:, None, None]).clamp(0, 1))[0], 'attention'),
            (heat(picture, scaled)[0], f'cosine similarity, {float(low):.2f} to 1'),
        ]

    def colours(self, image: Tensor) -> list[tuple[np.ndarray, str]]:
        """The first three principal components of the patches' features as colours."""
        colours = pca_colours([patch_features(self.vit, self._normalised(image))[0]])[0]
        size = self.shown(image).shape[:2]
        large = enlarge_to(colours.permute(2, 0, 1), size).permute(1, 2, 0)
        return [((large * 255).round().byte().cpu().numpy(), 'principal components')]

    def _normalised(self, image: Tensor) -> Tensor:
        return self.preprocessor(dict(inputs=image, data_samples=None))['inputs']


def enlarge_to(maps: Tensor, size: Grid) -> Tensor:
    """(N, h, w) to (N, H, W), each value a rectangle."""
    return F.interpolate(maps[None], size=size, mode='nearest')[0]


def _official_config(content: dict) -> str | None:
    """The config of an official file with a decoder, which brings none."""
    found = recognise(content)
    if not any(key.startswith('decoder.') for key in found.rest):
        return None
    name = _OFFICIAL.get(sizes(found.encoder).width)
    return config_path(name) if name else None
