"""What the page shows: the masks that were asked for, and the model's own computations."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_files import write_files

from mae_plugin.errors import UserError
from mae_plugin.visualization.explorer import Explorer, GivenMask
from mae_plugin.visualization.reconstruction import GREY


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny run, the encoder of it alone, and a picture."""
    return write_files(tmp_path_factory.mktemp('explorer'), num_layers=2, patch_size=4)


@pytest.fixture
def run(folder):
    return Explorer(str(next(folder.glob('epoch_*.pth'))))


def some_mask(grid):
    hidden = np.zeros(grid, bool)
    hidden[0, :2] = hidden[-1, -1] = True
    return hidden


@pytest.mark.slow
def test_the_patches_that_were_chosen_are_hidden_and_predicted(folder, run):
    image = run.load(str(folder / 'photo.png'))
    assert image.shape == (1, 3, 24, 16) and run.grid(image) == (6, 4)
    hidden = some_mask((6, 4))
    pictures = run.reconstruct(image, GivenMask(hidden))
    assert [caption for _, caption in pictures] == [
        'original', 'masked', 'reconstruction', 'with the visible patches',
    ]  # fmt: skip
    original, masked, reconstruction, joined = (picture for picture, _ in pictures)
    pixels = hidden.repeat(4, 0).repeat(4, 1)
    assert (masked[pixels] == GREY).all() and (masked[~pixels] == original[~pixels]).all()
    assert (joined[pixels] == reconstruction[pixels]).all()
    assert (joined[~pixels] == original[~pixels]).all()
    # The model's own, with this mask.
    batch = run.mae.data_preprocessor(dict(inputs=image, data_samples=None))['inputs']
    run.mae.masking = GivenMask(hidden)
    wanted = run.mae.data_preprocessor.denormalize(run.mae.reconstruct(batch).images)
    wanted = wanted[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert (reconstruction[pixels] == wanted[pixels]).all()


@pytest.mark.slow
def test_the_models_own_masking_comes_back(folder, run):
    before = run.mae.masking
    run.reconstruct(run.load(str(folder / 'photo.png')), GivenMask(some_mask((6, 4))))
    assert run.mae.masking is before


def test_an_encoder_alone_hides_but_does_not_reconstruct(folder):
    encoder = Explorer(str(folder / 'encoder.pth'), num_heads=2)
    image = encoder.load(str(folder / 'photo.png'))
    pictures = encoder.reconstruct(image, GivenMask(some_mask((6, 4))))
    assert [caption for _, caption in pictures] == ['original', 'masked']
    masked = pictures[1][0]
    assert (masked[:4, :8] == GREY).all() and not (masked[4:8] == GREY).all()


def test_a_patch_is_most_like_itself_and_attends_as_its_query_says(folder):
    encoder = Explorer(str(folder / 'encoder.pth'), num_heads=2)
    image = encoder.load(str(folder / 'photo.png'))
    (attention, _), (likeness, caption) = encoder.look(image, (2, 3))
    assert attention.shape == likeness.shape == (24, 16, 3) and caption.startswith('cosine')
    tokens = encoder.vit(encoder.preprocessor(dict(inputs=image))['inputs'])[0, 1:]
    cosines = torch.nn.functional.cosine_similarity(tokens, tokens[2 * 4 + 3], dim=1)
    assert cosines.argmax() == 11
    assert caption == f'cosine similarity, {float(cosines.min()):.2f} to 1'
    (colours, _) = encoder.colours(image)[0]
    assert colours.shape == (24, 16, 3)


@pytest.mark.slow
def test_what_cannot_be_opened_is_told(folder, run):
    text = folder / 'text.png'
    text.write_text('no picture')
    with pytest.raises(UserError, match=r'text\.png'):
        run.load(str(text))
    large = folder / 'large.png'
    Image.new('L', (20_000, 20_000)).save(large)
    with pytest.raises(UserError, match='max_bytes'):
        run.load(str(large))
