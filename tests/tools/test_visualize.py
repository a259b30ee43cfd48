"""Pictures of a model by the command line: what is drawn, from which files, and what is not."""

import numpy as np
import pytest
import tifffile
import torch
from front_door import run_tool, tiny_config, train, write_images
from PIL import Image

from mae_plugin.checkpoint import export_checkpoint, write_export
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.datasets.randomness import sample_key
from mae_plugin.evaluation.stored_model import model_of_checkpoint
from mae_plugin.visualization.attention import class_attention
from mae_plugin.visualization.reconstruction import GAP, enlarge, reconstruction_panels

SIZE = 40  # the model is trained at 16


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder with a run, its encoder in the official format, its config and a photo."""
    root = tmp_path_factory.mktemp('run')
    write_images(root / 'images', 2, (SIZE, 48))
    config = tiny_config(root / 'tiny.py')
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(
            monkeypatch, config, root / 'images', root / 'run',
            options=['model.masking.type=BlockMasking', 'model.masking.min_patches=2'],
        )  # fmt: skip
    encoder = export_checkpoint(safe_load(root / 'run/epoch_1.pth'), to='official')
    write_export(root / 'official.pth', encoder, to='official')
    return root


@pytest.fixture
def draw(run, tmp_path, monkeypatch):
    """Call the tool on photos of the run's folder and read its picture, not enlarged."""

    def call(checkpoint, *args, images=('images/image0.png',)):
        out = tmp_path / 'out.png'
        monkeypatch.chdir(run)
        run_tool(monkeypatch, 'visualize', checkpoint, *images, '--out', out, *args)
        return np.asarray(Image.open(out)).astype(int)

    return call


@pytest.fixture
def refused(run, monkeypatch, capsys):
    """Call the tool, which must end with one line; return it."""

    def call(*args):
        monkeypatch.chdir(run)
        with pytest.raises(SystemExit) as stop:
            run_tool(monkeypatch, 'visualize', *args)
        assert stop.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return call


def photo(run, height, width):
    """The first image as the tool gives it to the model: (1, 3, height, width)."""
    pixels = np.asarray(Image.open(run / 'images/image0.png'))[:height, :width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


@pytest.mark.slow
def test_attention_of_a_run_at_another_size(run, draw):
    picture = draw('run/epoch_1.pth', '--show', 'attention', '--size', SIZE, '--heads')
    panels = 4  # original, mean and two heads
    factor = -(-1024 // (panels * (48 + GAP) - GAP))
    picture = picture[::factor, ::factor]
    assert picture.shape == (SIZE, panels * (48 + GAP) - GAP, 3)
    image = photo(run, SIZE, 48)
    assert (picture[:, :48] == image[0].permute(1, 2, 0).numpy()).all()

    model = model_of_checkpoint(run / 'run/epoch_1.pth')
    inputs = model.data_preprocessor(dict(inputs=image))['inputs']
    attention = class_attention(model.backbone, inputs)[0]
    assert attention.shape == (2, SIZE // 4, 12)
    for head in range(2):
        # Heat is laid over the original: what it adds is most where the attention is.
        panel = picture[:, (2 + head) * (48 + GAP) :][:, :48].mean(2) - picture[:, :48].mean(2) / 2
        patches = panel.reshape(SIZE // 4, 4, 12, 4).mean((1, 3)).flatten()
        assert np.corrcoef(patches, attention[head].flatten())[0, 1] > 0.5


def test_an_encoder_in_the_official_format_is_drawn_like_its_run(run, draw, refused):
    for show in ('attention', 'features'):
        args = ['--show', show, '--size', SIZE]
        of_run = draw('run/epoch_1.pth', *args)
        assert (draw('official.pth', *args, '--config', 'tiny.py') == of_run).all()
        # Without the config its images are normalised by ImageNet's statistics: alike.
        assert draw('official.pth', *args, '--num-heads', 2).shape == of_run.shape
        message = refused('official.pth', 'images/image0.png', *args)
        assert message.startswith('error: ') and '--num-heads' in message


def test_features_of_images_of_any_shape_share_their_colours(run, draw, tmp_path):
    Image.open(run / 'images/image0.png').crop((0, 0, 24, 32)).save(tmp_path / 'part.png')
    images = ('images/image0.png', tmp_path / 'part.png')
    picture = draw('run/epoch_1.pth', '--show', 'features', '--size', 'native', images=images)
    factor = -(-1024 // (2 * 48 + GAP))
    picture = picture[::factor, ::factor]
    assert picture.shape == (SIZE + GAP + 32, 2 * 48 + GAP, 3)
    assert (picture[SIZE + GAP :, 2 * 24 + GAP :] == 255).all()  # white beside the narrow one
    colours = picture[:SIZE, 48 + GAP :]
    assert (colours[:4, :4] == colours[0, 0]).all() and len(np.unique(colours)) > 20


def test_another_ratio_leaves_the_trained_masking_as_it_is(run, draw):
    model = model_of_checkpoint(run / 'run/epoch_1.pth')
    model.masking.mask_ratio = 0.5
    assert model.masking.min_patches == 2
    expected = enlarge(reconstruction_panels(model, photo(run, SIZE, 48), [sample_key(0, 0)]))
    args = ['--mask-ratio', 0.5, '--size', 'native']
    for more in ([], ['--masking', 'block']):
        assert (draw('run/epoch_1.pth', *args, *more) == expected).all()
    assert (draw('run/epoch_1.pth', *args, '--masking', 'random') != expected).any()


def test_a_bad_image_among_many_is_named(run, refused, tmp_path):
    data = (run / 'images/image1.png').read_bytes()
    (tmp_path / 'broken.png').write_bytes(data[: len(data) // 2])
    write_images(tmp_path, 1, channels=12, ending='.tif')
    pixels = np.ones((SIZE, SIZE, 3), np.float32)
    pixels[5, 6, 0] = np.nan
    tifffile.imwrite(tmp_path / 'nan.tif', pixels, photometric='rgb')
    bads = dict(zip(('broken.png', 'image0.tif', 'nan.tif'), ('truncated', '12 channels', 'NaN')))
    for bad, part in bads.items():
        for show in ('reconstruction', 'features'):
            message = refused(
                'run/epoch_1.pth', 'images/image0.png', tmp_path / bad, '--show', show
            )
            assert message.startswith('error: ') and bad in message and part in message


@pytest.mark.parametrize(
    'args, parts',
    [
        (['--out', 'picture'], ['--out picture', '.png']),
        (['--config', 'typo.py'], ["no config file 'typo.py'"]),
        (['--size', 'abc'], ['--size', "'abc'", 'native']),
        (['--size', '0'], ['--size', "'0'"]),
        (['--mask-ratio', '1.0'], ['--mask-ratio', "'1.0'", '[0, 1)']),
        (['--heads'], ['--heads', '--show attention']),
        (['--show', 'features', '--masking', 'grid'], ['--masking', '--show reconstruction']),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_model_is_loaded(refused, args, parts):
    message = refused('gone.pth', 'images/image0.png', *args)
    assert 'error: ' in message and all(part in message for part in parts)


def test_a_block_that_is_not_there_is_refused(refused):
    args = ['run/epoch_1.pth', 'images/image0.png', '--show', 'attention', '--block', '7']
    assert 'block=7' in refused(*args)
