"""Top-1 accuracy on ImageNet-A, -R, -Sketch and mean corruption error on ImageNet-C.

The classifier knows the 1000 classes of ImageNet; the variants' folders bear WordNet ids
(``n01440764``), for -A and -R only 200 of them. As in the official evaluations, the prediction is
the best of the classes that the variant has.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mae_plugin.errors import UserError
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
            in ``<corruption>/<severity>/<class>/``; relative to AlexNet, lower is better. All
            classes compete, since that set has all.
        collect_device: As for mmengine's metrics.
        prefix: Of the result's names.

    Raises:
        UserError: If there is no such folder.
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
            raise UserError(
                f"imagenet_folders={imagenet_folders!r} is no folder: point it at ImageNet's "
                '`val` with one sub-folder for each class'
            )
        names = sorted(entry.name for entry in os.scandir(imagenet_folders) if entry.is_dir())
        self.number = {name: index for index, name in enumerate(names)}
        self.corruptions = corruptions

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each sample's class and scores, of corrupted images only whether they are right.

        Scores of ImageNet-C's 3.75 million images would take 15 GB.

        Raises:
            UserError: If a class folder is none of ImageNet's, or the scores are not for them.
        """
        for sample in data_samples:
            parent = Path(sample['img_path']).parent
            folder, corruption = parent.name, parent.parent.parent.name
            score = sample['pred_score'].cpu()
            if folder not in self.number or len(score) != len(self.number):
                raise UserError(
                    f'class folder {folder!r} must be one of the {len(self.number)} in '
                    f'imagenet_folders, and the model has {len(score)} classes for them: it must '
                    "be ImageNet's own `val`"
                )
            label = self.number[folder]
            if self.corruptions:
                self.results.append((sys.intern(corruption), int(score.argmax()) == label))
            else:
                self.results.append((label, score))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy in percent, and ``mCE`` if asked for."""
        firsts, seconds = zip(*results)
        if self.corruptions:
            right = torch.tensor(seconds)
            return dict(
                top1=right.float().mean().item() * 100, mCE=mean_corruption_error(firsts, right)
            )
        present = torch.tensor(sorted(set(firsts)))
        best = present[torch.stack(seconds)[:, present].argmax(dim=1)]
        return dict(top1=(best == torch.tensor(firsts)).float().mean().item() * 100)


def mean_corruption_error(corruption: Sequence[str], right: torch.Tensor) -> float:
    """Mean over corruptions of the error relative to AlexNet's, in percent.

    Args:
        corruption: Name for each image; those outside the 15 of the benchmark do not count.
        right: bool, whether each image was classified rightly.

    Raises:
        UserError: If none of the 15 corruptions is there.
    """
    ratios = []
    for name, reference in ALEXNET_ERRORS.items():
        chosen = torch.tensor([other == name for other in corruption])
        if chosen.any():
            ratios.append((1 - right[chosen].float().mean().item()) / reference)
    if not ratios:
        raise UserError(
            'no image lies in a folder <corruption>/<severity>/<class>/ of ImageNet-C, such as '
            f'gaussian_noise/3/n01440764; the folders found are {sorted(set(corruption))[:3]}'
        )
    return 100 * sum(ratios) / len(ratios)
