"""Rows of the fault table about images: broken, deleted, or claiming to be enormous."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import finish, run, start, wait_for
from tiny_run import log_lines, mae_config

sys.path.insert(0, str(Path(__file__).parents[1] / 'datasets'))
from broken_images import write_broken_images


@pytest.mark.slow
def test_broken_images_among_good_ones(tmp_path, photos, record_property):
    mixed = tmp_path / 'mixed'
    broken = write_broken_images(mixed)
    good = sorted(photos.iterdir())
    for index in range(1200 - len(broken)):
        shutil.copy(good[index % len(good)], mixed / f'good-{index:04d}.png')
    config = mae_config(tmp_path / 'run', mixed, batch_size=24, epochs=1)
    config['train_dataloader']['sampler'].update(repeats=1)
    config['train_dataloader'].update(num_workers=2)
    config['custom_hooks'].append(dict(type='BadImagesHook'))
    run(config)
    lines = (tmp_path / 'run' / 'bad_images.txt').read_text().splitlines()
    assert sorted(line.split('\t')[0] for line in lines) == sorted(map(str, broken.values()))
    assert not (mixed / 'EXECUTED').exists()
    assert max(log_lines(tmp_path / 'run')) == 50
    record_property('evidence', f'{len(lines)} kinds among 1200 images: each listed once')


# In a process of its own: one that has run other tests has freed memory at hand, and what is taken
# from there adds nothing.
PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from mae_plugin.datasets import ImageFolder
from mae_plugin.datasets.bad_images import TooManyBadImages

def peak():
    return int(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]) / 1024

load = dict(type='LoadRandomResizedCrop', size=32)
dataset = ImageFolder(sys.argv[1], pipeline=[load], index_cache=False)
before = peak()
try:
    dataset[0]
except TooManyBadImages as error:
    assert 'bomb_png.png' in str(error)
    print(peak() - before)
# The measure sees what it is to see, whatever came before: 114 MiB.
before = peak()
some = np.ones((100, 50_000, 3), np.float64)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_header_of_50000_by_50000_pixels_costs_no_memory(tmp_path, record_property):
    bomb = write_broken_images(tmp_path / 'all')['bomb_png']
    (tmp_path / 'alone').mkdir()
    shutil.copy(bomb, tmp_path / 'alone')
    done = subprocess.run(
        [sys.executable, '-c', PEAK, tmp_path / 'alone'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    added, of_a_known_size = map(float, done.stdout.split())
    assert added < 64 and of_a_known_size > 50
    record_property('evidence', f'refused; {added:.0f} MiB at most, of the 7,153 it claims to be')


@pytest.mark.slow
def test_a_file_deleted_during_the_run(tmp_path, photos, record_property):
    copied = tmp_path / 'photos'
    shutil.copytree(photos, copied)
    config = mae_config(tmp_path / 'run', copied, batch_size=8, epochs=6)
    config['train_dataloader'].update(num_workers=1)
    config['custom_hooks'].append(dict(type='BadImagesHook'))
    processes = start(config)
    wait_for(tmp_path / 'run' / 'epoch_1.pth')
    gone = sorted(copied.iterdir())[4]
    gone.unlink()
    assert finish(processes) == [0]
    lines = (tmp_path / 'run' / 'bad_images.txt').read_text().splitlines()
    assert [line.split('\t')[0] for line in lines] == [str(gone)]
    record_property(
        'evidence', f'listed once; all {max(log_lines(tmp_path / "run"))} iterations made'
    )


@pytest.mark.slow
def test_two_processes_list_together_and_count_each_for_itself(tmp_path, photos):
    copied = tmp_path / 'photos'
    shutil.copytree(photos, copied)
    broken = sorted(copied.iterdir())[:2]
    for path in broken:
        path.write_bytes(b'')
    config = mae_config(tmp_path / 'run', copied, batch_size=8, epochs=4)
    config['custom_hooks'].append(dict(type='BadImagesHook', interval=1))
    config['train_dataloader']['dataset']['bad_images'] = dict(max_share=1.0)
    run(config, world=2)
    log = (tmp_path / 'run' / 'bad_images.txt').read_text()
    assert sorted(line.split('\t')[0] for line in log.splitlines()) == sorted(map(str, broken))
    told = (tmp_path / 'run' / 'output-0.txt').read_text()
    assert 'tries to read an image failed (in this process, one of 2); ' in told
    assert 'bad_images.txt lists 2 different files' in told
