"""Several processes: the same run as one, whether averaged (DDP) or sharded (FSDP)."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from processes import REPO, finish, free_port, run, start, wait_for
from tiny_run import WIDTH, log_lines, mae_config, tiny_config

from mae_plugin import compat
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.engine.resume import find_resumable


def without_key_bias(weights):
    """The gradient of a key's bias is zero but for rounding, which AdamW blows up to full steps:
    the softmax does not see what is added to every key.
    """
    kept = {}
    for name, weight in weights.items():
        if name.endswith('qkv.bias'):
            query, _, value = weight.chunk(3)
            weight = torch.cat([query, value])
        kept[name] = weight
    return kept


def largest_difference(one, other):
    """The largest relative difference of any tensor."""
    one, other = without_key_bias(one), without_key_bias(other)
    assert one.keys() == other.keys()
    norms = {k: (one[k] - other[k]).double().norm() / one[k].double().norm() for k in one}
    return max(float(norm.nan_to_num(0)) for norm in norms.values())


def shipped_hooks():
    """Those of every pretraining run, with a picture every second epoch."""
    hooks = Config.fromfile(f'{REPO}/configs/_base_/default_runtime.py').to_dict()['custom_hooks']
    for hook in hooks:
        if hook['type'] == 'mae_plugin.ReconstructionHook':
            hook['interval'] = 2
    return hooks


def pictures(work_dir):
    """By iteration; where several runs drew one, the last."""
    paths = sorted(work_dir.glob('*/vis_data/vis_image/reconstruction_*.png'))
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in paths}


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory, photos):
    """The run of two processes through ``tools/dist_train.sh``: work dir."""
    work_dir = tmp_path_factory.mktemp('two')
    config = work_dir.parent / 'two.py'
    settings = mae_config(work_dir, photos, batch_size=4, custom_hooks=shipped_hooks())
    config.write_text('\n'.join(f'{key} = {value!r}' for key, value in settings.items()))
    done = subprocess.run(
        [f'{REPO}/tools/dist_train.sh', config, '2'],
        env=dict(os.environ, PORT=str(free_port())),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path, photos, two_processes):
    run(mae_config(tmp_path, photos, batch_size=8))
    one = safe_load(tmp_path / 'epoch_5.pth')
    two = safe_load(two_processes / 'epoch_5.pth')
    assert one['meta']['iter'] == two['meta']['iter'] == 25
    assert largest_difference(one['state_dict'], two['state_dict']) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(
    compat.TORCH < (2, 4), reason='before torch 2.4 FSDPStrategy says that it needs it'
)
@pytest.mark.parametrize('sharded', [False, True])
def test_fsdp_equals_ddp_resumes_and_gathers(tmp_path, photos, two_processes, sharded):
    strategy = dict(type='mae_plugin.FSDPStrategy', sharded=sharded)
    changes = dict(runner_type='FlexibleRunner', strategy=strategy, custom_hooks=shipped_hooks())
    config = mae_config(tmp_path / 'run', photos, batch_size=4, **changes)
    # As in the recipe for ViT-H: recomputing gathers a block's weights once more.
    config['model']['backbone']['use_checkpoint'] = True
    if sharded:
        processes = start(config, world=2)
        wait_for(tmp_path / 'run' / 'epoch_2.pth')
        for process in processes:
            process.kill()
        finish(processes)
    run(config, resume='auto', world=2)

    whole = tmp_path / 'whole.pth'
    command = ['tools/gather_checkpoint.py', tmp_path / 'run' / 'epoch_5.pth', whole]
    if sharded:
        subprocess.run(['python', *command], check=True, cwd=REPO)
    else:
        whole = tmp_path / 'run' / 'epoch_5.pth'
    gathered = safe_load(whole)
    expected = safe_load(two_processes / 'epoch_5.pth')
    assert largest_difference(gathered['state_dict'], expected['state_dict']) < 1e-4
    logged = log_lines(tmp_path / 'run')
    trained = {step: line for step, line in log_lines(two_processes).items() if step > 0}
    assert len(trained) > 1
    for step, line in trained.items():
        assert logged[step]['loss'] == pytest.approx(line['loss'], rel=1e-4)
    drawn = pictures(two_processes)
    assert list(drawn) == [f'reconstruction_{step}.png' for step in (10, 20, 25)]
    for name, picture in pictures(tmp_path / 'run').items():
        assert abs(picture - drawn.pop(name)).max() <= 2
    assert not drawn.keys() - {'reconstruction_10.png'}  # the kill may have come before it

    from mae_plugin.models import ViTBackbone

    backbone = ViTBackbone(
        arch=dict(embed_dims=WIDTH, num_layers=2, num_heads=2),
        img_size=64,
        patch_size=8,
        init_cfg=dict(type='Pretrained', checkpoint=str(whole), prefix='backbone.'),
    )
    backbone.init_weights()
    loaded = backbone.state_dict()['blocks.1.mlp.fc1.weight']
    assert torch.equal(loaded, gathered['state_dict']['backbone.blocks.1.mlp.fc1.weight'])


@pytest.mark.slow
def test_a_nan_on_one_process_is_skipped_by_both(tmp_path):
    config = tiny_config(tmp_path, epochs=5)
    config['model'].update(poison={3: 'loss', 6: 'grad'}, poison_rank=1)
    config['custom_hooks'].append(dict(type='NonFiniteGuard', max_in_row=2))
    config['default_hooks']['checkpoint'].update(interval=100)
    run(config, world=2)
    last = safe_load(find_resumable(tmp_path))
    assert last['message_hub']['runtime_info']['skipped_steps'] == 2
    assert all(torch.isfinite(weight).all() for weight in last['state_dict'].values())
    steps = {int(state['step']) for state in last['optimizer']['state'].values()}
    assert steps == {last['meta']['iter'] - 2}
    for rank in range(2):
        lines = (tmp_path / f'non_finite_rank{rank}.txt').read_text().splitlines()
        assert [line.split('\t')[0] for line in lines] == ['iteration 4', 'iteration 7']


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_and_each_gets_its_random_state_back(tmp_path):
    def config(name):
        made = tiny_config(tmp_path / name, epochs=4)
        made['randomness'].update(diff_rank_seed=True)
        made['model'].update(delay=0.05)
        made['default_hooks']['checkpoint'].update(interval=100)
        made['custom_hooks'].append(dict(type='PreemptionHook', lag=2))
        return made

    run(config('whole'), world=2)
    processes = start(config('parts'), world=2)
    wait_for(tmp_path / 'parts' / 'output-0.txt')
    while not log_lines(tmp_path / 'parts'):
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert finish(processes) == [143, 143]
    stopped = safe_load(find_resumable(tmp_path / 'parts'))['meta']['iter']
    assert 0 < stopped < 8
    run(config('parts'), resume='auto', world=2)
    final = [safe_load(find_resumable(tmp_path / name)) for name in ('whole', 'parts')]
    assert final[0]['meta']['iter'] == final[1]['meta']['iter'] == 8
    for name, weight in final[0]['state_dict'].items():
        assert torch.equal(weight, final[1]['state_dict'][name])


@pytest.mark.slow
def test_all_processes_resume_from_what_rank_0_found(tmp_path):
    """Rank 1's disk does not show the newest checkpoint yet."""
    config = tiny_config(tmp_path / 'disk-{rank}', epochs=2)
    run(config, world=2, logs=tmp_path)
    disk = tmp_path / 'disk-0'
    expected = safe_load(disk / 'iter_4.pth')
    for iteration in (3, 4):
        (disk / f'iter_{iteration}.pth').unlink()
    shutil.copy(disk / 'iter_1.pth', tmp_path / 'disk-1')
    run(config, resume='auto', world=2, logs=tmp_path)
    final = safe_load(disk / 'iter_4.pth')
    assert largest_difference(final['state_dict'], expected['state_dict']) == 0


