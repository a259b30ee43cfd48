"""See mae_plugin.registry: importing this package registers its parts."""

from mae_plugin.datasets.clipped_crop import RandomClippedCrop
from mae_plugin.datasets.collate import stack_collate
from mae_plugin.datasets.color_jitter import ColorJitter
from mae_plugin.datasets.concat import ConcatDataset
from mae_plugin.datasets.curated_sampler import CuratedSampler
from mae_plugin.datasets.image_folder import ImageFolder
from mae_plugin.datasets.load_image import LoadImage
from mae_plugin.datasets.load_random_window import LoadRandomWindow
from mae_plugin.datasets.packing import PackInputs
from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.datasets.shards.image_shards import ImageShards
from mae_plugin.datasets.transforms import (
    LoadFixedCrop,
    LoadRandomResizedCrop,
    LoadResizeCenterCrop,
)
from mae_plugin.datasets.window_folder import WindowFolder

__all__ = [
    'ColorJitter',
    'ConcatDataset',
    'CuratedSampler',
    'ImageFolder',
    'ImageShards',
    'LoadFixedCrop',
    'LoadImage',
    'LoadRandomResizedCrop',
    'LoadRandomWindow',
    'LoadResizeCenterCrop',
    'PackInputs',
    'RandomClippedCrop',
    'StreamSampler',
    'WindowFolder',
    'stack_collate',
]
