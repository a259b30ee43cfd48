"""``--log``: curves and pictures arrive where the programs themselves look for them."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mae_plugin.cli import log_options
from mae_plugin.cli.log_options import TRACKERS, add_log_argument, add_trackers
from mae_plugin.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

from front_door import tiny_config, train, write_images


@pytest.fixture(scope='module')
def tracked(tmp_path_factory):
    """A run of two epochs of two iterations, told to both, and its JSON lines."""
    folder = tmp_path_factory.mktemp('runs')
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
        images = write_images(folder / 'images')
        extra = 'train_cfg = dict(max_epochs=2)\nvisualizer = dict(vis_backends='
        config = tiny_config(folder / 'tiny.py', extra=f'{extra}[dict(type="LocalVisBackend")])')
        train(monkeypatch, config, images, folder / 'run', '--log', 'tensorboard,mlflow')
    (lines,) = (folder / 'run').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    return folder, {row['step']: row['loss'] for row in rows if 'loss' in row}


@pytest.mark.slow
def test_tensorboard(tracked):
    folder, losses = tracked
    (events,) = (folder / 'run').glob('*/vis_data/events.out.*')
    found = EventAccumulator(str(events.parent))
    found.Reload()
    curve = {event.step: event.value for event in found.Scalars('loss')}
    assert curve == pytest.approx(losses) and sorted(curve) == [1, 2, 3, 4]
    assert [image.step for image in found.Images('reconstruction')] == [4]


@pytest.mark.slow
def test_mlflow_on_a_local_file(tracked):
    import mlflow  # takes seconds

    folder, losses = tracked
    mlflow.set_tracking_uri(f'sqlite:///{folder}/mlflow.db')
    client = mlflow.MlflowClient()
    (run,) = mlflow.search_runs(experiment_names=['mae_plugin'], output_format='list')
    assert run.info.run_name == 'run'
    curve = {m.step: m.value for m in client.get_metric_history(run.info.run_id, 'loss')}
    assert curve == pytest.approx(losses)
    kept = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {'reconstruction_4.png', 'config.py'} <= kept
    assert 'model.backbone.patch_size' in run.data.params


def test_a_server_that_is_named_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:5000')
    cfg = Config(dict(work_dir=str(tmp_path / 'run')))
    add_trackers(cfg, ['mlflow'])
    assert cfg.visualizer.vis_backends[-1]['tracking_uri'] == 'http://127.0.0.1:5000'


def test_what_a_config_has_is_kept(tmp_path):
    own = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    cfg = Config(dict(work_dir=str(tmp_path), visualizer=dict(type='X', vis_backends=own)))
    add_trackers(cfg, ['tensorboard'])
    assert [each.type for each in cfg.visualizer.vis_backends] == [each['type'] for each in own]
    assert cfg.visualizer.type == 'X'
    untold = Config(dict(work_dir=str(tmp_path)))
    add_trackers(untold, [])
    assert 'visualizer' not in untold


def test_every_backend_is_one_of_mmengine_or_ours(tmp_path):
    from mmengine.registry import VISBACKENDS

    for tracker in TRACKERS.values():
        settings = dict(type=tracker.backend, save_dir=str(tmp_path), **tracker.settings(tmp_path))
        VISBACKENDS.build(settings)


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(log_options, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='--log wandb needs the package wandb: pip install wandb'):
        add_trackers(Config(dict(work_dir=str(tmp_path))), ['wandb'])


def test_a_wrong_name_tells_the_right_ones(capsys):
    parser = ArgumentParser()
    add_log_argument(parser)
    assert parser.parse_args(['--log', 'mlflow,aim,mlflow']).log == ['mlflow', 'aim']
    with pytest.raises(SystemExit):
        parser.parse_args(['--log', 'tensorbord'])
    assert "'tensorbord' is none of tensorboard, mlflow, wandb" in capsys.readouterr().err