# The other machine takes a minute more: tools/dev/fault_table.py has it.
IN_TABLE = pytest.mark.skipif('FAULT_KILLS' not in os.environ, reason='tools/dev/fault_table.py')


@pytest.mark.slow
@pytest.mark.parametrize('lost', [1, pytest.param(0, marks=IN_TABLE)])
def test_a_lost_machine_comes_back_and_the_run_ends_right(tmp_path, photos, two_processes, lost):
    """Without machine 0, where they meet, the other ends too: its scheduler starts both again."""
    work_dir = tmp_path / 'run'
    settings = mae_config(work_dir, photos, batch_size=4)
    config = tmp_path / 'elastic.py'
    config.write_text('\n'.join(f'{key} = {value!r}' for key, value in settings.items()))
    shared = dict(NNODES='2', PORT=str(free_port()), MAX_RESTARTS='3')

    def node(rank):
        return subprocess.Popen(
            [f'{REPO}/tools/dist_train.sh', config, '1'],
            env=dict(os.environ, NODE_RANK=str(rank), **shared),
            stdout=(tmp_path / f'node-{rank}.txt').open('ab'),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    nodes = [node(0), node(1)]
    try:
        wait_for(work_dir / 'epoch_2.pth')
        kill_machine(nodes[lost].pid)
        if lost == 0:
            assert nodes[1].wait(timeout=120) == 1
            nodes.append(node(0))
        nodes.append(node(1))
        codes = [process.wait(timeout=300) for process in nodes]
    finally:
        for process in nodes:
            if process.poll() is None:
                kill_machine(process.pid)
    expected = [0, -signal.SIGKILL, 0] if lost else [-signal.SIGKILL, 1, 0, 0]
    assert codes == expected, (tmp_path / 'node-0.txt').read_text()[-3000:]
    # Rank 0 says so, on whichever machine it is now.
    assert any('resuming from' in path.read_text() for path in tmp_path.glob('node-*.txt'))
    final = safe_load(work_dir / 'epoch_5.pth')['state_dict']
    expected = safe_load(two_processes / 'epoch_5.pth')['state_dict']
    assert largest_difference(final, expected) < 1e-5


def kill_machine(pid):
    """SIGKILL a process and all below it, children of other sessions included."""
    below = [pid]
    for parent in below:
        for path in Path(f'/proc/{parent}/task').glob('*/children'):
            below += [int(child) for child in path.read_text().split()]
    for process in below:
        os.kill(process, signal.SIGKILL)
