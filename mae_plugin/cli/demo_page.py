"""The page of ``tools/demo.py``: what is on it, and what happens when it is touched."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from mae_plugin.cli.visualize import MASKINGS
from mae_plugin.errors import UserError, user_words
from mae_plugin.visualization.explorer import Explorer
from mae_plugin.visualization.visitor import BY_HAND, Visitor

# Captions of a row end at one height, whatever the length of a checkpoint's name.
CSS = '.caption p {white-space: nowrap; overflow: hidden; text-overflow: ellipsis}'


def make_page(explorers: Sequence[Explorer]) -> Any:
    """The page for one checkpoint or several.

    The first one sets the size of the image and the grid of patches that are hidden; the others
    see the same file at the size of their own pretraining.
    """
    import gradio

    visitor = Visitor(explorers, MASKINGS)
    several = len(explorers) > 1

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
                ratio = gradio.Slider(
                    0.05, 0.95, 0.75, step=0.05, label='share that is hidden', min_width=200
                )
                kind = gradio.Dropdown(
                    [*MASKINGS, BY_HAND], value='random', label='mask', min_width=150
                )
                seed = gradio.Number(0, precision=0, minimum=0, label='seed', min_width=100)
            with gradio.Row():
                original = panel('original', 'plain', several)
                masked = panel('masked: click on patches', 'masked', several)
                results = panels(
                    [explorer for explorer in explorers if explorer.mae is not None],
                    ('reconstruction', 'with the visible patches'),
                    several,
                )
        with gradio.Tab('Attention'), gradio.Row():
            clicked = panel('click on a patch', 'original', several)
            looks = panels(explorers, ('where it attends', 'which are like it'), several)
        with gradio.Tab('Colours'), gradio.Row():
            plain = panel('original', several=several)
            colours = panels(explorers, ('features as colours',), several)

        knobs = [path, ratio, kind, seed, hidden]
        pictures = [hidden, original, masked, *results]
        # No way in but the page; and one call at a time, since all share the models.
        own: dict[str, Any] = dict(
            api_visibility='private', concurrency_id='models', concurrency_limit=1
        )
        opened = upload.change(told(visitor.open), [upload], [path], **own)
        opened.success(told(visitor.hide), knobs, pictures, **own)
        opened.success(told(visitor.look), [path], [clicked, *looks], **own)
        opened.success(told(visitor.colours), [path], [plain, *colours], **own)
        kind.input(told(visitor.hide), knobs, pictures, **own)
        for knob in (ratio, seed):
            knob.input(
                told(visitor.draw), knobs, [kind, *pictures], trigger_mode='always_last', **own
            )
        masked.select(toggle, knobs, [kind, *pictures], **own)
        clicked.select(look, [path], [clicked, *looks], **own)
    return page


def panel(caption: str, name: str | None = None, several: bool = False) -> Any:
    """A picture below its caption, two beside each other on a phone.

    Args:
        caption: Markdown.
        name: Its id on the page.
        several: Whether others have a checkpoint's name in a second line.
    """
    import gradio

    with gradio.Column(min_width=140):
        gradio.Markdown(caption + '<br>&nbsp;' * several, elem_classes='caption')
        return gradio.Image(
            show_label=False, interactive=False, format='png', elem_id=name, min_width=140,
            buttons=['fullscreen', 'download'], elem_classes='picture', alt_text=caption,
        )  # fmt: skip


def panels(explorers: Sequence[Explorer], captions: Sequence[str], several: bool) -> list[Any]:
    """The same panels for each checkpoint, with its name where there are several."""
    return [
        panel(caption + f'<br>{explorer.name}' * several)
        for explorer in explorers
        for caption in captions
    ]


def told(call: Callable) -> Callable:
    """Show what a user can mend as a message on the page."""
    import gradio

    def wrapped(*args: Any) -> Any:
        try:
            found = call(*args)
        except UserError as error:
            words = user_words(error)
            for path in (arg for arg in args if isinstance(arg, str) and os.path.isabs(arg)):
                words = words.replace(path, os.path.basename(path))  # nobody knows that folder
            raise gradio.Error(words, print_exception=False) from error
        return found[0] if len(found) == 1 else found

    return wrapped
