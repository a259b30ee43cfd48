"""The GPU check: every stage to its end on a CPU, limits that hold, a record at every moment."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))

from gpu import (
    dense_backbone,
    equality,
    input_path,
    learning,
    parallel,
    training_run,
    training_step,
)
from gpu.context import Context, Failure
from gpu.dense_attention import WAYS
from gpu.kernels import attention_kernels
from gpu.parts import Part
from gpu.record import DRY, Record
from gpu.stages import STAGES, Stage, chosen
from gpu.supervisor import Supervisor
from gpu_check import main

from mae_plugin import compat
from mae_plugin.errors import UserError

pytestmark = pytest.mark.skipif(
    compat.TORCH < (2, 6), reason='the GPU check refuses torch without stances and FlexAttention'
)
ROOT = Path(__file__).parents[2]
MODULES = (
    equality,
    training_run,
    training_step,
    dense_backbone,
    input_path,
    parallel,
    learning,
)


def dry_run(module, tmp_path):
    """Run a stage in this process, and what it recorded."""
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    record = Record(tmp_path / 'record.json', dry=True)
    module.main(Context(record, scratch, 'cpu', dry=True, seconds=600))
    found = json.loads(record.path.read_text())
    assert found['tables'] and all(name.endswith(f'({DRY})') for name in found['tables'])
    assert all(goal['verdict'] == DRY for goal in found['goals'])
    suffix = f' ({DRY})'
    tables = {name.removesuffix(suffix): rows for name, rows in found['tables'].items()}
    return tables, found['goals']


def test_each_stage_has_its_module():
    assert [f'gpu.{stage.name}' for stage in STAGES] == [module.__name__ for module in MODULES]
    assert [stage.name for stage in chosen(None)] == [stage.name for stage in STAGES[:-1]]
    # Two minutes of a quarter of an hour are for the machine's start and for packages.
    assert sum(stage.seconds for stage in chosen(None)) <= 570
    with pytest.raises(UserError, match='no stage tea: choose from equality'):
        chosen(['tea'])


@pytest.mark.slow
def test_dry_run_of_equality(tmp_path):
    tables, _ = dry_run(equality, tmp_path)
    rows = tables['Errors relative to the CPU']
    assert {row['verdict'] for row in rows} == {'equal'}
    for precision in ('float32', 'bfloat16'):
        operators = [
            row['operators']
            for row in tables['Attention kernels']
            if row['precision'] == precision and '; ViT;' in row['parts']
        ]
        kernel = '_scaled_dot_product_flash_attention_for_cpu'
        assert operators == [f'{kernel}, {kernel}_backward']


def test_kernels_are_those_of_a_gpu():
    q = torch.ones(1, 2, 4, 8)
    assert attention_kernels(lambda: F.scaled_dot_product_attention(q, q, q)) == []


class Doubtful(nn.Module):
    """Computes something else in its copies, as a faulty kernel would."""

    def __init__(self, error):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.error = error

    def __deepcopy__(self, memo):
        copy = Doubtful(self.error)
        copy.load_state_dict(self.state_dict())
        copy.scale = 1 + self.error
        return copy

    scale = 1.0

    def forward(self, x):
        return self.layer(x) * self.scale


@pytest.mark.parametrize(
    'error, verdict', [(0.0, 'equal'), (1e-3, 'DIFFERENT'), (float('nan'), 'DIFFERENT')]
)
def test_a_difference_is_told(error, verdict):
    part = Part('doubtful', (), lambda: Doubtful(error), lambda: torch.ones(2, 4))
    row = equality.compare(part, 'cpu', {})
    assert row['verdict'] == verdict
    if error == 1e-3:
        assert row['float32, outputs'] == pytest.approx(1e-3, rel=1e-3)
        assert row['float32, gradients'] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.slow
def test_dry_run_of_training(tmp_path):
    tables, goals = dry_run(training_run, tmp_path)
    runs = {row['run']: row for row in tables['Runs']}
    assert {name: row['exit status'] for name, row in runs.items()} == dict(
        straight=0, interrupted=143, resumed=0, compiled=0
    )
    assert runs['resumed']['last loss'] == runs['straight']['last loss']
    assert runs['straight']['watched'] == runs['compiled']['watched'] > 0
    found = {goal['goal']: goal['found'] for goal in goals}
    assert found['a resumed run equals an uninterrupted one bit for bit'] == 'all weights equal'
    assert found['no wait for the GPU after warm-up'] == 'none'


@pytest.mark.slow
def test_dry_run_of_the_step(tmp_path):
    tables, goals = dry_run(training_step, tmp_path)
    models = {row['model']: row for row in tables['Tiny']}
    assert set(models) == {
        *('mae_plugin', 'mae_plugin, compiled', 'mae_plugin, cross-attention decoder'),
        *('mmpretrain MAE', 'HF ViTMAE', 'official code on timm'),
    }
    assert all(row['step (ms)'] > 0 for row in models.values())
    assert 'Peers that are absent' not in tables and len(goals) == 1


@pytest.mark.slow
def test_dry_run_of_the_dense_backbone(tmp_path):
    tables, _ = dry_run(dense_backbone, tmp_path)
    ((_, rows),) = tables.items()
    rows = {row['backbone']: row for row in rows}
    assert set(rows) == {*WAYS, 'mmpretrain ViTSAM'}
    # All ways are one function; those with FlexAttention train on a GPU alone.
    assert all(rows[name]['differs by'] < 1e-5 for name in WAYS)
    assert [name for name in rows if 'peak memory (GiB)' not in rows[name]] == [
        name for name in WAYS if 'Flex' in name
    ]


@pytest.mark.slow
def test_dry_run_of_several_processes(tmp_path):
    tables, goals = dry_run(parallel, tmp_path)
    assert {row['run']: row['exit status'] for row in tables['One GPU']} == dict(FSDP=0)
    assert goals[0]['found'].startswith('last losses differ by 0')
    assert [row['batch'] for row in tables['Memory against batch, ViT-tiny']] == [2]
    plain, recomputing = tables['Recomputing activations, ViT-tiny, batch 2']
    assert recomputing['peak memory (GiB)'] <= plain['peak memory (GiB)']


@pytest.mark.slow
def test_dry_run_of_learning(tmp_path):
    tables, _ = dry_run(learning, tmp_path)
    ((_, rows),) = tables.items()
    assert [row['model'] for row in rows] == ['mae_plugin', 'mmpretrain MAE']
    assert all(0 <= row['kNN'] <= 100 and row['images'] > 0 for row in rows)


@pytest.mark.slow
def test_a_failure_is_a_row_and_not_the_end(tmp_path):
    context = Context(Record(tmp_path / 'r.json'), tmp_path, 'cpu', dry=True, seconds=10)

    def out_of_memory():
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20 MiB')

    assert context.attempt('large', out_of_memory) == Failure('out of memory')
    failure = context.attempt('wrong', lambda: torch.ones(2) @ torch.ones(3))
    assert isinstance(failure, Failure) and 'RuntimeError' in str(failure)
    assert context.attempt('fine', lambda a, b: a + b, 1, 2) == 3


def test_a_stage_ends_at_its_limit_and_the_next_one_runs(tmp_path, capsys):
    hung = replace(chosen(['equality'])[0], seconds=1)
    late = chosen(['learning'])[0]
    start = time.monotonic()
    # 16 s are just enough to start a stage; after one second of it they no longer are.
    assert not Supervisor(tmp_path, budget=15.5, dry=False).run([hung, late])
    assert time.monotonic() - start < 15
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert [stage['status'] for stage in found['stages']] == [
        'ended at its limit of 1 s',
        'not run: 16 s are spent',
    ]
    page = (tmp_path / 'gpu_check.md').read_text()
    assert '| Equality with the CPU | ended at its limit of 1 s |' in page
    assert 'dry run' not in page


def test_a_stage_that_fails_is_named(tmp_path):
    unknown = Stage('no_such_stage', 'None', 30, '')
    assert not Supervisor(tmp_path, budget=60).run([unknown])
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    assert found['stages'][0]['status'] == 'failed: exit status 2, see log'
    assert 'no stage no_such_stage' in (tmp_path / 'gpu_check.log').read_text()


@pytest.mark.slow
def test_dry_run_of_the_input_path_by_the_command(tmp_path):
    assert main(['--dry', '--stages', 'input_path', '--out', str(tmp_path)]) == 0
    found = json.loads((tmp_path / 'gpu_check.json').read_text())
    (stage,) = found['stages']
    assert stage['status'] == 'done' and len(stage['goals']) == 1
    tables = stage['tables']
    (loader,) = (rows for name, rows in tables.items() if name.startswith('Loader'))
    assert all(row['images/s'] > 0 for row in loader)
    (step,) = tables[f'Step and loader ({DRY})']
    assert step['images/s, from the loader'] > 0
    rate = tables[f'Decoding on the device ({DRY})'][0]['images/s']
    # Of a torchvision that fits torch.
    assert rate > 0 if isinstance(rate, float) else rate.startswith('absent: ')
    assert found['dry_run'] and found['facts']['torch'] == torch.__version__
    page = (tmp_path / 'gpu_check.md').read_text()
    assert f'**{DRY}**' in page and '### Step and loader' in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *('gpu_check.json', 'gpu_check.log', 'gpu_check.md'),
    ]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, 'tools/dev/gpu_check.py', '--out', str(tmp_path / 'out')],
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''}, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2 and 'no CUDA GPU' in done.stderr and '--dry' in done.stderr
    assert not (tmp_path / 'out').exists()
