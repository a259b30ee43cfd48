"""Top-1 accuracy on ImageNet-A, -R, -Sketch and mean corruption error on ImageNet-C.

The classifier knows the 1000 classes of ImageNet; the variants' folders bear WordNet ids
(``n01440764``), for -A and -R only 200 of them. As in the official evaluations, the prediction is
the best of the classes that the variant has.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mae_plugin.registry import METRICS

# Errors of AlexNet, by which each corruption's error is divided (Hendrycks and Dietterich 2019).
ALEXNET_ERRORS = {
    'gaussian_noise': 0.886428,
    'shot_noise': 0.894468,
    'impulse_noise': 0.922640,
    'defocus_blur': 0.819880,
    'glass_blur': 0.826268,
    'motion_blur': 0.785948,
    'zoom_blur': 0.798360,
    'snow': 0.866816,
    'frost': 0.826572,
    'fog': 0.819324,
    'brightness': 0.564592,
    'contrast': 0.853204,
    'elastic_transform': 0.646056,
    'pixelate': 0.717840,
    'jpeg_compression': 0.606500,
}


@METRICS.register_module()
class ImageNetVariantAccuracy(BaseMetric):
    """Top-1 accuracy in percent where folders, not numbers, say the class.

    Args:
        imagenet_folders: Folder whose sub-folders, sorted, are the classifier's classes:
            ImageNet's ``val`` (their names alone are read).
        corruptions: Also give the mean corruption error ``mCE`` of ImageNet-C, whose images lie
            in ``<corruption>/<severity>/<class>/``; relative to AlexNet, lower is better.
        collect_device: As for mmengine's metrics.
        prefix: Of the result's names.

    Raises:
        ValueError: If there is no such folder.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        imagenet_folders: str,
        corruptions: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if not os.path.isdir(imagenet_folders):
            raise ValueError(
                f"imagenet_folders={imagenet_folders!r} is no folder: point it at ImageNet's "
                '`val` with one sub-folder for each class'
            )
        names = sorted(entry.name for entry in os.scandir(imagenet_folders) if entry.is_dir())
        self.number = {name: index for index, name in enumerate(names)}
        self.corruptions = corruptions

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each sample's scores and where its file lies."""
        for sample in data_samples:
            path = Path(sample['img_path'])
            self.results.append((path.parts[-4:-1], sample['pred_score'].cpu()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy among the classes that occur.

        Raises:
            ValueError: If a class folder is none of ImageNet's, or the scores are not for them.
        """
        folders = [parts for parts, _ in results]
        present = sorted({parts[-1] for parts in folders})
        unknown = [name for name in present if name not in self.number]
        scores = torch.stack([score for _, score in results])
        if unknown or scores.shape[1] != len(self.number):
            raise ValueError(
                f'{len(unknown)} class folders such as {unknown[:1]} are unknown, and the model '
                f'has {scores.shape[1]} classes for {len(self.number)} folders of '
                "imagenet_folders: it must be ImageNet's own `val`"
            )
        columns = torch.tensor([self.number[name] for name in present])
        best = scores[:, columns].argmax(dim=1)
        place = {name: index for index, name in enumerate(present)}
        right = best == torch.tensor([place[parts[-1]] for parts in folders])
        metrics = dict(top1=right.float().mean().item() * 100)
        if self.corruptions:
            metrics['mCE'] = mean_corruption_error([parts[0] for parts in folders], right)
        return metrics


def mean_corruption_error(corruption: Sequence[str], right: torch.Tensor) -> float:
    """Mean over corruptions of the error relative to AlexNet's, in percent.

    Args:
        corruption: Name for each image; those outside the 15 of the benchmark do not count.
        right: bool, whether each image was classified rightly.

    Raises:
        ValueError: If none of the 15 corruptions is there.
    """
    ratios = []
    for name, reference in ALEXNET_ERRORS.items():
        chosen = torch.tensor([other == name for other in corruption])
        if chosen.any():
            ratios.append((1 - right[chosen].float().mean().item()) / reference)
    if not ratios:
        raise ValueError(
            'no image lies in a folder <corruption>/<severity>/<class>/ of ImageNet-C, such as '
            f'gaussian_noise/3/n01440764; the folders found are {sorted(set(corruption))[:3]}'
        )
    return 100 * sum(ratios) / len(ratios)
