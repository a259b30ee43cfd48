"""The demo's photographs: decodable, the same each time, held-out ones really held out."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]


def make(out: Path) -> str:
    command = [sys.executable, ROOT / 'tools' / 'make_demo_data.py', '--out', out]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_files_decode_and_are_small_but_large_enough_to_crop(tmp_path: Path) -> None:
    make(tmp_path / 'demo')
    train = sorted((tmp_path / 'demo' / 'train').glob('*.jpg'))
    assert len(train) > 100
    for path in train:
        with Image.open(path) as image:
            assert image.mode == 'RGB'
            assert min(image.size) == 160
            image.load()


def test_no_held_out_photograph_is_in_train(tmp_path: Path) -> None:
    make(tmp_path / 'demo')
    train = {path.stem.split('_')[0] for path in (tmp_path / 'demo' / 'train').iterdir()}
    val = {path.stem for path in (tmp_path / 'demo' / 'val').iterdir()}
    assert val and train and not val & train


def test_the_same_files_each_time_and_no_work_twice(tmp_path: Path) -> None:
    make(tmp_path / 'one')
    make(tmp_path / 'two')
    files = sorted(
        path.relative_to(tmp_path / 'one') for path in (tmp_path / 'one').rglob('*.jpg')
    )
    for name in files:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()

    before = (tmp_path / 'one' / files[0]).stat().st_mtime_ns
    assert 'complete' in make(tmp_path / 'one')
    assert (tmp_path / 'one' / files[0]).stat().st_mtime_ns == before


def test_what_an_interrupted_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / 'demo' / 'train').mkdir(parents=True)
    (tmp_path / 'demo' / 'train' / 'half.jpg').write_bytes(b'\xff\xd8')
    (tmp_path / 'demo.partial').mkdir()
    make(tmp_path / 'demo')
    assert not (tmp_path / 'demo' / 'train' / 'half.jpg').exists()
    assert not (tmp_path / 'demo.partial').exists()
