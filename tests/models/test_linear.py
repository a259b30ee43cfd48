"""The linear layer through oneDNN against float64 arithmetic, and where it must not be used."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mae_plugin.models import linear as module
from mae_plugin.models.linear import Linear, linear


@pytest.fixture(autouse=True)
def _onednn_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor where oneDNN is the faster, and for products of any size."""
    monkeypatch.setattr(module, 'ONEDNN_IS_FASTER', True)
    monkeypatch.setattr(module, '_LEAST_WORK', 0)


def through_onednn(out: torch.Tensor) -> bool:
    return 'OneDNN' in type(out.grad_fn).__name__


def strided(*shape: int) -> torch.Tensor:
    """A tensor of which no two neighbours are neighbours in memory."""
    return torch.randn(*shape[:-1], shape[-1] * 2)[..., ::2]


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no-bias'])
@pytest.mark.parametrize('make', [torch.randn, strided], ids=['contiguous', 'strided'])
@pytest.mark.parametrize('shape', [(7, 12), (3, 5, 12), (2, 3, 4, 12), (1, 1, 12)])
def test_values_and_gradients_are_those_of_exact_arithmetic(shape, make, bias) -> None:
    torch.manual_seed(0)
    inputs = [make(*shape), make(20, 12), torch.randn(20) if bias else None]
    grad = make(*shape[:-1], 20)
    ours = [None if t is None else t.clone().requires_grad_() for t in inputs]
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
    graph = torch.export.export(layer, (x,)).graph
    assert not [node for node in graph.nodes if 'mae_plugin' in str(node.target)]


def test_compiles_without_a_break() -> None:
    layer, x = Linear(12, 20), torch.randn(2, 4, 12)
    torch.testing.assert_close(
        torch.compile(layer, fullgraph=True, backend='aot_eager')(x), layer(x)
    )


@pytest.mark.parametrize(
    ('processor', 'faster'), [('AuthenticAMD', True), ('GenuineIntel', False)]
)
def test_the_processor_decides(processor, faster, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    monkeypatch.setattr('builtins.open', lambda path: io.StringIO(f'vendor_id\t: {processor}\n'))
    assert module._mkl_wastes_avx512() is faster
