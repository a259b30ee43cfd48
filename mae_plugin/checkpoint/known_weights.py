"""Published weights by name: where they lie, and under which licence."""

import difflib
from typing import NamedTuple

HUB = 'hf://'
_MAE = 'https://dl.fbaipublicfiles.com/mae/'
_NONCOMMERCIAL = 'CC-BY-NC 4.0'
_PIXIO_PAGE = 'https://github.com/facebookresearch/pixio'


class Known(NamedTuple):
    """Weights that have a name here.

    Attributes:
        address: http(s) or ``hf://``; None where it is not known here.
        what: Model and parts.
        licence: As far as it is known; the page of the weights decides.
        page: Where the authors tell of them.
        sha256: Of the file, or its first digits, which a download is compared with; None where
            no source names one. None does today: nothing is invented here.
    """

    address: str | None
    what: str
    licence: str
    page: str = 'https://github.com/facebookresearch/mae'
    sha256: str | None = None


# Addresses: MAE's encoders as in timm, the file with decoder and Pixio-H as in transformers; those
# of `visualize` are the official notebook's.
KNOWN = {
    'mae-base': Known(
        _MAE + 'pretrain/mae_pretrain_vit_base.pth', 'ViT-B/16, encoder', _NONCOMMERCIAL
    ),
    'mae-large': Known(
        _MAE + 'pretrain/mae_pretrain_vit_large.pth', 'ViT-L/16, encoder', _NONCOMMERCIAL
    ),
    'mae-huge': Known(
        _MAE + 'pretrain/mae_pretrain_vit_huge.pth', 'ViT-H/14, encoder', _NONCOMMERCIAL
    ),
    'mae-base-full': Known(
        HUB + 'facebook/vit-mae-base', 'ViT-B/16 with decoder', 'see its page',
        'https://huggingface.co/facebook/vit-mae-base',
    ),
    'mae-visualize-large': Known(
        _MAE + 'visualize/mae_visualize_vit_large.pth',
        'ViT-L/16 with decoder, target of plain pixels', _NONCOMMERCIAL,
    ),
    'pixio-huge': Known(
        HUB + 'facebook/pixio-huge', 'ViT-H/16, encoder', 'see its page', _PIXIO_PAGE
    ),
    **{
        f'pixio-{size}': Known(None, f'{what}, encoder', 'see its page', _PIXIO_PAGE)
        for size, what in (
            ('base', 'ViT-B/16'), ('large', 'ViT-L/16'), ('1b', 'ViT-1B/16'), ('5b', 'ViT-5B/16'),
        )
    },
}  # fmt: skip


def is_name(text: str) -> bool:
    """Whether a text is a name of known weights or of a model on Hugging Face's hub."""
    return text in KNOWN or text.startswith(HUB)


def names_like(text: str) -> str:
    """The end of a message about a file that is not there: what may have been meant."""
    alike = difflib.get_close_matches(text, KNOWN, 3, 0.6)
    if alike:
        return f'did you mean {" or ".join(alike)}?'
    return f'give a file, hf://owner/name, or one of {", ".join(KNOWN)}'
