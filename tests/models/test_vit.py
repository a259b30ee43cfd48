"""The trunk: what it computes and how it starts."""

import pytest
import torch

from mae_plugin.arch import ARCHS, config_sizes, parse_arch
from mae_plugin.models import MAEDecoder, ReconstructionHead, ViT

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3)


@pytest.fixture(scope='module')
def small():
    """ViT-S, its decoder and predictor, as they start."""
    torch.manual_seed(0)
    parts = [ViT('small'), MAEDecoder(384), ReconstructionHead(512)]
    for part in parts:
        part.init_weights()
    return torch.nn.ModuleList(parts)


def test_linear_layers_start_xavier_uniform_without_bias(small):
    count = 0
    for name, module in small.named_modules():
        if isinstance(module, torch.nn.Linear):
            fan_out, fan_in = module.weight.shape
            bound = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.99 * bound < module.weight.abs().max() <= bound, name
            assert abs(module.weight.std() / (bound / 3**0.5) - 1) < 0.02, name
            assert not module.bias.any(), name
            count += 1
    assert count == 4 * 12 + 4 * 8 + 2


def test_norms_start_as_the_identity(small):
    norms = [m for m in small.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 12 + 1 + 2 * 8 + 1
    for norm in norms:
        assert norm.eps == 1e-6 and norm.weight.eq(1).all() and norm.bias.eq(0).all()


def test_tokens_start_normal_and_positions_are_fixed(small):
    vit, decoder, _ = small
    for token in (vit.cls_token, decoder.mask_token):
        assert abs(token.mean()) < 4 * 0.02 / token.numel() ** 0.5
        assert 0.9 < token.std() / 0.02 < 1.1
        assert token.requires_grad
    for part in (vit, decoder):
        assert not part.pos_embed.requires_grad
        assert not part.pos_embed[:, 0].any() and part.pos_embed[:, 1:].any()


def test_patch_projection_keeps_the_convolutions_bias(small):
    vit = small[0]
    assert vit.patch_embed.proj.bias.any()
    assert vit.patch_embed.proj.bias.abs().max() <= (16 * 16 * 3) ** -0.5


def test_sizes_have_the_published_numbers_of_parameters():
    # Touvron et al. (Ti, S) and Dosovitskiy et al. (B, L, H), without the classifier.
    millions = dict(tiny=5.5, small=21.7, base=85.8, large=303.3, huge=630.8)
    for name, arch in ARCHS.items():
        dims, layers = arch.embed_dims, arch.num_layers
        patch = 14 if name == 'huge' else 16
        block = 12 * dims**2 + 13 * dims
        total = layers * block + (3 * patch**2 + 1) * dims + dims * (2 + (224 // patch) ** 2 + 2)
        assert abs(total / 1e6 - millions[name]) < 0.06, name
    vit = ViT(ARCH, img_size=8, patch_size=4)
    expected = 3 * (12 * 24**2 + 13 * 24) + (3 * 16 + 1) * 24 + 24 * (1 + 5 + 2)
    assert sum(p.numel() for p in vit.parameters()) == expected


def test_visible_patches_alone_are_the_rest_of_the_image_removed():
    # Without attention between them, tokens do not depend on what else is visible.
    torch.manual_seed(0)
    vit = ViT(ARCH, img_size=(8, 12), patch_size=4)
    vit.init_weights()
    for block in vit.blocks:
        torch.nn.init.zeros_(block.attn.proj.weight)
    images = torch.randn(2, 3, 8, 12)
    ids = torch.tensor([[5, 0, 3], [1, 2, 4]])
    whole, part = vit(images), vit(images, ids)
    assert whole.shape == (2, 7, 24) and part.shape == (2, 4, 24)
    expected = whole[:, 1:].gather(1, ids[:, :, None].expand(-1, -1, 24))
    torch.testing.assert_close(part[:, 1:], expected)
    torch.testing.assert_close(part[:, 0], whole[:, 0])


def test_all_patches_in_any_order_are_the_whole_image():
    torch.manual_seed(0)
    vit = ViT(ARCH, img_size=8, patch_size=4)
    vit.init_weights()
    images, ids = torch.randn(2, 3, 8, 8), torch.tensor([[2, 0, 3, 1]] * 2)
    expected = vit(images)[:, 1:].gather(1, ids[:, :, None].expand(-1, -1, 24))
    torch.testing.assert_close(vit(images, ids)[:, 1:], expected, rtol=1e-4, atol=1e-5)


def test_options():
    plain = ViT(
        ARCH, img_size=8, patch_size=4, in_channels=12, with_cls_token=False, qkv_bias=False,
        drop_path_rate=0.2, layer_scale_init=0.1, final_norm=False,
    )  # fmt: skip
    plain.init_weights()
    assert plain(torch.randn(1, 12, 8, 16)).shape == (1, 8, 24)
    names = plain.state_dict()
    assert 'cls_token' not in names and 'norm.weight' not in names
    assert 'blocks.0.attn.qkv.bias' not in names and names['blocks.2.gamma_2'].eq(0.1).all()
    rates = [getattr(block.drop_path, 'drop_prob', 0) for block in plain.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_checkpointing_changes_nothing():
    images = torch.randn(2, 3, 8, 8)
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(0)
        vit = ViT(ARCH, img_size=8, patch_size=4, use_checkpoint=use_checkpoint)
        vit.init_weights()
        vit(images).square().mean().backward()
        results.append([p.grad for p in vit.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize('as_list', [False, True])
def test_init_cfg_of_any_initialiser(as_list):
    """mmengine's initialisers come after ours, as in its own modules."""
    init_cfg = dict(type='Constant', layer='Linear', val=0.5, bias=2)
    vit = ViT(ARCH, 8, 4, init_cfg=[init_cfg] if as_list else init_cfg)
    vit.init_weights()
    assert (vit.blocks[0].mlp.fc1.weight == 0.5).all() and (vit.blocks[2].attn.qkv.bias == 2).all()
    assert vit.cls_token.any() and (vit.norm.weight == 1).all()


def test_init_cfg_in_a_list_loads_files_last(tmp_path):
    source = ViT(ARCH, 8, 4)
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'))
    for init_cfg in ([pretrained], [pretrained, dict(type='Constant', layer='Linear', val=0.5)]):
        vit = ViT(ARCH, 8, 4, init_cfg=init_cfg)
        vit.init_weights()
        for name, tensor in source.state_dict().items():
            assert torch.equal(vit.state_dict()[name], tensor), name


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_layer_depths(prefix):
    vit = ViT(ARCH, img_size=8, patch_size=4)
    depths = {
        name: vit.get_layer_depth(prefix + name, prefix) for name, _ in vit.named_parameters()
    }
    assert {total for _, total in depths.values()} == {5}
    for name in ('cls_token', 'pos_embed', 'patch_embed.proj.bias'):
        assert depths[name][0] == 0
    assert depths['blocks.0.norm1.weight'][0] == 1 and depths['blocks.2.mlp.fc2.bias'][0] == 3
    assert depths['norm.weight'][0] == 4


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="unknown arch 'giant': choose one of tiny, small, base"):
        ViT('giant')
    with pytest.raises(ValueError, match=r"missing \['num_heads'\], unknown \['heads'\]"):
        parse_arch(dict(embed_dims=8, num_layers=1, heads=2))
    with pytest.raises(ValueError, match='give whole numbers for embed_dims'):
        parse_arch(dict(ARCH, embed_dims=24.0))
    with pytest.raises(ValueError, match='100x96 is not divisible by patch_size=16'):
        ViT(ARCH, img_size=(100, 96))
    with pytest.raises(ValueError, match='frozen_stages=7'):
        ViT(ARCH, frozen_stages=7)
    with pytest.raises(ValueError, match='num_heads=5 does not divide embed_dims=24'):
        ViT(dict(ARCH, num_heads=5))
    vit = ViT(ARCH, img_size=8, patch_size=4)
    with pytest.raises(ValueError, match='9x8 is not divisible by patch_size=4'):
        vit(torch.zeros(1, 3, 9, 8))
    with pytest.raises(ValueError, match='decoder depth=0'):
        MAEDecoder(depth=0)


def test_a_config_says_its_sizes_itself_or_by_its_arch():
    assert config_sizes(dict()) == (224, 16)
    assert config_sizes(dict(arch='dinov2-base')) == (518, 14)
    assert config_sizes(dict(arch='dinov2-base', img_size=(224, 448), patch_size=16)) == (
        (224, 448),
        16,
    )
    assert config_sizes(dict(arch='deit-small')) == (224, 16)  # another toolbox's name
    assert config_sizes(dict(arch=dict(ARCH, patch_size=8, img_size=64))) == (64, 8)
    vit = ViT('dinov2-small', num_register_tokens=2, patch_size=37)
    assert (vit.grid, vit.num_prefix_tokens, vit.patch_size) == ((14, 14), 3, 37)
