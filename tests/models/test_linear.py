"""The linear layer through oneDNN against float64 arithmetic, and where it must not be used."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mae_plugin.models import linear as module
from mae_plugin.models.linear import Linear, linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='this torch has no oneDNN'
)


@pytest.fixture(autouse=True)
def _onednn_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor where oneDNN is the faster, and for products of any size."""
    monkeypatch.setattr(module, 'ONEDNN_IS_FASTER', True)
    monkeypatch.setattr(module, '_LEAST_WORK', 0)


class Outer(nn.Module):
    """A model around the layer, for tools that take layers of torch.nn as they are."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


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
def test_values_and_gradients_are_those_of_exact_arithmetic(shape, make, bias) -> None:
    torch.manual_seed(0)
    inputs = [make(*shape), strided(20, 12), torch.randn(20) if bias else None]
    grad = expanded(*shape[:-1], 20)
    ours = [None if t is None else t.detach().requires_grad_() for t in inputs]
    exact = [None if t is None else t.double().requires_grad_() for t in inputs]
    out, expected = linear(*ours), F.linear(*exact)
    assert through_onednn(out)
    assert out.shape == expected.shape and out.is_contiguous()
    out.backward(grad)
    expected.backward(grad.double())
    pairs = [(out, expected)]
    pairs += [(a.grad, b.grad) for a, b in zip(ours, exact) if a is not None]
    for found, wanted in pairs:
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_what_needs_no_gradient_gets_none() -> None:
    layer = Linear(12, 20)
    layer.weight.requires_grad_(False)
    x = torch.randn(4, 12, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, 12))
    torch.testing.assert_close(layer.bias.grad, torch.full((20,), 4.0))


def test_the_output_can_be_changed_in_place() -> None:
    layer, x = Linear(12, 20), torch.randn(2, 3, 12)
    out = layer(x)
    assert through_onednn(out)
    out += 1
    out.sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((20,), 6.0))


def test_gradients_can_be_differentiated() -> None:
    """As for a gradient penalty: d/dw of the squared gradient of x."""
    layer = Linear(12, 20)
    found = []
    for function in (linear, F.linear):
        x = torch.ones(4, 12, requires_grad=True)
        out = function(x, layer.weight, layer.bias).square().sum()
        (grad,) = torch.autograd.grad(out, x, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), layer.weight)[0])
    torch.testing.assert_close(*found)


def test_state_and_start_are_torchs_own() -> None:
    torch.manual_seed(3)
    ours = Linear(12, 20)
    torch.manual_seed(3)
    theirs = nn.Linear(12, 20)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)


def test_small_products_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_LEAST_WORK', 4 * 12 * 20)
    layer = Linear(12, 20)
    assert through_onednn(layer(torch.randn(4, 12)))
    assert not through_onednn(layer(torch.randn(3, 12)))


def test_so_do_other_dtypes_and_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Linear(12, 20), torch.randn(4, 12)
    assert through_onednn(layer(x))
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert out.dtype is torch.bfloat16 and not through_onednn(out)
    assert not through_onednn(layer.double()(x.double()))
    assert layer.to('meta')(x.to('meta')).shape == (4, 20)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not through_onednn(layer.to_empty(device='cpu').float()(x))
    monkeypatch.setattr(module, 'ONEDNN_IS_FASTER', False)
    assert not through_onednn(layer(x))


def test_tools_that_watch_operators_see_torchs_own() -> None:
    layer, x = Linear(12, 20), torch.randn(4, 12)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() == 2 * 4 * 12 * 20
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))
    each = torch.func.vmap(torch.func.grad(lambda row: layer(row[None]).sum()))(x)
    torch.testing.assert_close(each, layer.weight.sum(0).expand(4, 12))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent
    torch.testing.assert_close(tangent, layer.weight.sum(1).expand(4, 20))
    torch.testing.assert_close(torch.fx.symbolic_trace(Outer(layer))(x), layer(x))


@pytest.mark.skipif(not hasattr(torch.compiler, 'is_exporting'), reason='torch cannot tell')
def test_an_exported_graph_has_torchs_operators_alone() -> None:
    rows = torch.export.Dim('rows', min=2, max=1024)
    exported = torch.export.export(
        Linear(12, 20), (torch.randn(4, 12),), dynamic_shapes=dict(x={0: rows})
    )
    assert not [node for node in exported.graph.nodes if 'mae_plugin' in str(node.target)]


def test_compiles_without_a_break_gradients_included() -> None:
    layer = Linear(12, 20)
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    found = []
    for function in (layer, compiled):
        x = torch.linspace(-1, 1, 2 * 4 * 12).view(2, 4, 12).requires_grad_()
        out = function(x)
        found.append((out, *torch.autograd.grad(out.square().sum(), (x, layer.weight))))
    for eager, graph in zip(*found):
        torch.testing.assert_close(eager, graph)


@pytest.mark.parametrize(
    ('processor', 'faster'), [('AuthenticAMD', True), ('GenuineIntel', False)]
)
def test_the_processor_decides(processor, faster, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, 'is_available', lambda: True)
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    monkeypatch.setattr('builtins.open', lambda path: io.StringIO(f'vendor_id\t: {processor}\n'))
    assert module._mkl_wastes_avx512() is faster
