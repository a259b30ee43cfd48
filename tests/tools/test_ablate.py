"""Tables of ablations: shrinking, results that survive interruptions, and a real run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import ablate  # noqa: E402
from ablation.results import Results, Row, agreement, cell, markdown, write_csv  # noqa: E402
from ablation.scales import SCALES, shrink  # noqa: E402

from mae_plugin.engine.image_shape import hand_on_image_shape  # noqa: E402
from mae_plugin.registry import MODELS  # noqa: E402

ROWS = sorted((ROOT / 'configs/ablations').glob('*/*.py'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name, colour in (('red', (0, 0, 200)), ('green', (0, 200, 0))):
            (root / split / name).mkdir(parents=True)
            for index in range(6):
                noise = rng.integers(0, 55, (64, 64, 3))
                path = root / split / name / f'{index}.png'
                cv2.imwrite(str(path), (noise + colour).astype(np.uint8))
    return root


@pytest.mark.slow
@pytest.mark.parametrize('path', ROWS, ids=lambda path: path.stem)
def test_every_row_shrinks_to_a_model_that_builds(path):
    cfg = Config.fromfile(str(path))
    assert set(cfg.ablation.paper) <= {'fine_tune', 'linear'}
    small = shrink(cfg.to_dict(), SCALES['tiny'])
    if 'tokenizer' in small:  # would be downloaded
        small['model']['head']['target'] = dict(type='PixelTarget', patch_size=8)
    model = MODELS.build(small['model'])
    assert model.backbone.grid == (8, 8)
    assert sum(p.numel() for p in model.parameters()) < 3e6
    hand_on_image_shape(small)
    crop = small['train_dataloader']['dataset']['pipeline'][0]
    assert crop['size'] == 64


def test_the_tiny_default_is_a_quarter_as_deep_and_an_eighth_as_wide():
    cfg = Config.fromfile(str(ROOT / 'configs/ablations/default.py')).to_dict()
    model = shrink(cfg, SCALES['tiny'])['model']
    assert model['backbone']['arch'] == dict(
        embed_dims=128, num_layers=6, num_heads=4, mlp_ratio=4.0
    )
    assert (model['decoder']['embed_dims'], model['decoder']['depth']) == (64, 4)
    assert cfg['model']['backbone']['arch'] == 'large'  # the original is left alone


def test_shared_rows_have_one_key_and_changed_knobs_another(folder):
    args = ablate.parse_args(['mask-ratio', 'target', 'schedule', '--data-root', str(folder)])
    tables, specs = ablate.load_tables(args)
    by_name = {row.name: row for rows in tables.values() for row in rows}
    assert by_name['75%'].key == by_name['pixel'].key == by_name['800 epochs'].key
    assert [row.name for row in tables['mask-ratio']][:3] == ['10%', '20%', '30%']
    assert len(specs) == 10 + 4 + 5 - 2 + 1  # the default counted once, and random weights
    iterations = {
        row.name: specs[row.key]['config']['train_cfg']['max_iters']
        for row in tables['schedule'][:-1]
    }
    assert iterations['1600 epochs'] == 2 * iterations['800 epochs']


def test_results_survive_and_replace_nothing_else(tmp_path):
    path = tmp_path / 'out' / 'results.jsonl'
    results = Results(path)
    results.add(dict(key='a', seed=0, knn=10.0))
    results.add(dict(key='a', seed=1, knn=14.0))
    again = Results(path)
    assert ('a', 0) in again and ('a', 1) in again and ('b', 0) not in again
    assert cell(again.of(Row('t', 'r', {}, 'a'), [0, 1]), 'knn') == (12.0, pytest.approx(8**0.5))
    assert {file.name for file in path.parent.iterdir()} == {'results.jsonl', 'results.lock'}


def test_two_commands_on_one_file_lose_nothing(tmp_path):
    one, other = Results(tmp_path / 'results.jsonl'), Results(tmp_path / 'results.jsonl')
    one.add(dict(key='a', seed=0, knn=1.0))
    other.add(dict(key='b', seed=0, knn=2.0))
    assert {('a', 0), ('b', 0)} <= Results(tmp_path / 'results.jsonl').runs.keys()


def test_a_run_that_ended_unseen_is_adopted(folder, tmp_path, capsys):
    args = ['loss', '--rows', 'loss-on-masked', '--data-root', f'{folder}/', '--seeds', '0']
    args += ['--out', str(tmp_path), '--cfg-options', 'train_cfg.max_iters=2']
    _, specs = ablate.load_tables(ablate.parse_args(args))
    for key, spec in specs.items():
        run = ablate.run_folder(tmp_path, key, 0)
        run.mkdir(parents=True)
        (run / 'spec.json').write_text(json.dumps(dict(spec, seed=0)))
        (run / 'result.json').write_text(json.dumps(dict(knn=12.5, linear=25.0)))
    # As after a shell's completion of the folder, and without: the same runs.
    args[4] = str(folder)
    assert ablate.main(args) == 0
    assert '2 runs, 2 of them finished before' in capsys.readouterr().out
    assert '| 12.5 | 25.0 |' in (tmp_path / 'loss.md').read_text()


def test_rows_that_shrink_to_one_run_say_so(tmp_path):
    rows = [Row('t', name, {}, key) for name, key in (('1', 'a'), ('2', 'a'), ('4', 'b'))]
    text = markdown(rows, Results(tmp_path / 'results.jsonl'), [0])
    assert '| 1 |' in text and '| 2 (here the same run as 1) |' in text and '| 4 |' in text


def test_blocks_keep_their_share_of_the_grid():
    cfg = Config.fromfile(str(ROOT / 'configs/ablations/mask-sampling/mask-block-50.py'))
    # 16 of 14 x 14 patches are 5 of 8 x 8.
    assert shrink(cfg.to_dict(), SCALES['tiny'])['model']['masking']['min_patches'] == 5


def test_table_shows_means_spread_and_whether_the_papers_orders_hold(tmp_path):
    results = Results(tmp_path / 'results.jsonl')
    paper = dict(worse=60.0, better=70.0, close=70.2)
    ours = dict(worse=(10.0, 12.0), better=(20.0, 22.0), close=(5.0, 7.0))
    rows = [Row('t', name, dict(linear=value), name) for name, value in paper.items()]
    for name, values in ours.items():
        for seed, value in enumerate(values):
            results.add(dict(key=name, seed=seed, knn=value, linear=value))
    sentence = agreement(rows, results, [0, 1], 'linear')
    # better > worse holds; close > worse does not; close and better are too near in the paper.
    assert '1 of 2 pairs' in sentence and '(1 of them by more' in sentence
    assert '1 are not (1 of them clearly)' in sentence
    text = markdown(rows, results, [0, 1])
    assert '| better | – | 70.0 | 21.0 ± 1.4 | 21.0 ± 1.4 | – | – | – | 2 |' in text
    write_csv(tmp_path / 't.csv', rows, results, [0, 1])
    assert len((tmp_path / 't.csv').read_text().splitlines()) == 1 + 6


def test_wrong_tables_and_folders_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        ablate.parse_args(['mask-ration', '--data-root', 'x'])
    assert 'mask-ration' in capsys.readouterr().err
    mine = tmp_path / 'mask-ratio'
    mine.mkdir()
    (mine / 'row.py').touch()
    with pytest.raises(SystemExit):
        ablate.parse_args(['mask-ratio', str(mine), '--data-root', 'x'])
    assert 'two tables of one name' in capsys.readouterr().err
    args = ablate.parse_args(['mask-ratio', '--data-root', str(tmp_path)])
    with pytest.raises(ValueError, match='no folder train/'):
        ablate.load_tables(args)


@pytest.mark.slow
def test_an_interrupted_table_goes_on_and_repeats_no_finished_run(folder, tmp_path):
    out = tmp_path / 'out'
    command = [sys.executable, str(ROOT / 'tools/ablate.py'), 'loss', '--rows', 'loss-on-masked']
    command += ['--data-root', str(folder), '--out', str(out), '--seeds', '0']
    command += ['--cfg-options', 'train_cfg.max_iters=2']
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    results = out / 'results.jsonl'
    while not results.is_file():
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert first.wait() == 130
    finished = json.loads(results.read_text())  # one line: one finished run
    (folder_of_first,) = {path.parent for path in (out / 'runs').glob('*/result.json')}
    stamp = folder_of_first.stat().st_mtime_ns

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.startswith('2 runs, 1 of them finished before')
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert lines[0] == finished and len(lines) == 2
    assert folder_of_first.stat().st_mtime_ns == stamp
    assert {'loss.md', 'loss.csv', 'loss.png'} <= {path.name for path in out.iterdir()}
    assert '| masked patches | 84.9 | 73.5 |' in (out / 'loss.md').read_text()
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout.startswith('2 runs, 2 of them finished before')


@pytest.mark.slow
def test_a_table_of_ones_own_with_parts_of_ones_own(folder, tmp_path):
    (tmp_path / 'own_parts.py').write_text(
        'import torch\n'
        'from mae_plugin.models.masking import Masking\n'
        'from mae_plugin.registry import MODELS\n'
        '@MODELS.register_module(force=True)\n'
        'class KeepTop(Masking):\n'
        '    def score(self, noise, grid):\n'
        '        return torch.arange(grid[0] * grid[1]).expand(noise.shape[0], -1)\n'
        '@MODELS.register_module(force=True)\n'
        'class FlatDecoder(torch.nn.Module):\n'
        '    def __init__(self, in_dims):\n'
        '        super().__init__()\n'
        '        self.lift = torch.nn.Linear(in_dims, 64)\n'
        '    def forward(self, tokens, ids_keep, ids_masked, grid, num_predict=None):\n'
        '        return self.lift(tokens[:, :1]).expand(-1, num_predict, -1)\n'
    )
    table = tmp_path / 'mine'
    table.mkdir()
    (table / 'top.py').write_text(
        f"_base_ = '{ROOT}/configs/ablations/default.py'\n"
        "custom_imports = dict(imports=['own_parts'])\n"
        "model = dict(masking=dict(_delete_=True, type='KeepTop', mask_ratio=0.5),\n"
        "             decoder=dict(_delete_=True, type='FlatDecoder', in_dims=1024))\n"
    )
    out = tmp_path / 'out'
    done = subprocess.run(
        [
            sys.executable, ROOT / 'tools/ablate.py', table, '--data-root', folder, '--out', out,
            '--seeds', '0', '--cfg-options', 'train_cfg.max_iters=2',
        ],
        env={**os.environ, 'PYTHONPATH': str(tmp_path), 'OMP_NUM_THREADS': '1'},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (out / 'mine.md').read_text()
    assert '| top | – | – |' in rows and '| random weights |' in rows
    results = [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]
    assert {result['row'] for result in results} == {'mine top', 'random weights'}
