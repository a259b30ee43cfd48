"""MAE against two independent implementations: same weights, same noise, same numbers."""

import pytest
import torch
from torch import Tensor, nn

from mae_plugin.models import MAE
from mae_plugin.models.masking import split_by_noise

TINY = dict(width=48, depth=3, heads=3, decoder_width=32, decoder_depth=2, decoder_heads=4)
BASE = dict(width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8, decoder_heads=16)


class GivenNoise(nn.Module):
    """The official masking on a noise that the test knows."""

    mask_ratio = 0.75

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, batch_size, grid, device, keys):
        return split_by_noise(self.noise, self.mask_ratio)


def build_mae(noise, img_size, patch_size, norm_pix, *, width, depth, heads, decoder_width,
              decoder_depth, decoder_heads, in_layers=1) -> MAE:  # fmt: skip
    shape = dict(img_size=img_size, patch_size=patch_size)
    model = MAE(
        backbone=dict(
            type='ViT', arch=dict(embed_dims=width, num_layers=depth, num_heads=heads), **shape
        ),
        decoder=dict(
            type='MAEDecoder', in_dims=width, embed_dims=decoder_width, depth=decoder_depth,
            num_heads=decoder_heads, in_layers=in_layers, **shape,
        ),
        head=dict(
            type='ReconstructionHead', in_dims=decoder_width,
            target=dict(type='PixelTarget', patch_size=patch_size, norm_pix=norm_pix),
        ),
        masking=GivenNoise(noise),
    )  # fmt: skip
    torch.manual_seed(0)
    model.init_weights()
    # The official initialisation has zero biases, under which some mistakes do not show.
    for name, parameter in model.named_parameters():
        if name.endswith('bias'):
            nn.init.normal_(parameter, std=0.02)
    return model


# Ours -> Hugging Face's. qkv is split there.
HF_NAMES = [
    ('backbone.patch_embed.proj.', 'vit.embeddings.patch_embeddings.projection.'),
    ('backbone.cls_token', 'vit.embeddings.cls_token'),
    ('backbone.pos_embed', 'vit.embeddings.position_embeddings'),
    ('backbone.norm.', 'vit.layernorm.'),
    ('backbone.blocks.', 'vit.encoder.layer.'),
    ('decoder.embed.', 'decoder.decoder_embed.'),
    ('decoder.mask_token', 'decoder.mask_token'),
    ('decoder.pos_embed', 'decoder.decoder_pos_embed'),
    ('decoder.norm.', 'decoder.decoder_norm.'),
    ('decoder.blocks.', 'decoder.decoder_layers.'),
    ('head.pred.', 'decoder.decoder_pred.'),
    ('.norm1.', '.layernorm_before.'),
    ('.norm2.', '.layernorm_after.'),
    ('.attn.proj.', '.attention.output.dense.'),
    ('.mlp.fc1.', '.intermediate.dense.'),
    ('.mlp.fc2.', '.output.dense.'),
]
# Ours -> mmpretrain's.
MM_NAMES = [
    ('backbone.patch_embed.proj.', 'backbone.patch_embed.projection.'),
    ('backbone.blocks.', 'backbone.layers.'),
    ('backbone.norm.', 'backbone.ln1.'),
    ('decoder.embed.', 'neck.decoder_embed.'),
    ('decoder.mask_token', 'neck.mask_token'),
    ('decoder.pos_embed', 'neck.decoder_pos_embed'),
    ('decoder.norm.', 'neck.ln1.'),
    ('decoder.blocks.', 'neck.decoder_blocks.'),
    ('head.pred.', 'neck.decoder_pred.'),
    ('.norm1.', '.ln1.'),
    ('.norm2.', '.ln2.'),
    ('.mlp.fc1.', '.ffn.layers.0.0.'),
    ('.mlp.fc2.', '.ffn.layers.1.'),
]


def rename(tensors: dict[str, Tensor], names: list[tuple[str, str]], split_qkv: bool = False):
    out = {}
    for key, value in tensors.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        if split_qkv and '.attn.qkv.' in key:
            for part, third in zip(('query', 'key', 'value'), value.chunk(3)):
                out[key.replace('.attn.qkv.', f'.attention.attention.{part}.')] = third
        else:
            out[key] = value
    return out


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name, gradient in ours.items():
        if '.key.bias' in name:
            # The softmax ignores a key bias: its gradient is rounding noise around zero.
            assert gradient.norm() < 1e-6 and theirs[name].norm() < 1e-6
            continue
        difference = (gradient - theirs[name]).norm() / theirs[name].norm()
        assert difference < 1e-4, f'{name}: relative difference {difference:.2e}'


