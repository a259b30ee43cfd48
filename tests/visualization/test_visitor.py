"""The controls of ``tools/demo.py``'s page: what comes in, what goes out."""

import numpy as np
import pytest
from tiny_files import write_files

from mae_plugin.cli.visualize import MASKINGS
from mae_plugin.errors import UserError
from mae_plugin.visualization.explorer import Explorer
from mae_plugin.visualization.reconstruction import GREY
from mae_plugin.visualization.visitor import BY_HAND, Visitor, fitted


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny run with patches of 4, an encoder with patches of 8, and a picture."""
    return write_files(tmp_path_factory.mktemp('demo'), num_layers=1, patch_size=8)


@pytest.fixture
def visitor(folder):
    run = Explorer(str(next(folder.glob('epoch_*.pth'))))
    encoder = Explorer(str(folder / 'encoder.pth'), num_heads=2)
    return Visitor([run, encoder], MASKINGS)


@pytest.mark.slow
def test_slider_and_seed_choose_the_patches_and_a_click_turns_one_over(folder, visitor):
    path = str(folder / 'photo.png')
    assert visitor.open(path) == (path,)
    # 16 x 24 pixels, each enlarged to 28: patches of 112. Then the run's reconstruction, and that
    # with what was visible; the encoder has none.
    hidden, original, masked, *results = visitor.hide(path, 0.75, 'random', 0, None)
    assert original.shape == masked.shape == (24 * 28, 16 * 28, 3) and len(results) == 2
    assert hidden.shape == (6, 4) and hidden.sum() == 18
    seen = ~hidden.repeat(112, 0).repeat(112, 1)
    assert (masked[seen] == original[seen]).all() and (masked[~seen] == GREY).all()
    assert (results[1][seen] == original[seen]).all()
    assert visitor.hide(path, 0.5, 'random', 0, hidden)[0].sum() == 12
    assert (visitor.hide(path, 0.75, 'random', 1, None)[0] != hidden).any()

    kind, changed, *_ = visitor.toggle(path, 0.75, 'random', 0, hidden, (2 * 112 + 5, 111))
    turned = np.argwhere(changed != hidden)
    assert kind == BY_HAND and turned.tolist() == [[0, 2]]
    # What was chosen by hand stays until another mask is asked for.
    assert (visitor.hide(path, 0.1, BY_HAND, 0, changed)[0] == changed).all()
    # The slider and the seed ask for one.
    kind, drawn, *_ = visitor.draw(path, 0.5, BY_HAND, 0, changed)
    assert kind == 'random' and drawn.sum() == 12
    assert visitor.draw(path, 0.5, 'block', 0, changed)[0] == 'block'


def test_a_click_looks_from_the_same_place_in_each(folder, visitor):
    path = str(folder / 'photo.png')
    framed, *pictures = visitor.look(path, (447, 671))  # the last patch of both
    assert len(pictures) == 4
    red = (framed == (230, 30, 30)).all(-1)
    assert red[671, 447] and not red[: 5 * 112].any() and not red[:, : 3 * 112].any()
    assert not red[616, 392]  # inside the frame
    assert (visitor.look(path)[0] == (230, 30, 30)).all(-1)[3 * 112, 2 * 112]  # the middle
    pictures = visitor.colours(path)  # the picture, and one of each
    assert [picture.shape for picture in pictures] == [(24 * 28, 16 * 28, 3)] * 3


def test_what_is_no_picture_gets_a_message(folder, visitor):
    text = folder / 'text.jpg'
    text.write_text('no picture')
    with pytest.raises(UserError, match=r'text\.jpg'):
        visitor.open(str(text))
    every = np.ones((6, 4), bool)
    every[0, 0] = False
    with pytest.raises(UserError, match='at least one'):
        visitor.toggle(str(folder / 'photo.png'), 0.5, BY_HAND, 0, every, (0, 0))


def test_an_empty_page_stays_empty(visitor):
    assert visitor.open(None) == (None,)
    assert visitor.hide(None, 0.5, 'random', 0, None) == (None,) * 5
    assert visitor.toggle(None, 0.5, 'random', 0, None, (0, 0)) == ('random', *(None,) * 5)
    assert visitor.look(None) == (None,) * 5 and visitor.colours(None) == (None,) * 3


def test_a_mask_on_another_grid_hides_something_and_shows_something():
    hidden = np.zeros((4, 4), bool)
    hidden[0, 1] = True
    assert fitted(hidden, (4, 4)) is hidden
    other = fitted(hidden, (2, 2))
    assert other.shape == (2, 2) and other.any() and not other.all()
