"""The shell scripts: their exit statuses, and a test on several processes."""

import json
import os
import signal
import subprocess
import time

import pytest
from processes import REPO, free_port
from tiny_run import build_runner, log_lines, mae_config

from mae_plugin.engine.resume import find_resumable


def write_config(path, settings):
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in settings.items()))
    return path


def script(name, *arguments, **environment):
    return subprocess.Popen(
        [f'{REPO}/tools/{name}', *map(str, arguments)],
        env=dict(os.environ, PORT=str(free_port()), **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_schedulers_see_that_a_run_was_asked_to_leave(tmp_path, photos):
    runs = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        work_dir = tmp_path / number.name
        settings = mae_config(work_dir, photos, batch_size=8, epochs=2000)
        config = write_config(tmp_path / f'{number.name}.py', settings)
        runs[number] = script('dist_train.sh', config, 1), work_dir
    try:
        for number, (process, work_dir) in runs.items():
            end = time.monotonic() + 120
            while len(log_lines(work_dir)) < 3:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            process.send_signal(number)
        for number, (process, work_dir) in runs.items():
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 128 + number, output[-3000:]
            assert find_resumable(work_dir) is not None
    finally:
        for process, _ in runs.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh'])
def test_wrong_arguments_are_told_and_have_status_2(name):
    process = script(name, 'config.py', 'checkpoint.pth', 'eight')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f'tools/{name} CONFIG' in output


@pytest.mark.slow
def test_two_processes_test_as_one(tmp_path, photos):
    settings = mae_config(tmp_path / 'run', photos, batch_size=8, epochs=1)
    settings.update(
        test_dataloader=dict(
            settings['train_dataloader'], sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        test_evaluator=dict(type='ReconstructionLoss'),
        test_cfg=dict(type='TestLoop'),
    )
    runner = build_runner(settings, 'tested-by-one')
    runner.train()
    (name, expected), *_ = runner.test().items()

    config = write_config(tmp_path / 'config.py', settings)
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    process = script('dist_test.sh', config, checkpoint, 2, '--work-dir', tmp_path / 'two')
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output[-3000:]
    (result,) = (tmp_path / 'two').glob('*/*.json')
    assert json.loads(result.read_text())[name] == pytest.approx(expected, rel=1e-5)
