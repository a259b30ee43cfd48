"""Class tokens with rows of their own, registers without, and what is made of them."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mae_plugin.errors import UserError
from mae_plugin.models import MAE, TokenPool, ViT, ViTBackbone
from mae_plugin.models.token_pool import check_neck, pool_tokens

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3)
SHAPE = dict(img_size=(8, 12), patch_size=4)


def randomised(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model.eval()


@pytest.mark.parametrize('positions', ['SinCosPositions', 'LearnedPositions'])
@pytest.mark.parametrize(('num_cls', 'num_registers'), [(1, 0), (8, 0), (1, 4), (3, 2), (0, 2)])
def test_tokens_are_those_of_the_formula(num_cls, num_registers, positions):
    """Pixio's [cls_token + pos_embed[:P], patches + pos_embed[P:]], DINOv2's registers between."""
    vit = randomised(
        ViT(
            ARCH, **SHAPE, num_cls_tokens=num_cls, num_register_tokens=num_registers,
            positions=dict(type=positions),
        )
    )  # fmt: skip
    assert vit.num_prefix_tokens == num_cls + num_registers
    assert vit.pos_embed.shape == (1, num_cls + 6, 24)
    images, ids = torch.randn(2, 3, 8, 12), torch.tensor([[5, 0, 3], [1, 2, 4]])
    patches = vit.patch_embed.proj(images).flatten(2).mT + vit.pos_embed[:, num_cls:]
    patches = patches.gather(1, ids[:, :, None].expand(-1, -1, 24))
    prefix = torch.zeros(1, 0, 24)
    if num_cls:
        prefix = vit.cls_token + vit.pos_embed[:, :num_cls]
    if num_registers:
        prefix = torch.cat([prefix, vit.register_tokens], dim=1)
    x = torch.cat([prefix.expand(2, -1, -1), patches], dim=1)
    for block in vit.blocks:
        x = block(x)
    torch.testing.assert_close(vit(images, ids), vit.norm(x))


def test_backbone_and_trunk_agree_and_drop_all_prefix_tokens():
    kwargs = dict(**SHAPE, num_cls_tokens=3, num_register_tokens=2, final_norm=True)
    vit = randomised(ViT(ARCH, **kwargs))
    backbone = ViTBackbone(ARCH, **kwargs).eval()
    backbone.load_state_dict(vit.state_dict())
    images = torch.randn(2, 3, 12, 16)  # another grid: the rows are resized, the tokens' are not
    (found,) = backbone(images)
    torch.testing.assert_close(found, vit(images)[:, 5:].mT.unflatten(2, (3, 4)))


def test_pools():
    tokens = torch.randn(2, 3 + 2 + 6, 24)
    pooled = {pool: pool_tokens(tokens, pool, 5, 3) for pool in ('cls', 'cls-mean', 'avg')}
    assert torch.equal(pooled['cls'], tokens[:, 0])
    torch.testing.assert_close(pooled['cls-mean'], tokens[:, :3].sum(1) / 3)
    torch.testing.assert_close(pooled['avg'], tokens[:, 5:].sum(1) / 6)
    (found,) = TokenPool(24, 'cls-mean', num_prefix_tokens=5, num_cls_tokens=3)(tokens)
    torch.testing.assert_close(found, pooled['cls-mean'])
    for pool in ('cls', 'cls-mean'):
        with pytest.raises(UserError, match=f"pool='{pool}' needs a ViT with a class token"):
            pool_tokens(tokens, pool, 2, 0)


def test_a_neck_that_counts_other_tokens_is_refused():
    """It would average registers with the patches."""
    vit = dict(type='mae_plugin.ViT', arch=ARCH, **SHAPE, num_cls_tokens=3, num_register_tokens=2)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=vit,
                neck=dict(type='mae_plugin.TokenPool', dims=24, num_prefix_tokens=3),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=24),
            )
        )
    with pytest.raises(UserError, match='num_prefix_tokens=5 and num_cls_tokens=3 of the neck'):
        check_neck(model)
    model.neck = TokenPool(24, num_prefix_tokens=5, num_cls_tokens=3)
    check_neck(model)


def test_start_and_training():
    torch.manual_seed(0)
    vit = ViT(
        dict(ARCH, embed_dims=240), img_size=64, patch_size=4, num_cls_tokens=8,
        num_register_tokens=4, positions=dict(type='LearnedPositions'),
    )  # fmt: skip
    vit.init_weights()
    for tokens in (vit.cls_token, vit.register_tokens, vit.pos_embed):
        assert tokens.requires_grad
        assert 0.9 < tokens.std() / 0.02 < 1.1 and abs(tokens.mean()) < 0.002
    assert not torch.equal(vit.pos_embed[:, 0], vit.pos_embed[:, 1])
    depths = {vit.get_layer_depth(name)[0] for name in ('cls_token', 'register_tokens')}
    assert depths == {0}
    frozen = ViT(ARCH, **SHAPE, num_register_tokens=2, frozen_stages=0)
    assert not frozen.register_tokens.requires_grad


def test_a_mae_of_several_class_tokens_takes_a_step():
    model = MAE(
        backbone=dict(
            type='ViT', arch=ARCH, **SHAPE, num_cls_tokens=4, num_register_tokens=2,
            positions=dict(type='LearnedPositions'),
        ),
        decoder=dict(type='MAEDecoder', embed_dims=16, depth=1, num_heads=2),
        head=dict(type='ReconstructionHead', target=dict(type='PixelTarget')),
    )  # fmt: skip
    model.init_weights()
    model(torch.randn(2, 3, 8, 12), mode='loss')['loss'].backward()
    encoder = model.backbone
    for tokens in (encoder.cls_token, encoder.register_tokens, encoder.pos_embed):
        assert tokens.grad.abs().sum(-1).count_nonzero() > 0


def test_windows_have_no_place_for_registers():
    with pytest.raises(UserError, match='num_register_tokens=0'):
        ViTBackbone(ARCH, **SHAPE, num_cls_tokens=0, num_register_tokens=2, window_size=2)
