"""Soft curation: images that a trained MAE finds hard come more often."""

import numpy as np

from mae_plugin.datasets.image_scores import ImageScores, image_names
from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class CuratedSampler(StreamSampler):
    """A :class:`StreamSampler` whose passes keep each image with a probability equal to its loss.

    As Pixio curates images of the web (Yang et al. 2025, arXiv 2512.15715): what a trained MAE
    reconstructs well, plain and repeated things, is mostly left out. Which images a pass keeps is
    drawn anew in each, so that none is lost for good.

    Every pass has the same number of images, the sum of the probabilities rounded down; these are
    scaled by as much. They are drawn by systematic sampling (Madow 1949) along the pass's random
    order, which gives every image exactly its probability, and none twice. All is a function of
    (seed, pass), so that the order is the same on any number of processes and after resuming.

    Args:
        dataset (ImageDataset): As for :class:`StreamSampler`.
        scores (str): File with the loss of every image: ``tools/score_images.py`` writes it.
        full (float): The loss from which on an image is always kept. Normalised pixels have
            losses below 1; with other targets it wants another value.
        kwargs: The rest of :class:`StreamSampler`.

    Raises:
        UserError: If ``full`` is not positive; if an image has no loss in the file, or all have
            almost none.
    """

    def __init__(self, dataset, scores: str, full: float = 1.0, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        if not full > 0:
            raise UserError(f'full={full} must be positive: a loss of that or more is always kept')
        if not hasattr(dataset, 'name'):
            raise UserError(
                f'CuratedSampler knows images by their names, which {type(dataset).__name__} does '
                'not tell: take ImageFolder, ImageShards or ConcatDataset'
            )
        names = image_names(dataset)
        losses = ImageScores.load(scores).of(names).astype(np.float64)
        unknown = np.flatnonzero(np.isnan(losses))
        if len(unknown):
            raise UserError(
                f'{scores!r} has no loss of {len(unknown)} of {len(names)} images, the first '
                f'{names[int(unknown[0])]!r}: run tools/score_images.py again on the images that '
                'training reads; it goes on where it was'
            )
        shares = np.clip(losses / full, 0, 1)
        kept = int(shares.sum())
        if kept < 1:
            raise UserError(
                f'the losses in {scores!r} add up to {losses.sum():.3g}, so that no image would '
                f'be kept: lower full={full}'
            )
        self.probabilities = shares * (kept / shares.sum())
        self._pass_size = kept
        log(f'CuratedSampler: a pass has {kept} of {len(names)} images, by {scores}')

    @property
    def pass_size(self) -> int:
        """int: Images that a pass keeps."""
        return self._pass_size

    def permutation(self, epoch: int) -> np.ndarray:
        """The images of one pass in their order: (pass_size,) int64, of (seed, pass) alone."""
        order = super().permutation(epoch)
        places = np.cumsum(self.probabilities[order])
        places[-1] = self._pass_size  # which rounding may miss
        start = np.random.default_rng((self.seed, epoch, 1)).random()
        steps = np.floor(places + start)
        return order[np.diff(steps, prepend=0) > 0]
