"""A forked data worker lets go of the model; nobody else's memory is touched."""

import multiprocessing
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mae_plugin.engine.worker_memory import LeanInit

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs fork')


def fill(index):
    fill.called = index


class Seen(Dataset):
    """What a worker sees of a model, which data sets have no use for."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 2

    def __getitem__(self, index):
        weights = sum(weight.numel() for weight in self.model.parameters())
        return torch.tensor([weights, fill.called])


def private_kib():
    """Memory that this process shares with no other."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()[1:]
    fields = dict(line.split(':') for line in lines)
    return sum(int(fields[f'Private_{kind}'].split()[0]) for kind in ('Clean', 'Dirty'))


class Held(Dataset):
    """How much a worker holds before and after the run has changed its weights."""

    def __init__(self, changed):
        self.changed = changed

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            assert self.changed.wait(60)
        return private_kib()


def test_a_forked_worker_sees_no_weights_and_the_run_all_of_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 2))
    model(torch.ones(1, 512)).sum().backward()
    before = [weight.detach().clone() for weight in model.parameters()]
    gradients = [weight.grad.clone() for weight in model.parameters()]
    loader = DataLoader(
        Seen(model), num_workers=2, worker_init_fn=LeanInit(fill, model),
        multiprocessing_context=multiprocessing.get_context('fork'),
    )  # fmt: skip
    for number, (seen,) in enumerate(loader):
        assert seen.tolist() == [0, number]
    for weight, was, gradient in zip(model.parameters(), before, gradients, strict=True):
        assert torch.equal(weight, was) and torch.equal(weight.grad, gradient)


@pytest.mark.parametrize('lean', [False, True])
def test_a_worker_does_not_keep_what_the_weights_were(lean):
    context = multiprocessing.get_context('fork')
    changed = context.Event()
    model = nn.Linear(4096, 2048, bias=False)  # 32 MiB
    loader = iter(
        DataLoader(
            Held(changed), batch_size=None, num_workers=1, multiprocessing_context=context,
            worker_init_fn=LeanInit(None, model) if lean else None, prefetch_factor=1,
        )
    )  # fmt: skip
    first = next(loader)
    with torch.no_grad():
        model.weight.add_(1)
    changed.set()
    grown = (next(loader) - first) / 1024
    assert grown < 8 if lean else grown > 24


def test_another_process_gets_no_model():
    init = pickle.loads(pickle.dumps(LeanInit(fill, nn.Linear(2, 2))))
    assert init.model is None
    init(5)
    assert fill.called == 5
