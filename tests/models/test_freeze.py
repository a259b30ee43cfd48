"""Partial fine-tuning: what is frozen gets no gradient, drops no path and keeps its weights."""

import pytest
import torch

from mae_plugin.models import TokenPool, ViT
from mae_plugin.models.token_pool import pool_tokens

TINY = dict(embed_dims=16, num_layers=4, num_heads=2)


def tiny_vit(**kwargs):
    vit = ViT(arch=TINY, img_size=16, patch_size=8, train_pos_embed=True, **kwargs)
    vit.init_weights()
    return vit


def trained_names(vit):
    """Names of parameters that receive a gradient, with the frozen ones checked to get none."""
    vit.train()
    vit(torch.randn(2, 3, 16, 16)).sum().backward()
    parameters = dict(vit.named_parameters())
    assert all(p.grad is None for p in parameters.values() if not p.requires_grad)
    return {name for name, p in parameters.items() if p.grad is not None}


EMBEDDINGS = ('patch_embed', 'pos_embed', 'cls_token')
HALF_OF_THE_LAST = ('blocks.3.norm1', 'blocks.3.attn')


@pytest.mark.parametrize(
    'stages, frozen',
    [
        (-1, ()),
        (0, EMBEDDINGS),
        (2, (*EMBEDDINGS, 'blocks.0.', 'blocks.1.')),
        (3.5, (*EMBEDDINGS, 'blocks.0.', 'blocks.1.', 'blocks.2.', *HALF_OF_THE_LAST)),
    ],
)
def test_only_what_comes_after_frozen_stages_gets_gradients(stages, frozen):
    everything = trained_names(tiny_vit())
    expected = {name for name in everything if not name.startswith(frozen)}
    assert trained_names(tiny_vit(frozen_stages=stages)) == expected


def test_all_blocks_frozen_is_a_fixed_trunk():
    vit = tiny_vit(frozen_stages=4)
    assert not any(p.requires_grad for p in vit.parameters())


def test_half_a_block_is_its_mlp():
    tuned = trained_names(tiny_vit(frozen_stages=3.5))
    assert {name for name in tuned if name.startswith('blocks')} == {
        f'blocks.3.{part}.{kind}'
        for part in ('norm2', 'mlp.fc1', 'mlp.fc2')
        for kind in ('weight', 'bias')
    }


def test_frozen_blocks_drop_no_path_whatever_train_says():
    vit = tiny_vit(frozen_stages=4, drop_path_rate=0.9).train().eval().train()
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(vit(images), vit(images), rtol=0, atol=0)


def test_half_a_frozen_block_drops_paths_and_those_before_it_do_not():
    vit = tiny_vit(frozen_stages=3.5, drop_path_rate=0.5).train()
    assert [block.drop_path.training for block in vit.blocks[1:]] == [False, False, True]
    images = torch.randn(64, 3, 16, 16)
    assert not torch.equal(vit(images), vit(images))


@pytest.mark.parametrize('stages', [-0.5, -2, 0.3, 4.5, 9])
def test_a_number_of_blocks_that_means_nothing_is_refused(stages):
    with pytest.raises(ValueError, match=f'frozen_stages={stages}'):
        tiny_vit(frozen_stages=stages)


def test_token_pool_takes_the_class_token_or_the_average_of_patches():
    tokens = torch.randn(3, 5, 16)
    (cls,) = TokenPool(16, 'cls')(tokens)
    assert torch.equal(cls, tokens[:, 0])
    neck = TokenPool(16, 'avg', norm='layer')
    (average,) = neck(tokens)
    expected = torch.nn.functional.layer_norm(tokens[:, 1:].mean(1), (16,), eps=1e-6)
    torch.testing.assert_close(average, expected)
    assert set(neck.state_dict()) == {'fc_norm.weight', 'fc_norm.bias'}


def test_token_pool_of_the_linear_probe_is_a_batch_norm_without_parameters():
    neck = TokenPool(16, 'cls', norm='batch').train()
    tokens = torch.randn(64, 5, 16) * 7 + 3
    (feature,) = neck(tokens)
    cls = tokens[:, 0]
    expected = (cls - cls.mean(0)) / (cls.var(0, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(feature, expected)
    assert not list(neck.parameters())


def test_pooling_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="pool='max'"):
        pool_tokens(torch.zeros(1, 4, 8), 'max')
    with pytest.raises(ValueError, match='class token'):
        pool_tokens(torch.zeros(1, 4, 8), 'cls', num_prefix_tokens=0)
    with pytest.raises(ValueError, match="norm='group'"):
        TokenPool(16, norm='group')
