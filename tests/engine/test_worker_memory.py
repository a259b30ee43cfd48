"""A forked data worker lets go of the model; nobody else's memory is touched."""

import multiprocessing
import pickle
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mae_plugin.engine.worker_memory import LeanInit

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs fork and madvise')


def fill(index):
    fill.called = index


class Seen(Dataset):
    """What a worker sees of a model, which data sets have no use for."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 2

    def __getitem__(self, index):
        seen = [weight.detach().abs().sum() for weight in self.model.parameters()]
        own = torch.full((1 << 20,), 3.0)  # memory that was free may be used again
        return torch.stack([*seen, own.mean(), torch.tensor(float(fill.called))])


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
        # Of the 1 MiB at most the pages at its ends are left.
        assert seen[0] <= before[0].flatten()[:1024].abs().sum() * 3
        assert seen[-2] == 3 and seen[-1] == number
    for weight, was, gradient in zip(model.parameters(), before, gradients, strict=True):
        assert torch.equal(weight, was) and torch.equal(weight.grad, gradient)


def test_another_process_gets_no_model():
    init = pickle.loads(pickle.dumps(LeanInit(fill, nn.Linear(2, 2))))
    assert init.model is None
    init(5)
    assert fill.called == 5
