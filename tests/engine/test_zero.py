"""DeepSpeed's ZeRO: the same run as DDP, and checkpoints that are checked before they are used."""

import importlib.util
import os
import shutil
import sys

import pytest
import torch
from processes import REPO, run
from tiny_run import log_lines, mae_config, tiny_config
from torch import nn

from mae_plugin import compat
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.engine.resume import find_resumable, resolve_resume
from mae_plugin.engine.zero import DeepSpeedOptimWrapper, DeepSpeedStrategy, refuse_code

WEIGHTS = 'mp_rank_00_model_states.pt'


def written(folder, iteration, states=2):
    """A folder as DeepSpeed writes it on two processes, with the state of ``states`` of them."""
    folder.mkdir()
    content = dict(
        module=dict(w=torch.ones(2)),
        optimizer=None,
        dp_world_size=2,
        meta=dict(iter=iteration, epoch=0),
    )
    torch.save(content, folder / WEIGHTS)
    for rank in range(states):
        torch.save(dict(rank=rank), folder / f'zero_pp_rank_{rank}_mp_rank_00_optim_states.pt')
    return folder


def test_folders_are_found_and_counted(tmp_path):
    good = written(tmp_path / 'epoch_1.pth', 5)
    written(tmp_path / 'epoch_2.pth', 10, states=1)
    assert find_resumable(tmp_path) == str(good)
    with pytest.raises(ValueError, match='holds 2 of 3 files'):
        resolve_resume(str(tmp_path / 'epoch_2.pth'), tmp_path)


def test_the_weights_are_gathered_into_one_plain_file(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('tool', f'{REPO}/tools/gather_checkpoint.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = ['tool', str(written(tmp_path / 'epoch_1.pth', 5)), str(tmp_path / 'plain.pth')]
    monkeypatch.setattr(sys, 'argv', arguments)
    tool.main()
    plain = safe_load(tmp_path / 'plain.pth')
    assert torch.equal(plain['state_dict']['w'], torch.ones(2)) and plain['meta']['iter'] == 5
    monkeypatch.setattr(sys, 'argv', [*arguments, '--with-optimizer'])
    with pytest.raises(SystemExit):
        tool.main()
    assert 'only DeepSpeed can use' in capsys.readouterr().err


class Malicious:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ('touch EXECUTED',)


@pytest.mark.skipif(
    compat.TORCH < (2, 6), reason='before torch 2.6 files of DeepSpeed are refused altogether'
)
def test_code_in_a_file_is_refused_before_deepspeed_unpickles_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path / 'epoch_1.pth', 5)
    refuse_code(folder)
    torch.save(dict(state=Malicious()), folder / 'zero_pp_rank_1_mp_rank_00_optim_states.pt')
    with pytest.raises(ValueError, match=r'rank_1.* was refused: .*posix\.system'):
        refuse_code(folder)
    assert not (tmp_path / 'EXECUTED').exists()


class Engine:
    """What the wrapper asks of DeepSpeed's engine."""

    def __init__(self):
        self.steps = 0

    def backward(self, loss):
        loss.backward()

    def step(self):
        self.steps += 1


def test_a_loss_that_is_not_finite_makes_no_step():
    wrapper = DeepSpeedOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0))
    wrapper.model = Engine()
    told = []
    for factor in (1.0, float('nan'), float('inf'), 1.0):
        weight = torch.ones((), requires_grad=True)
        wrapper.update_params(weight * factor)
        told.append(bool(wrapper.take_skipped()))
        assert (weight.grad is None) == told[-1]
    assert told == [False, True, True, False] and wrapper.model.steps == 2
    assert wrapper.take_skipped() is None


def test_a_missing_deepspeed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'deepspeed', None)
    with pytest.raises(ValueError, match=r'pip install "deepspeed<0\.19"'):
        DeepSpeedStrategy()


@pytest.fixture
def deepspeed(monkeypatch):
    """DeepSpeed on the CPU, for this process and its children."""
    monkeypatch.setenv('DS_ACCELERATOR', 'cpu')
    pytest.importorskip('deepspeed.runtime.fp16.onebit')


def zero(config):
    strategy = dict(type='mae_plugin.DeepSpeedStrategy', zero_optimization=dict(stage=2))
    config['optim_wrapper'].update(type='mae_plugin.DeepSpeedOptimWrapper')
    return dict(config, runner_type='FlexibleRunner', strategy=strategy)


def test_zero_equals_ddp_and_resumes_exactly(tmp_path, photos, deepspeed):
    def config(name):
        made = mae_config(tmp_path / name, photos, batch_size=4, epochs=3)
        made['auto_scale_lr'] = dict(enable=True, base_batch_size=16)
        return made

    run(config('ddp'), world=2)
    run(zero(config('zero')), world=2)
    newest = tmp_path / 'zero' / 'epoch_3.pth'
    final = safe_load(newest / WEIGHTS)['module']
    for name, weight in safe_load(tmp_path / 'ddp' / 'epoch_3.pth')['state_dict'].items():
        torch.testing.assert_close(final[name], weight, rtol=1e-5, atol=1e-6)
    losses = [
        [line['loss'] for _, line in sorted(log_lines(tmp_path / name).items())]
        for name in ('ddp', 'zero')
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    shutil.rmtree(newest)
    run(zero(config('zero')), resume='auto', world=2)
    again = safe_load(newest / WEIGHTS)['module']
    assert all(torch.equal(again[name], weight) for name, weight in final.items())


def test_a_nan_on_one_process_is_skipped_by_both(tmp_path, deepspeed):
    config = tiny_config(tmp_path, epochs=5)
    config['model'].update(poison={3: 'loss'}, poison_rank=1)
    config['custom_hooks'].append(dict(type='NonFiniteGuard', max_in_row=2))
    config['default_hooks']['checkpoint'].update(interval=100)
    run(zero(config), world=2)
    last = safe_load(tmp_path / 'iter_10.pth' / WEIGHTS)
    assert last['message_hub']['runtime_info']['skipped_steps'] == 1
    assert all(torch.isfinite(weight).all() for weight in last['module'].values())
