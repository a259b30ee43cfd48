"""Products through oneDNN against float64 arithmetic, and where torch's own must stay."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint

from mae_plugin.engine.cpu_tuning import OneDNNLinear, computes_again, mkl_wastes_avx512
from mae_plugin.models.block import Block

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='this torch has no oneDNN'
)


def through_onednn(out: torch.Tensor) -> bool:
    return 'OneDNN' in type(out.grad_fn).__name__


def strided(*shape: int) -> torch.Tensor:
    """A tensor of which no two neighbours are neighbours in memory."""
    return torch.randn(*shape[:-1], shape[-1] * 2)[..., ::2]


def expanded(*shape: int) -> torch.Tensor:
    """All rows are one."""
    return torch.randn(shape[-1]).expand(*shape)


def overlapping(*shape: int) -> torch.Tensor:
    """Rows that share numbers with their neighbours, as of windows that slide."""
    rows = math.prod(shape[:-1])
    return torch.randn(rows * 3 + shape[-1]).unfold(0, shape[-1], 3)[:rows].view(shape)


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no-bias'])
@pytest.mark.parametrize('make', [torch.randn, strided, expanded, overlapping])
@pytest.mark.parametrize('shape', [(7, 12), (3, 5, 12), (1, 1, 12)])
def test_values_and_gradients_are_those_of_exact_arithmetic(shape, make, bias):
    torch.manual_seed(0)
    inputs = [make(*shape), strided(20, 12), torch.randn(20) if bias else None]
    grad = expanded(*shape[:-1], 20)
    ours = [None if t is None else t.detach().requires_grad_() for t in inputs]
    exact = [None if t is None else t.double().requires_grad_() for t in inputs]
    with OneDNNLinear(least_work=0):
        out = F.linear(*ours)
    expected = F.linear(*exact)
    assert through_onednn(out)
    assert out.shape == expected.shape and out.is_contiguous()
    out.backward(grad)
    expected.backward(grad.double())
    pairs = [(out, expected)]
    pairs += [(a.grad, b.grad) for a, b in zip(ours, exact) if a is not None]
    for found, wanted in pairs:
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('frozen', [True, False])
def test_a_block_gives_what_it_gives_without(frozen):
    block, x = Block(16, 2), torch.randn(2, 5, 16)
    block.attn.qkv.weight.requires_grad_(not frozen)
    found = []
    for mode in (OneDNNLinear(least_work=0), OneDNNLinear(least_work=10**9)):
        block.zero_grad()
        with mode:
            out = block(x, queries=3)
            out.square().sum().backward()
        found.append([out, *(p.grad for p in block.parameters() if p.grad is not None)])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)


def test_the_output_can_be_changed_in_place():
    layer, x = nn.Linear(12, 20), torch.randn(2, 3, 12)
    with OneDNNLinear(least_work=0):
        out = layer(x)
        assert through_onednn(out)
        out += 1
        out.sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((20,), 6.0))


def test_gradients_can_be_differentiated():
    """As for a gradient penalty: d/dw of the squared gradient of x."""
    layer = nn.Linear(12, 20)
    found = []
    for least_work in (0, 10**9):
        x = torch.ones(4, 12, requires_grad=True)
        with OneDNNLinear(least_work):
            out = layer(x).square().sum()
            (grad,) = torch.autograd.grad(out, x, create_graph=True)
            found.append(torch.autograd.grad(grad.square().sum(), layer.weight)[0])
    torch.testing.assert_close(*found)


def test_small_products_other_types_and_autocast_stay_with_torch():
    layer, x = nn.Linear(12, 20), torch.randn(4, 12)
    with OneDNNLinear(least_work=4 * 12 * 20):
        assert through_onednn(layer(x))
        assert not through_onednn(layer(x[:3]))
    with OneDNNLinear(least_work=0):
        with torch.autocast('cpu', torch.bfloat16):
            out = layer(x)
        assert out.dtype is torch.bfloat16 and not through_onednn(out)
        assert not through_onednn(layer.double()(x.double()))
        assert layer.to('meta')(x.to('meta')).shape == (4, 20)
    assert not through_onednn(layer.to_empty(device='cpu').float()(x))


@pytest.mark.parametrize(
    ('processor', 'faster'), [('AuthenticAMD', True), ('GenuineIntel', False)]
)
def test_the_processor_decides(processor, faster, monkeypatch):
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, 'is_available', lambda: True)
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    monkeypatch.setattr('builtins.open', lambda path: io.StringIO(f'vendor_id\t: {processor}\n'))
    assert mkl_wastes_avx512() is faster


def test_models_that_compute_blocks_again_are_told_by_their_configs():
    """Their products must be left to torch: the backward pass runs them outside of any mode."""
    plain = dict(backbone=dict(type='ViT', use_checkpoint=False), heads=[dict(type='FCNHead')])
    assert not computes_again(plain) and not computes_again(None)
    assert computes_again(dict(plain, backbone=dict(type='ViT', use_checkpoint=True)))
    assert computes_again(
        Config(dict(heads=[dict(trunk=dict(type='ResNet', with_cp=True))])).heads
    )
    layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    x = torch.randn(2, 3, 8, requires_grad=True)
    with OneDNNLinear(least_work=0), pytest.raises(CheckpointError):
        checkpoint(layers, x, use_reentrant=False).sum().backward()
