"""Trying batches of a real model: on one process, on two that must agree, and on what cannot."""

import os

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from processes import _context, free_port
from tiny_run import TinyModel, mae_config, tiny_config
from torch import nn

from mae_plugin.engine import batch_probe, meters
from mae_plugin.engine.batch_probe import find_batch
from mae_plugin.engine.cpu_tuning import keep_freed_memory
from mae_plugin.engine.machine import used_memory
from mae_plugin.errors import UserError


def probe(rank, world, port, case, queue):
    """What one process of a run finds."""
    names = dict(RANK=rank, WORLD_SIZE=world, LOCAL_RANK=rank, MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ['MASTER_ADDR'] = '127.0.0.1'
    torch.distributed.init_process_group('gloo')
    if rank == 1 and case == 'slow':
        meters.CPU_SECONDS = 0.0
    if rank == 1 and case == 'full':
        batch_probe.available_memory = lambda: 1000
    try:
        found = find_batch(Config(tiny_config('unused', batch_size=6)))
        queue.put((rank, found.size, found.why))
    except UserError as error:
        queue.put((rank, None, str(error)))


@pytest.mark.slow
@pytest.mark.parametrize(
    'case, size, words', [('slow', 1, 'more take'), ('full', None, 'not even')]
)
def test_processes_agree_on_what_the_least_of_them_takes(case, size, words):
    context = _context()
    queue, port = context.Queue(), free_port()
    processes = [
        context.Process(target=probe, args=(rank, 2, port, case, queue)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    answers = sorted(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert [answer[1] for answer in answers] == [size, size]
    assert all(words in answer[2] for answer in answers)


@MODELS.register_module(force=True)
class Picky(TinyModel):
    """Notes the batches that it was given, and fails or counts them as it is told."""

    seen: list = []

    def __init__(self, batch_norm=False, fails=False, megabytes=0, **kwargs):
        super().__init__(**kwargs)
        self.fails = fails
        self.kept = [torch.ones(250_000) for _ in range(megabytes)]
        self.norm = nn.BatchNorm1d(192) if batch_norm else nn.Identity()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.seen.append(len(inputs))
        if self.fails:
            raise KeyError('of the model')
        self.norm(inputs.float().flatten(1))
        return super().forward(inputs, data_samples, mode)


@pytest.fixture
def find(capsys):
    """Find the batch of a tiny run; also the batches that were tried, and what was said."""
    Picky.seen.clear()

    def run(batch_size=6, **model):
        found = find_batch(
            Config(tiny_config('unused', batch_size=batch_size, model=dict(type='Picky', **model)))
        )
        return found, list(dict.fromkeys(Picky.seen)), capsys.readouterr().out

    return run


def test_doubling_up_to_the_config_s(find):
    found, tried, said = find(batch_size=6)
    assert found.size == 6 and tried == [1, 2, 4, 6]
    assert '--batch-size N' in said and said.count('\n') == 1


def test_a_batch_norm_never_gets_one_image(find):
    found, tried, _ = find(batch_size=6, batch_norm=True)
    assert found.size == 6 and tried == [2, 4, 6]


def test_no_more_than_the_images_that_there_are(find):
    found, _, _ = find(batch_size=500)
    assert found == (21, 'there are 21 images')


def test_a_step_that_fails_leaves_the_config_s_batch_and_its_error_to_the_run(find):
    found, tried, _ = find(batch_size=6, fails=True)
    assert found == (6, 'it could not be tried') and tried == [1]


@pytest.mark.slow
def test_the_memory_of_the_search_is_the_run_s(find):
    """The C library keeps what is freed, and the run's tensors would not fit between the rests."""
    keep_freed_memory()
    find()
    before = used_memory()
    find(megabytes=400)
    assert used_memory() - before < 100e6


def test_random_generators_stay_as_they_were(find):
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(4), np.random.rand(4)
    torch.manual_seed(3)
    np.random.seed(3)
    find(dropout=0.5)
    assert torch.equal(torch.rand(4), expected[0]) and (np.random.rand(4) == expected[1]).all()


def test_a_target_that_a_hook_fits_before_the_run(tmp_path):
    from PIL import Image

    from mae_plugin.engine.probe_step import ProbeStep, without_trace

    (tmp_path / 'photos').mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / 'photos' / f'{number}.png')
    config = mae_config(tmp_path, tmp_path / 'photos', batch_size=2)
    config['model']['head']['target'] = dict(type='PCATarget', patch_size=8, num_components=16)
    config['custom_hooks'].append(dict(type='PCAFitHook'))
    cfg = Config(config)
    with without_trace(cfg):
        step = ProbeStep(cfg, 'cpu')
        step.build()
        step.fill_optimizer()
        step(5)  # more images than are read
        step.forward(2)
