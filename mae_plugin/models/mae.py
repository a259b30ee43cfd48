"""Masked autoencoder (He et al. 2021): masking -> encoder -> decoder -> head.

Shapes: B batch, C channels, H x W image, p patch size, h x w patch grid, L = h·w patches,
K kept, M = L - K masked, D encoder width. In masks, 1 is masked (removed).
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mae_plugin.compat import require_torch
from mae_plugin.errors import UserError
from mae_plugin.geometry import patch_grid
from mae_plugin.registry import MODELS

from .layer_mixture import read_blocks
from .mae_checks import check_parts, nothing_masked
from .masking import RandomMasking
from .noise import sample_keys
from .parts import build_part
from .reconstruction import Reconstruction, data_elements, reconstruct


@MODELS.register_module()
class MAE(BaseModel):
    """Masked autoencoder.

    Patch size, image size, channels and width are said once, of the encoder: decoder, head, target
    and preprocessor get them where their configs leave them out. So does a target with the
    preprocessor's mean and deviation.

    Args:
        backbone: Config of the encoder, a ``ViT``.
        decoder: Config of the decoder, ``MAEDecoder`` or ``CrossAttentionDecoder``.
        head: Config of the ``ReconstructionHead``.
        masking: Config of a ``Masking``; by default ``RandomMasking`` of 75%.
        loss_on: 'masked' (paper) or 'all' patches (its ablation: about 0.5% worse).
        prediction_ratio: Share of all L patches that is decoded in training, a random choice
            among the masked; None for all of these. For decoders whose predictions do not depend
            on each other: ``CrossAttentionDecoder``.
        encoder_mask_tokens: Give the encoder mask tokens instead of leaving patches out
            (Table 1c: worse, and 3.3 times the work).
        compile: Compile everything from masked images to the loss as one graph, once; a dict
            gives options of ``torch.compile``. In a run, mmengine's switch ``compile=True`` of
            the config sets this.
        data_preprocessor: Config of the preprocessor that normalises on the device.

    Raises:
        UserError: If parts do not fit each other.
        UserError: If ``compile`` is asked of a torch older than 2.4.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        decoder: dict | nn.Module,
        head: dict | nn.Module,
        masking: dict | nn.Module | None = None,
        loss_on: str = 'masked',
        prediction_ratio: float | None = None,
        encoder_mask_tokens: bool = False,
        compile: bool | dict = False,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        # Built from our registry, so that a host need not be told the scope once more. What the
        # encoder says of its images, patches and width is handed on to the other parts.
        encoder = build_part(backbone)
        channels = encoder.patch_embed.proj.in_channels
        patches = dict(patch_size=encoder.patch_size, in_channels=channels)
        super().__init__(
            data_preprocessor and build_part(data_preprocessor, in_channels=channels), init_cfg
        )
        if loss_on not in ('masked', 'all'):
            raise UserError(f"loss_on='{loss_on}': choose 'masked' (paper) or 'all'")
        self.backbone = encoder
        img_size = tuple(side * encoder.patch_size for side in encoder.grid)
        self.decoder = build_part(
            decoder,
            in_dims=encoder.embed_dims,
            img_size=img_size,
            num_prefix_tokens=getattr(encoder, 'num_prefix_tokens', 1),
            **patches,
        )
        if hasattr(self.decoder, 'embed_dims'):  # one of the user's own need not say
            patches['in_dims'] = self.decoder.embed_dims
        statistics = getattr(self.data_preprocessor, 'statistics', {})
        self.head = build_part(head, **patches, **statistics)
        self.masking = build_part(masking or RandomMasking())
        self.loss_on = loss_on
        self.prediction_ratio = prediction_ratio
        self.mask_token = None
        if encoder_mask_tokens:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.backbone.embed_dims))
        check_parts(self)
        # Of the class, not of this instance: copies of the model then run their own weights.
        self._masked_loss = type(self).masked_loss
        if compile:
            require_torch('2.4', 'compile of a MAE')
            options = compile if isinstance(compile, dict) else {}
            self._masked_loss = torch.compile(self._masked_loss, fullgraph=True, **options)

    def init_weights(self) -> None:
        """Initialise all parts as the official code does, once."""
        # Before the rest: a checkpoint of `init_cfg`, read last, replaces it.
        if self.mask_token is not None and not self.is_init:
            nn.init.normal_(self.mask_token, std=0.02)
        super().init_weights()

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[Any] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | Tensor | list[BaseDataElement]:
        """mmengine's entry point.

        Args:
            inputs: (B, C, H, W), normalised by the data preprocessor.
            data_samples: One for each image; those with a ``sample_key`` get the mask that
                follows from it, others a random one.
            mode: 'loss', 'tensor' or 'predict'.

        Returns:
            'loss': dict with ``loss``. 'tensor': encoder tokens (B, 1 + L, D) of the whole image.
            'predict': one data element for each image, see :meth:`predict`.

        Raises:
            UserError: If ``mode`` is unknown.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise UserError(f"mode='{mode}': choose 'loss', 'tensor' or 'predict'")

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Encoder tokens (B, 1 + L, D) of whole images (B, C, H, W), for hosts' tools."""
        return self.backbone(inputs)

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer decay: the encoder's; decoder and head come last."""
        return self.backbone.get_layer_depth(name, f'{prefix}backbone.')

    def loss(self, inputs: Tensor, data_samples: Sequence[Any] | None = None) -> dict[str, Tensor]:
        """Section 3 of the paper: mask, encode what is left, decode, compare what was removed."""
        ids_keep, ids_masked = self.mask(inputs, data_samples)
        return dict(loss=self._masked_loss(self, inputs, ids_keep, ids_masked))

    def masked_loss(self, inputs: Tensor, ids_keep: Tensor, ids_masked: Tensor) -> Tensor:
        """Encode, decode, compare: tensors alone, one graph for ``torch.compile``.

        Args:
            inputs: (B, C, H, W), normalised.
            ids_keep: (B, K) raster indices of the visible patches.
            ids_masked: (B, M) raster indices of the others.

        Returns:
            Scalar.

        Raises:
            UserError: If there is nothing to predict.
        """
        tokens = self.encode(inputs, ids_keep, ids_masked)
        features, ids = self.decode(inputs, tokens, ids_keep, ids_masked)
        if ids.shape[1] == 0:
            grid = patch_grid(inputs.shape[-2:], self.backbone.patch_size)
            raise nothing_masked(self.masking, grid)
        return self.head.loss(self.head(features), inputs, ids)

    def mask(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw ids_keep (B, K) and ids_masked (B, M) for a batch of images (B, C, H, W)."""
        grid = patch_grid(inputs.shape[-2:], self.backbone.patch_size)
        keys = sample_keys(data_samples, inputs.device)
        return self.masking(inputs.shape[0], grid, inputs.device, keys)

    def encode(
        self, inputs: Tensor, ids_keep: Tensor, ids_masked: Tensor
    ) -> Tensor | list[Tensor]:
        """Encoder tokens of the visible patches: (B, 1 + K, D); with mask tokens, of all L.

        Where the decoder reads several of its blocks, their fusion, if it fuses them, or a list of
        their outputs, of which the last is normed.
        """
        unseen = () if self.mask_token is None else (ids_masked, self.mask_token)
        encoder, in_layers = self.backbone, getattr(self.decoder, 'in_layers', 1)
        if in_layers == 1:
            return encoder(inputs, ids_keep, *unseen)
        blocks = read_blocks(in_layers, encoder.num_layers)
        layers = encoder.block_outputs(blocks, inputs, ids_keep, *unseen)
        fusion = getattr(self.decoder, 'fusion', None)
        if fusion is not None:
            return encoder.norm(fusion(layers))
        return [*layers[:-1], encoder.norm(layers[-1])]

    def decode(
        self,
        inputs: Tensor,
        tokens: Tensor | list[Tensor],
        ids_keep: Tensor,
        ids_masked: Tensor,
        everything: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decoder features of the patches that the loss needs, and their raster indices.

        Returns:
            Features (B, N, decoder width) and ids (B, N): the masked patches (with
            ``prediction_ratio`` a part of them), or with ``everything`` (or ``loss_on='all'``)
            [ids_keep, ids_masked].

        Raises:
            UserError: If the decoder gives features of other than the patches asked for.
        """
        grid = patch_grid(inputs.shape[-2:], self.backbone.patch_size)
        everything = everything or self.loss_on == 'all'
        if self.prediction_ratio is not None and not everything:
            ids_masked = ids_masked[:, : max(1, int(grid[0] * grid[1] * self.prediction_ratio))]
        ids_all = torch.cat([ids_keep, ids_masked], dim=1)
        ids = ids_all if everything else ids_masked
        if self.mask_token is not None:
            ids_keep, ids_masked = ids_all, ids_masked[:, :0]
        features = self.decoder(tokens, ids_keep, ids_masked, grid, ids.shape[1])
        if features.shape[:2] != ids.shape:
            raise UserError(
                f'{type(self.decoder).__name__} gave features of shape {tuple(features.shape)} '
                f'where {tuple(ids.shape)} (images, patches to predict) were asked for'
            )
        return features, ids

    def reconstruct(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Reconstruction:
        """Reconstruct normalised images (B, C, H, W), visible patches included.

        Raises:
            UserError: If no patch is masked, unless the model was trained for that.
        """
        return reconstruct(self, inputs, data_samples)

    def predict(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> list[BaseDataElement]:
        """Reconstruction, mask and loss of each image, for test loops and pictures.

        Returns:
            One data element for each image, see :func:`data_elements`.
        """
        grid = patch_grid(inputs.shape[-2:], self.backbone.patch_size)
        return data_elements(self.reconstruct(inputs, data_samples), grid, data_samples)
