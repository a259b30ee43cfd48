"""What image folders and shards share: samples that are functions of (seed, pass, index)."""

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from mae_plugin.datasets.bad_images import BadImages, TooManyBadImages
from mae_plugin.datasets.randomness import sample_key, sample_rng
from mae_plugin.registry import TRANSFORMS

_MAX_ATTEMPTS = 100


class ImageDataset(Dataset):
    """A dataset of images behind a pipeline of transforms.

    ``dataset[(pass, index)]`` and ``dataset[index]`` (pass 0) give a packed sample. Everything
    random about it comes from (seed, pass, index), never from the worker or a global generator.

    An image that cannot be used is counted, logged and replaced by another one that depends on
    (seed, pass, index) alone, up to a share: see :class:`BadImages`.

    A subclass gives ``__len__``, :meth:`path`, :meth:`name`, :meth:`locate` and ``classes``.

    Args:
        pipeline (Sequence[dict | Callable]): Transforms, the first of which loads the image.
        seed (int, optional): Seed of crops, flips, colours and masks. None takes the sampler's,
            that is the run's (``randomness=dict(seed=...)``), or 0 without a sampler.
        bad_images (dict, optional): Arguments of :class:`BadImages`, such as ``max_share``.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        pipeline: Sequence = (),
        seed: int | None = None,
        bad_images: dict | None = None,
    ) -> None:
        self.seed = seed
        self.bad_images = BadImages(**(bad_images or {}))
        self.pipeline = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]

    @property
    def metainfo(self) -> dict:
        """dict: ``classes`` if the images are labelled, as OpenMMLab's loops expect."""
        return {} if self.classes is None else dict(classes=self.classes)

    def __len__(self) -> int:
        raise NotImplementedError

    def path(self, index: int) -> str:
        """Name of an image in messages and metainfo."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Name of an image that stays where its folder or shards are moved.

        Raises:
            UserError: If samples are not whole images.
        """
        return self.path(index)

    def locate(self, index: int) -> dict:
        """What a loading transform needs: ``img_path``, maybe ``img_bytes`` and ``gt_label``.

        Raises:
            BadImageError or OSError: If the image cannot be had.
        """
        raise NotImplementedError

    def image_of(self, index: int, rng: np.random.Generator) -> int:
        """Number of the image that a sample shows, for :meth:`path` and :meth:`locate`.

        It is the sample's own, unless the data set has other samples than images.

        Args:
            index: Number of the sample.
            rng: What draws the sample; anything drawn here follows from (seed, pass, index).
        """
        return index

    def transforms(self, index: int) -> Sequence[Callable]:
        """The pipeline of one image."""
        return self.pipeline

    def full_init(self) -> None:
        """Nothing is left to load: mmengine's wrappers of data sets ask for it."""

    def worker_files(self) -> dict[int, str]:
        """The file that each worker is on, by worker number; -1 is the main process."""
        return {worker: self.path(index) for worker, index in self.bad_images.current().items()}

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """One packed sample, of pass 0 unless ``item`` is ``(pass, index)``.

        Raises:
            IndexError: If there is no such image.
            TooManyBadImages: If too many images cannot be used.
        """
        epoch, index = item if isinstance(item, tuple) else (0, int(item))
        total = len(self)
        if not -total <= index < total:
            raise IndexError(f'index {index} is out of range for {total} images')
        index %= total
        seed, chosen = self.seed or 0, index
        first = ''
        for attempt in range(_MAX_ATTEMPTS):
            rng = sample_rng(seed, epoch, index)
            image = self.image_of(chosen, rng)
            self.bad_images.begin(image)
            try:
                results = self.locate(image)
                results['rng'] = rng
                results['sample_key'] = sample_key(seed, epoch, index)
                for transform in self.transforms(image):
                    results = transform(results)
            except Exception as error:
                if not self.bad_images.is_bad(error):
                    raise
                first = first or self.path(image)
                self.bad_images.add(self.path(image), error)
                chosen = sample_key(seed, epoch, index, attempt) % total
            else:
                self.bad_images.end()
                return results
        raise TooManyBadImages(
            f'{_MAX_ATTEMPTS} images in a row could not be used, the first being '
            f'{first}; mend the data'
        )
