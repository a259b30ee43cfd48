"""``--probe-train``, ``--probe-val``, ``--held-out``: the folders on which a run is watched."""

import json

import pytest
from front_door import tiny_config, train, write_images

HOOKS = "custom_hooks = [dict(type='ExactResumeHook')]"


@pytest.fixture
def root(tmp_path):
    for split in ('train', 'val'):
        for seed, name in enumerate('ab'):
            write_images(tmp_path / 'labelled' / split / name, 3, seed=seed)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize('extra', ['', HOOKS], ids=['the hook of the config', 'no such hook'])
def test_the_flags_reach_the_monitor(root, monkeypatch, extra):
    config = tiny_config(root / 'tiny.py', extra=extra)
    labelled = root / 'labelled'
    train(
        monkeypatch, config, labelled / 'train', root / 'run',
        '--probe-train', labelled / 'train', '--probe-val', labelled / 'val',
    )  # fmt: skip
    (path,) = (root / 'run').glob('*/vis_data/scalars.json')
    names = {name for line in path.read_text().splitlines() for name in json.loads(line)}
    assert {'probe/knn', 'probe/linear', 'probe/rank', 'held_out/loss'} <= names


@pytest.mark.parametrize(
    'flags, words',
    [
        (['--probe-train', 'labelled/train'], 'go together'),
        (['--held-out', 'nothing'], 'nothing is no folder'),
        (['--probe-train', 'labelled', '--probe-val', 'nothing'], 'nothing is no folder'),
    ],
)
def test_what_is_wrong_is_one_line(root, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as stop:
        train(monkeypatch, tiny_config(root / 'tiny.py'), 'labelled/train', root / 'run', *flags)
    assert stop.value.code == 2 and words in capsys.readouterr().err
