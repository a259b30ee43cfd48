"""How a run decodes its images, for whoever shows other images to its model."""

from collections.abc import Mapping
from typing import Any

OPTIONS = ('background', 'max_bytes', 'keep_depth', 'nodata', 'bands', 'value_range')


def decoding_options(
    config: Mapping[str, Any], loader: str = 'train_dataloader'
) -> dict[str, Any]:
    """What the first transform of a loader's dataset says of decoding.

    Args:
        config: A run's config.
        loader: Whose dataset, within its wrappers.

    Returns:
        Those of :data:`OPTIONS` that are set: arguments of
        :class:`~mae_plugin.datasets.decoding.decode.ImageSource`.
    """
    dataset: Any = (config.get(loader) or {}).get('dataset') or {}
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    pipeline = dataset.get('pipeline') or [{}]
    return {name: pipeline[0][name] for name in OPTIONS if name in pipeline[0]}
