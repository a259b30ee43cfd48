"""The pretraining loss on held-out images."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mae_plugin.registry import METRICS


@METRICS.register_module()
class ReconstructionLoss(BaseMetric):
    """Mean over images of the loss on their masked patches.

    An image's mask follows from its ``sample_key``, and a dataset's key from the image's place,
    so that two checkpoints are compared on the same masks. Losses of different targets (pixels,
    normalised pixels, tokens) cannot be compared with each other.

    It takes mmengine's ``collect_device`` ('cpu' or 'gpu', where results of several processes
    meet) and ``prefix`` (put before the name ``loss``).
    """

    default_prefix = 'reconstruction'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the loss of each image: ``reconstruction_loss`` of ``MAE.predict``."""
        losses: list[Tensor] = [sample['reconstruction_loss'] for sample in data_samples]
        self.results += torch.stack(losses).double().tolist()

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Mean over all images of all processes."""
        return dict(loss=sum(results) / len(results))
