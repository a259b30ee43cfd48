"""The page of ``tools/demo.py``: what is on it, and what happens when it is touched."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from mae_plugin.cli.visualize import MASKINGS
from mae_plugin.errors import UserError, user_words
from mae_plugin.visualization.explorer import Explorer
from mae_plugin.visualization.visitor import BY_HAND, Visitor

HINT = 'Click on a patch to hide it or show it again.'


def make_page(explorers: Sequence[Explorer]) -> Any:
    """The page for one checkpoint or several.

    The first one sets the size of the image and the grid of patches that are hidden; the others
    see the same file at the size of their own pretraining.
    """
    import gradio

    visitor = Visitor(explorers, MASKINGS)

    # gradio hands over the click by the annotation of an argument.
    def toggle(path: Any, ratio: Any, kind: Any, seed: Any, hidden: Any, click: gradio.SelectData):
        return told(visitor.toggle)(path, ratio, kind, seed, hidden, tuple(click.index))

    def look(path: Any, click: gradio.SelectData):
        return told(visitor.look)(path, tuple(click.index))

    # What was uploaded is removed after an hour.
    with gradio.Blocks(
        title='mae_plugin', analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gradio.Markdown(
            '## What does it make of what it cannot see?\n'
            + ', '.join(explorer.name for explorer in explorers)
        )
        path = gradio.State()
        hidden = gradio.State()
        upload = gradio.File(label='A picture', type='filepath', height=120)
        with gradio.Tab('Reconstruct'):
            with gradio.Row():
                ratio = gradio.Slider(0.05, 0.95, 0.75, step=0.05, label='share that is hidden')
                kind = gradio.Dropdown([*MASKINGS, BY_HAND], value='random', label='mask')
                seed = gradio.Number(0, precision=0, minimum=0, label='seed')
            masked = gradio.Image(label=HINT, interactive=False, format='png', elem_id='masked')
            results = gradio.Gallery(
                label='results', columns=2, elem_id='results', object_fit='contain', format='png'
            )
        with gradio.Tab('Attention'):
            original = gradio.Image(
                label='Click on a patch.', interactive=False, format='png', elem_id='original'
            )
            looks = gradio.Gallery(
                label='attention and likeness', columns=2, elem_id='looks', object_fit='contain'
            )
        with gradio.Tab('Colours'):
            paint = gradio.Button('Show')
            colours = gradio.Gallery(
                label='principal components', columns=2, elem_id='colours', object_fit='contain'
            )

        knobs = [path, ratio, kind, seed, hidden]
        pictures = [masked, results, hidden]
        own = dict(api_visibility='private')  # no way in but the page
        hide, show = told(visitor.hide), told(visitor.colours)
        opened = upload.change(
            told(visitor.open), [upload], [path, original, looks, colours], **own
        )
        opened.success(hide, knobs, pictures, **own)
        for knob in (ratio, kind, seed):
            knob.input(hide, knobs, pictures, trigger_mode='always_last', **own)
        masked.select(toggle, knobs, [kind, *pictures], **own)
        original.select(look, [path], [looks], **own)
        paint.click(show, [path], [colours], **own)
    return page


def told(call: Callable) -> Callable:
    """Show what a user can mend as a message on the page."""
    import gradio

    def wrapped(*args: Any) -> Any:
        try:
            return call(*args)
        except UserError as error:
            words = user_words(error)
            for path in (arg for arg in args if isinstance(arg, str) and os.path.isabs(arg)):
                words = words.replace(path, os.path.basename(path))  # nobody knows that folder
            raise gradio.Error(words, print_exception=False) from error

    return wrapped
