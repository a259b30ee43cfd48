"""Every registered part computes on the device of its inputs, and reads no value on the host.

On tensors that have a device and no values: 'meta', with every build of torch, forward and
backward; and, with a build of torch that has CUDA (``make gpu-dry``), fake CUDA tensors, forward
under autocast to bfloat16. No GPU is needed for either.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))

from gpu.part_list import covered, parts, registered
from gpu.parts import Part, scalar, tensors_in

from mae_plugin import compat
from mae_plugin.engine.lars import LARS

DEVICES = ['meta'] + ['cuda'] * (torch.backends.cuda.is_built() and compat.TORCH >= (2, 6))
# Attention is left out: where there is no GPU to ask, torch takes the path written out in float32.
PRODUCTS = ('mm', 'addmm', 'convolution')
# Computed in full precision whatever the autocast: targets, and mixtures of layers.
EXACT = {
    'MAE, PCA target',
    'MAE, token target',
    'MAE, fused layers',
    'MAE, cross-attention decoder, mixed layers, a part predicted',
}


class Watch(TorchDispatchMode):
    """Notes operators that see another device, and those that multiply in full precision."""

    def __init__(self, device):
        super().__init__()
        self.device = device
        self.elsewhere = set()
        self.full_precision = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        operands = [arg for arg in args if isinstance(arg, torch.Tensor)]
        results = out if isinstance(out, (tuple, list)) else [out]
        results = [result for result in results if isinstance(result, torch.Tensor)]
        places = {tensor.device.type for tensor in [*operands, *results]}
        if self.device in places and len(places) > 1:
            self.elsewhere.add(name)
        if name in PRODUCTS and operands[0].dtype == torch.float32:
            self.full_precision.add(name)
        return out


@contextmanager
def autocast_without_a_gpu():
    """``torch.autocast('cuda', torch.bfloat16)``, which turns itself off where there is no GPU."""
    before = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
    torch.set_autocast_enabled('cuda', True)
    torch.set_autocast_dtype('cuda', torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled('cuda', before[0])
        torch.set_autocast_dtype('cuda', before[1])
        torch.clear_autocast_cache()


def on(device, inputs):
    """Inputs on a device; a sample's keys are the host's, and left out here."""
    if isinstance(inputs, dict):
        return dict(inputs=on(device, inputs['inputs']), data_samples=None)
    if isinstance(inputs, tuple):
        return tuple(on(device, item) for item in inputs)
    return torch.empty_like(inputs, device=device)


def run(part, device):
    """Run a part on tensors without values: what was seen, and its outputs."""
    torch.manual_seed(0)
    module, inputs = part.build(), part.inputs()
    module.train(part.trains)
    watch = Watch(device)
    if device == 'meta':
        module.to(device)
        inputs = on(device, inputs)
        with watch:
            outputs = part.run(module, inputs)
            if part.trains:
                scalar(outputs).backward()
        return watch, tensors_in(outputs)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        module.to(device)
        inputs = on(device, inputs)
        mode.allow_non_fake_inputs = False
        with autocast_without_a_gpu(), watch:
            outputs = part.run(module, inputs)
    return watch, tensors_in(outputs)


def test_the_list_has_every_registered_part():
    assert covered(parts()) == registered()


@pytest.mark.slow
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('part', parts(), ids=lambda part: part.name)
def test_tensors_stay_on_the_device_and_are_not_read(part, device):
    if compat.TORCH < (2, 5) and part.name.endswith('recomputing'):
        with pytest.raises(AttributeError, match="'meta'"):  # torch wants its random state
            run(part, device)
        return
    watch, outputs = run(part, device)
    assert outputs and not watch.elsewhere
    assert {tensor.device.type for tensor in outputs} == {device}
    if device == 'cuda':
        assert bool(watch.full_precision) == (part.name in EXACT)


class Faulty(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.table = torch.ones(3)  # no buffer: stays where it is
        self.fault = fault

    def forward(self, x):
        return self.fault(self, self.layer(x))


FAULTS = dict(
    item=lambda self, x: x * x.sum().item(),
    truth=lambda self, x: x if x.sum() > 0 else -x,
    choice=lambda self, x: x[x > 0],
    to_the_host=lambda self, x: x.cpu(),
    constant=lambda self, x: x * torch.ones(3),
    constant_sent=lambda self, x: x * torch.ones(3).to(x.device),
    not_moved=lambda self, x: x + self.table,
)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('fault', FAULTS)
def test_faults_are_seen(fault, device):
    part = Part(fault, (), lambda: Faulty(FAULTS[fault]), lambda: torch.ones(2, 3))
    try:
        watch, _ = run(part, device)
    except (RuntimeError, NotImplementedError, AssertionError):
        return  # torch itself refuses
    assert watch.elsewhere


@pytest.mark.parametrize('momentum', [0.0, 0.9])
def test_the_optimizer_reads_nothing(momentum):
    layer = nn.Linear(3, 3, device='meta')
    optimizer = LARS(layer.parameters(), lr=0.1, momentum=momentum, weight_decay=0.1)
    for _ in range(2):
        layer(torch.empty(2, 3, device='meta')).sum().backward()
        with Watch('meta') as watch:
            optimizer.step()
        assert not watch.elsewhere
