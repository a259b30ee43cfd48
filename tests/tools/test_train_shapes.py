"""Any image shape, channels and patch size: train, save, load, visualise, evaluate."""

import json
import re

import numpy as np
import pytest
import torch
from front_door import run_tool, tiny_config, train, write_images
from PIL import Image

from mae_plugin.datasets import ImageFolder, LoadResizeCenterCrop, PackInputs
from mae_plugin.evaluation.stored_model import model_of_checkpoint

GAP = 4  # white pixels between panels


@pytest.mark.slow
@pytest.mark.parametrize(
    'img_size, channels, patch_size, ending',
    [
        ((160, 96), 1, 8, '.npy'),
        ((24, 16), 12, 4, '.tif'),
        ((56, 28), 12, 14, '.npy'),
        ((64, 96), 3, 32, '.jpg'),
        ((16, 16), 1, 4, '.png'),
    ],
)
def test_one_step_then_saved_loaded_and_drawn(
    tmp_path, monkeypatch, capsys, img_size, channels, patch_size, ending
):
    images = write_images(tmp_path / 'images', 2, (120, 100), channels, ending)
    config = tiny_config(tmp_path / 'tiny.py', img_size, patch_size, channels)
    train(monkeypatch, config, images, tmp_path / 'run')
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    stored = torch.load(checkpoint, weights_only=True)
    assert stored['meta']['iter'] == 1

    model = model_of_checkpoint(checkpoint)
    assert not model.training
    weights = model.state_dict()
    for name, value in stored['state_dict'].items():
        assert torch.equal(weights[name], value), name

    capsys.readouterr()
    out = tmp_path / 'pictures' / 'out.png'
    paths = sorted(images.iterdir())
    run_tool(monkeypatch, 'visualize', checkpoint, *paths, '--out', out, '--size', 'native')
    assert str(out) in capsys.readouterr().out
    picture = np.asarray(Image.open(out))
    h, w = 120 // patch_size * patch_size, 100 // patch_size * patch_size
    factor = -(-1024 // (4 * w + 3 * GAP))
    assert picture.shape == (factor * (2 * h + GAP), factor * (4 * w + 3 * GAP), 3)
    panels = [picture[: factor * h, factor * (w + GAP) * i :][:, : factor * w] for i in range(4)]
    original, masked, reconstruction, pasted = (panel.astype(int) for panel in panels)
    grey = (masked == 127).all(-1)
    assert 0.5 < grey.mean() < 0.95
    assert (masked[~grey] == original[~grey]).all()
    assert (pasted[~grey] == original[~grey]).all()
    assert (pasted[grey] == reconstruction[grey]).all()


def read_picture(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.slow
def test_pictures_and_held_out_loss_of_one_checkpoint(tmp_path, monkeypatch, capsys):
    root = tmp_path / 'data'
    write_images(root / 'train', 4)
    held_out = write_images(root / 'val', 3, seed=1)
    config = tiny_config(tmp_path / 'tiny.py', extra="log_level = 'INFO'")
    train(monkeypatch, config, root, tmp_path / 'run')
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    photo = held_out / 'image0.png'

    def draw(name, *args):
        run_tool(monkeypatch, 'visualize', checkpoint, photo, '--out', tmp_path / name, *args)
        return read_picture(tmp_path / name)

    first = draw('a.png')
    assert (draw('b.png') == first).all()
    assert (draw('c.png', '--seed', 1) != first).any()
    rows = draw('d.png', '--mask-ratio', '0.5', '0.75', '--masking', 'grid')
    # Both rows have the four panels; at 0.75 one patch of four is visible, at 0.5 two.
    height = (rows.shape[0] - GAP * 14) // 2
    one, two = rows[:height], rows[-height:]
    panel = rows.shape[1] // 4
    shares = [(row[:, panel + 20 : 2 * panel - 20] == 127).all(-1).mean() for row in (one, two)]
    assert shares[0] == pytest.approx(0.5, abs=0.15) and shares[1] > shares[0] + 0.1
    assert draw('e.png', '--bands', '1').shape == first.shape

    capsys.readouterr()
    losses = []
    for number in range(2):
        run_tool(
            monkeypatch, 'test', config, checkpoint, '--data-root', root, '--work-dir',
            tmp_path / f'test{number}', '--cfg-options', f'experiment_name=held-out{number}',
        )  # fmt: skip
        text = ''.join(capsys.readouterr())
        losses.append(float(re.search(r'reconstruction/loss: ([\d.]+)', text)[1]))
    assert losses[0] == losses[1] > 0

    # Against the model itself, on the same crops and masks.
    stored = [path for number in range(2) for path in (tmp_path / f'test{number}').rglob('*.json')]
    values = [json.loads(path.read_text())['reconstruction/loss'] for path in stored]
    model = model_of_checkpoint(checkpoint)
    pipeline = [LoadResizeCenterCrop(16), PackInputs()]
    dataset = ImageFolder(str(held_out), pipeline=pipeline, labels=False, index_cache=False)
    batch = [dataset[index] for index in range(3)]
    data = model.data_preprocessor(dict(inputs=[sample['inputs'] for sample in batch]))
    with torch.no_grad():
        loss = model.loss(data['inputs'], [sample['data_samples'] for sample in batch])['loss']
    assert values == pytest.approx([loss.item()] * 2, rel=1e-5)
