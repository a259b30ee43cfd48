"""The transformer block: the work left out must not change the result."""

import pytest
import torch
from torch import nn

from mae_plugin.models.block import Attention, Block, run_block


def official_attention(attention, x):
    """timm's Attention, written out."""
    b, n, d = x.shape
    heads = attention.num_heads
    q, k, v = attention.qkv(x).reshape(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * (d // heads) ** -0.5).softmax(dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


@pytest.mark.parametrize('qkv_bias', [True, False])
def test_attention_is_the_written_out_one(qkv_bias):
    torch.manual_seed(0)
    attention = Attention(24, 3, qkv_bias)
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(attention(x), official_attention(attention, x))


def test_block_is_the_written_out_one():
    torch.manual_seed(0)
    block = Block(24, 3, mlp_ratio=2, layer_scale_init=0.3)
    nn.init.normal_(block.gamma_1)
    x = torch.randn(2, 7, 24)
    expected = x + block.gamma_1 * official_attention(block.attn, block.norm1(x))
    hidden = nn.functional.gelu(block.mlp.fc1(block.norm2(expected)))
    expected = expected + 0.3 * block.mlp.fc2(hidden)
    torch.testing.assert_close(block(x), expected)
    assert block.mlp.fc1.out_features == 48


@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('queries', [1, 4, 7])
def test_the_last_queries_alone_equal_the_full_block(queries, qkv_bias):
    torch.manual_seed(0)
    block = Block(24, 3, qkv_bias=qkv_bias)
    x, direction = torch.randn(2, 7, 24), torch.randn(2, queries, 24)
    results = []
    for argument in (queries, None):
        block.zero_grad()
        given = x.clone().requires_grad_()
        out = block(given, queries=argument)[:, -queries:]
        (out * direction).sum().backward()
        results.append([out.detach(), given.grad] + [p.grad.clone() for p in block.parameters()])
    for part, whole in zip(*results, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_no_query_gives_no_token():
    assert Block(8, 2)(torch.randn(2, 5, 8), queries=0).shape == (2, 0, 8)


def test_checkpointing_changes_nothing():
    torch.manual_seed(0)
    block = Block(24, 3, drop_path=0.5)
    x = torch.randn(4, 7, 24)
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        block.zero_grad()
        out = run_block(block, x, use_checkpoint, queries=3)
        out.square().sum().backward()
        results.append([out.detach()] + [p.grad.clone() for p in block.parameters()])
    for plain, checkpointed in zip(*results, strict=True):
        assert torch.equal(plain, checkpointed)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='num_heads=5 does not divide embed_dims=24'):
        Attention(24, 5)
