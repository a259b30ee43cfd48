"""``--schedule wsd`` and ``--cool-down``, on a config that has a cosine."""

import json

import pytest
from front_door import tiny_config, train, write_images


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / 'images', 4)
    tiny_config(tmp_path / 'tiny.py')
    return tmp_path


def rates(work_dir):
    found = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, path.read_text().splitlines()):
            if 'lr' in line:
                found[line['step']] = line['lr']
    return [rate for _, rate in sorted(found.items())]


@pytest.mark.slow
def test_a_run_without_end_is_prolonged_and_cooled_down(root, monkeypatch):
    place = root / 'tiny.py', root / 'images', root / 'run'
    train(monkeypatch, *place, '--schedule', 'wsd')
    train(
        monkeypatch, *place, '--schedule', 'wsd', '--cool-down', 2, '--resume',
        options=['train_cfg.max_epochs=3'],
    )  # fmt: skip
    found = rates(root / 'run')
    # Two iterations an epoch, the cool-down over the last four.
    assert [rate / found[0] for rate in found] == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    'flags, words',
    [
        (['--cool-down', 2], 'add --schedule wsd'),
        (['--schedule', 'wsd', '--cool-down', 2], 'does not fit'),
    ],
)
def test_what_is_wrong_is_one_line(root, monkeypatch, capsys, flags, words):
    with pytest.raises(SystemExit) as stop:
        train(monkeypatch, root / 'tiny.py', root / 'images', root / 'run', *flags)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_a_config_without_a_cosine_is_told(root, monkeypatch, capsys):
    config = tiny_config(root / 'none.py', extra='param_scheduler = None')
    with pytest.raises(SystemExit) as stop:
        train(monkeypatch, config, root / 'images', root / 'run', '--schedule', 'wsd')
    assert stop.value.code == 2 and 'has none' in capsys.readouterr().err
