"""Images on a plane, like ones near each other: one HTML page with their thumbnails.

Shapes: N images, D feature width.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader

from mae_plugin.errors import UserError

from .data_report import data_uri, small_picture

METHODS = ('pca', 'tsne')
MAX_POINTS = 1500  # thumbnails of a page, a few megabytes
_SIDE = 96
_COLORS = (
    '#3b82f6', '#e0812a', '#2e9d63', '#b45bb4', '#c0392b', '#0f9fb0', '#a07f4a', '#6c5ce7',
    '#8aa21a', '#d6336c',
)  # fmt: skip


def check_method(method: str) -> None:
    """Refuse a projection whose library is missing, before anything is computed.

    Raises:
        UserError: If t-SNE is asked for without scikit-learn.
    """
    if method == 'tsne' and importlib.util.find_spec('sklearn') is None:
        raise UserError(
            "--method tsne needs scikit-learn: pip install scikit-learn (or 'mae_plugin[embed]'), "
            'or take --method pca'
        )


def project(features: np.ndarray, method: str) -> np.ndarray:
    """Places on a plane.

    Args:
        features: (N, D).
        method: 'pca' (the two directions of the largest variance, of features of length one) or
            'tsne' (scikit-learn's, from PCA, with a fixed seed; near means alike, far means
            nothing).

    Returns:
        (N, 2), each axis from 0 to 1.

    Raises:
        UserError: If there are fewer than three images.
    """
    if len(features) < 3:
        raise UserError(f'a map of {len(features)} images has nothing to show: give three or more')
    unit = torch.nn.functional.normalize(torch.from_numpy(features).double(), dim=1)
    centred = unit - unit.mean(dim=0)
    # Signs are arbitrary: fixed, so that every run gives the same map.
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    peaks = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    axes = axes * torch.where(peaks == 0, 1.0, peaks)
    places = (centred @ axes[:2].T).numpy()
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 1)))
    if method == 'tsne':
        from sklearn.manifold import TSNE

        reduced = (centred @ axes[:50].T).numpy()
        perplexity = min(30.0, (len(features) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init='pca', random_state=0).fit_transform(reduced)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.maximum(high - low, 1e-12)


def render_map(
    name: str,
    paths: Sequence[str],
    groups: Sequence[str],
    features: np.ndarray,
    method: str,
    channels: int,
    options: Mapping[str, Any],
) -> str:
    """The page as HTML; everything it shows is inside it.

    Args:
        name: Of the data.
        paths: Files of the images.
        groups: Of each image, '' for none; a colour for each of the ten largest.
        features: (N, D).
        method: See :func:`project`.
        channels: That the encoder sees.
        options: How the files are decoded.
    """
    step = max(1, -(-len(paths) // MAX_POINTS))
    chosen = range(0, len(paths), step)
    places = project(features[::step], method)
    counts: dict[str, int] = {}
    for group in groups:
        counts[group] = counts.get(group, 0) + bool(group)
    largest = sorted((key for key in counts if key), key=lambda key: -counts[key])
    colors = dict(zip(largest, _COLORS))
    points = []
    for number, (x, y) in zip(chosen, places):
        picture = small_picture(paths[number], dict(options), channels, _SIDE)
        if picture is not None:
            points.append(
                dict(
                    name=paths[number],
                    picture=data_uri(picture),
                    x=x,
                    y=1 - y,
                    color=colors.get(groups[number], ''),
                )
            )
    words = {'pca': 'first two principal components', 'tsne': 't-SNE: near means alike'}
    shown = f'{len(points):,} of {len(paths):,} images' if step > 1 else f'{len(points):,} images'
    pages = Environment(loader=PackageLoader('mae_plugin.visualization', '.'), autoescape=True)
    return pages.get_template('feature_map.html.j2').render(
        name=name,
        about=f'{shown}; {words[method]}; the wheel zooms, dragging moves',
        groups=colors,
        points=points,
    )