def assert_same_predictions(model: MAE, images: Tensor, expected: Tensor) -> None:
    """Ours on the masked patches against a peer's on all (B, L, dims), raster order."""
    ids_keep, ids_masked = model.mask(images)
    tokens = model.encode(images, ids_keep, ids_masked)
    features, ids = model.decode(images, tokens, ids_keep, ids_masked)
    assert torch.equal(ids, ids_masked)
    predictions = model.head(features)
    expected = expected.gather(1, ids[:, :, None].expand_as(predictions))
    torch.testing.assert_close(predictions, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    'size, img_size, patch_size, norm_pix',
    [(TINY, 40, 8, True), (TINY, 40, 8, False), (BASE, 224, 16, True)],
    ids=['tiny', 'tiny-pixels', 'base'],
)
def test_equals_hugging_face(size, img_size, patch_size, norm_pix):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(1)
    images = torch.randn(2, 3, img_size, img_size)
    noise = torch.rand(2, (img_size // patch_size) ** 2)
    model = build_mae(noise, img_size, patch_size, norm_pix, **size)
    peer = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=size['width'], num_hidden_layers=size['depth'],
            num_attention_heads=size['heads'], intermediate_size=4 * size['width'],
            image_size=img_size, patch_size=patch_size, layer_norm_eps=1e-6,
            decoder_hidden_size=size['decoder_width'],
            decoder_num_hidden_layers=size['decoder_depth'],
            decoder_num_attention_heads=size['decoder_heads'],
            decoder_intermediate_size=4 * size['decoder_width'],
            norm_pix_loss=norm_pix, mask_ratio=0.75,
        )
    )  # fmt: skip
    peer.load_state_dict(rename(model.state_dict(), HF_NAMES, split_qkv=True), strict=True)

    loss = model(images, mode='loss')['loss']
    loss.backward()
    out = peer(images, noise=noise)
    out.loss.backward()

    torch.testing.assert_close(loss, out.loss, rtol=1e-5, atol=0)
    assert_same_predictions(model, images, out.logits)
    assert_same_gradients(rename(gradients(model), HF_NAMES, split_qkv=True), gradients(peer))


def mmpretrains_mae(size, img_size, patch_size, kind='MAE', **options):
    """mmpretrain's MAE, or a variant, of these sizes."""
    from mmpretrain.registry import MODELS as MMPRETRAIN

    num_patches = (img_size // patch_size) ** 2
    arch = dict(
        embed_dims=size['width'], num_layers=size['depth'], num_heads=size['heads'],
        feedforward_channels=4 * size['width'],
    )  # fmt: skip
    shape = dict(img_size=img_size, patch_size=patch_size)
    return MMPRETRAIN.build(
        dict(
            type=kind,
            backbone=dict(type=f'{kind}ViT', arch=arch, mask_ratio=0.75, **shape, **options),
            neck=dict(
                type='MAEPretrainDecoder', num_patches=num_patches, patch_size=patch_size,
                in_chans=3, embed_dim=size['width'], decoder_embed_dim=size['decoder_width'],
                decoder_depth=size['decoder_depth'], decoder_num_heads=size['decoder_heads'],
                mlp_ratio=4.0,
            ),
            head=dict(
                type='MAEPretrainHead', norm_pix=True, patch_size=patch_size,
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        )
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    'size, img_size, patch_size', [(TINY, 40, 8), (BASE, 224, 16)], ids=['tiny', 'base']
)
def test_equals_mmpretrain(size, img_size, patch_size, monkeypatch):
    import mmpretrain.models  # noqa: F401

    torch.manual_seed(2)
    images = torch.randn(2, 3, img_size, img_size)
    noise = torch.rand(2, (img_size // patch_size) ** 2)
    model = build_mae(noise, img_size, patch_size, True, **size)
    peer = mmpretrains_mae(size, img_size, patch_size)
    peer.load_state_dict(rename(model.state_dict(), MM_NAMES), strict=True)
    monkeypatch.setattr(torch, 'rand', lambda *args, **kwargs: noise)

    loss = model(images, mode='loss')['loss']
    loss.backward()
    expected = peer(images, data_samples=None, mode='loss')['loss']
    expected.backward()

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    latent, _, ids_restore = peer.backbone(images)
    assert_same_predictions(model, images, peer.neck(latent, ids_restore))
    assert_same_gradients(rename(gradients(model), MM_NAMES), gradients(peer))


MFF_NAMES = [
    ('decoder.fusion.proj.', 'backbone.proj_layers.'),
    ('decoder.fusion.mix', 'backbone.proj_weights'),
    *MM_NAMES,
]


def as_mff(tensors):
    """Under mmpretrain's names; its weights of the layers have three more dimensions."""
    renamed = rename(tensors, MFF_NAMES)
    key = 'backbone.proj_weights'
    return renamed | {key: renamed[key].reshape(-1, 1, 1, 1)}


@pytest.mark.parametrize('blocks', [(0, 1, 2), (0, 2), (2,)])
def test_fusion_of_shallow_blocks_equals_mmpretrains_mff(blocks, monkeypatch):
    import mmpretrain.models  # noqa: F401

    torch.manual_seed(4)
    images, noise = torch.randn(2, 3, 40, 40), torch.rand(2, 25)
    model = build_mae(noise, 40, 8, True, **TINY, in_layers=blocks)
    # The mixture starts equal, as theirs.
    assert torch.equal(model.decoder.fusion.mix, torch.zeros(1, len(blocks)))
    nn.init.normal_(model.decoder.fusion.mix)
    peer = mmpretrains_mae(TINY, 40, 8, 'MFF', out_indices=list(blocks))
    peer.load_state_dict(as_mff(model.state_dict()), strict=True)
    monkeypatch.setattr(torch, 'rand', lambda *args, **kwargs: noise)

    loss = model(images, mode='loss')['loss']
    loss.backward()
    expected = peer(images, data_samples=None, mode='loss')['loss']
    expected.backward()

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    latent, _, ids_restore, _ = peer.backbone(images)
    assert_same_predictions(model, images, peer.neck(latent, ids_restore))
    ours, theirs = as_mff(gradients(model)), gradients(peer)
    if len(blocks) == 1:  # a softmax of one number has no gradient, and theirs is frozen
        assert not ours.pop('backbone.proj_weights').any()
    assert_same_gradients(ours, theirs)
