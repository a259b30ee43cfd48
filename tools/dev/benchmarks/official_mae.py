"""The official MAE (facebookresearch/mae, models_mae.py) rebuilt on the installed timm.

The published code needs timm 0.3.2, which no longer runs. This is its algorithm, line for line,
on today's timm blocks: tokens gathered after embedding all patches, the decoder's input restored
to raster order, every token predicted, the loss taken on masked ones.
"""

import torch
from timm.models.vision_transformer import Block, PatchEmbed
from torch import Tensor, nn

from mae_plugin.geometry import sincos_pos_embed


class OfficialMAE(nn.Module):
    """Masked autoencoder; calling it with normalised images (B, 3, H, W) gives the loss."""

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        img_size: int = 224,
        patch_size: int = 16,
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        self.mask_ratio = mask_ratio
        self.patch_size = patch_size
        self.patch_embed = PatchEmbed(img_size, patch_size, 3, embed_dim)
        grid = (img_size // patch_size, img_size // patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(sincos_pos_embed(embed_dim, grid, 1), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, 4, qkv_bias=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            sincos_pos_embed(decoder_embed_dim, grid, 1), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_embed_dim, decoder_num_heads, 4, qkv_bias=True)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_embed_dim, patch_size**2 * 3)

    def patchify(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, L, p·p·3)."""
        p = self.patch_size
        h, w = images.shape[2] // p, images.shape[3] // p
        x = images.reshape(images.shape[0], 3, h, p, w, p)
        return torch.einsum('nchpwq->nhwpqc', x).reshape(images.shape[0], h * w, p * p * 3)

    def random_masking(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Kept tokens (B, K, D), mask (B, L), and the index that restores raster order."""
        n, length, dim = x.shape
        len_keep = int(length * (1 - self.mask_ratio))
        noise = torch.rand(n, length, device=x.device)
        ids_shuffle = torch.argsort(noise, dim=1)
        ids_restore = torch.argsort(ids_shuffle, dim=1)
        ids_keep = ids_shuffle[:, :len_keep]
        kept = torch.gather(x, 1, ids_keep.unsqueeze(-1).repeat(1, 1, dim))
        mask = torch.ones([n, length], device=x.device)
        mask[:, :len_keep] = 0
        return kept, torch.gather(mask, 1, ids_restore), ids_restore

    def forward(self, images: Tensor) -> Tensor:
        """Loss of a batch."""
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        x, mask, ids_restore = self.random_masking(x)
        cls_token = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat((cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_embed(self.norm(x))

        masked = self.mask_token.repeat(x.shape[0], ids_restore.shape[1] + 1 - x.shape[1], 1)
        restored = torch.cat([x[:, 1:], masked], dim=1)
        index = ids_restore.unsqueeze(-1).repeat(1, 1, x.shape[2])
        x = torch.cat([x[:, :1], torch.gather(restored, 1, index)], dim=1)
        x = x + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        predictions = self.decoder_pred(self.decoder_norm(x))[:, 1:]

        target = self.patchify(images)
        mean, variance = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1.0e-6) ** 0.5
        loss = ((predictions - target) ** 2).mean(dim=-1)
        return (loss * mask).sum() / mask.sum()
