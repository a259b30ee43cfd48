"""The code that the pages show does what they say, word for word."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/tools'))

from front_door import run_tool, tiny_config, train, write_images  # noqa: E402

import mae_plugin  # noqa: E402


def code_blocks(page: str) -> list[str]:
    return re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)


def test_python_of_the_front_page(tmp_path, monkeypatch):
    (block,) = [code for code in code_blocks('README.md') if 'load_encoder' in code]
    images = write_images(tmp_path / 'images')
    train(monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run')
    (tmp_path / 'run/epoch_1.pth').rename(tmp_path / 'epoch_800.pth')
    noise = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'photo.jpg')
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    # 24 x 40 pixels, the short side shrunk to the 16 of pretraining, whole patches of 4.
    assert names['image'].shape == (1, 3, 24, 16) and names['image'].max() > 1
    assert names['tokens'].shape == (1, 1 + 6 * 4, 16)
    assert names['maps'].shape == (1, 6, 4, 16)
    torch.testing.assert_close(names['tokens'][:, 1:].unflatten(1, (6, 4)), names['maps'])
    assert names['pixels'].shape == names['images'].shape and names['mask'].shape == (1, 24)
    assert names['mask'].sum() == 18 and names['loss'].shape == (1,)


def test_parts_of_ones_own_on_the_pretraining_page(tmp_path, monkeypatch):
    *_, parts, config = code_blocks('configs/pretrain/README.md')  # the last two
    images = write_images(tmp_path / 'images')
    (tmp_path / 'my_parts.py').write_text(parts)
    base = tiny_config(tmp_path / 'tiny.py')
    (tmp_path / 'my_config.py').write_text(
        config.replace('configs/mae_vit-b_pretrain.py', str(base))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    train(monkeypatch, tmp_path / 'my_config.py', images, tmp_path / 'run')
    picture = tmp_path / 'out.png'
    run_tool(
        monkeypatch, 'visualize', tmp_path / 'run/epoch_1.pth', next(images.rglob('*.png')),
        '--config', tmp_path / 'my_config.py', '--out', picture,
    )  # fmt: skip
    assert picture.is_file()
    from mae_plugin.registry import MODELS

    masking = MODELS.get('CheckerboardMasking')(mask_ratio=0.5)
    ids_keep, _ = masking(1, (4, 4))
    assert ids_keep[0].tolist() == [0, 2, 5, 7, 8, 10, 13, 15]


def test_importing_the_package_imports_no_torch():
    code = 'import sys, mae_plugin; dir(mae_plugin); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0
    with pytest.raises(AttributeError, match='load_encode'):
        mae_plugin.load_encode  # noqa: B018
