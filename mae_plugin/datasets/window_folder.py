"""A folder of images that are shown in proportion to their area."""

import contextlib
import logging
from collections.abc import Sequence

import numpy as np

from mae_plugin.datasets.header_cache import HeaderCache
from mae_plugin.datasets.image_folder import EXTENSIONS, ImageFolder
from mae_plugin.errors import UserError
from mae_plugin.files import locked
from mae_plugin.logs import log
from mae_plugin.registry import DATASETS

WINDOW_EXTENSIONS = (
    *EXTENSIONS, '.svs', '.ndpi', '.scn', '.bif', '.btf', '.qptiff', '.zarr',
)  # fmt: skip


@DATASETS.register_module()
class WindowFolder(ImageFolder):
    """As :class:`ImageFolder`, but a sample is a window's worth of area, not an image.

    The areas of all images lie end to end on one line, which is cut into ``len(dataset)`` equal
    stretches. Sample ``k`` of a pass draws a point of stretch ``k``, and shows the image in which
    it lies: over the passes every image is shown exactly in proportion to its area, and each pass
    comes as near to it as whole samples can. The draw follows from (seed, pass, index) as all
    else, so resuming and any number of processes see the same.

    For :class:`~mae_plugin.datasets.load_random_window.LoadRandomWindow`. Sizes are read from the
    headers once and kept beside the list of files.

    Args:
        data_root (str): See :class:`ImageFolder`.
        window (int | tuple[int, int]): Height and width of a sample's area in pixels, as ``size``
            of the loader.
        samples (int, optional): Samples of a pass. None takes the area over that of a window. It
            is at least the number of images.
        extensions (Sequence[str]): Endings of image files; slides, DICOM and Zarr too.
        kwargs: The rest of :class:`ImageFolder`.

    Raises:
        UserError: If no image has a sound header, or ``window`` is not positive.
    """

    def __init__(
        self,
        data_root: str,
        window: int | tuple[int, int] = 224,
        samples: int | None = None,
        extensions: Sequence[str] = WINDOW_EXTENSIONS,
        **kwargs,
    ) -> None:
        super().__init__(data_root, extensions=extensions, **kwargs)
        height, width = (window, window) if isinstance(window, int) else window
        if min(height, width) < 1 or (samples is not None and samples < 1):
            raise UserError(f'window={window} and samples={samples} must be positive')
        areas = self._areas()
        self._ends = np.cumsum(areas)
        self._last = int(np.flatnonzero(areas)[-1])
        if samples is None:
            samples = round(float(self._ends[-1]) / (height * width))
        self._samples = max(samples, len(self.paths))

    def _areas(self) -> np.ndarray:
        """Pixels of each image, (N,) float64; 0 where the header is unusable."""
        cache = HeaderCache.of(self.root)
        with contextlib.ExitStack() as stack:  # other processes wait, and find it done
            with contextlib.suppress(OSError):
                stack.enter_context(locked(cache.file.with_suffix('.lock')))
            headers = HeaderCache(cache.file).read(self.root, list(self.paths))
        areas = np.array([float(header.height) * header.width for header in headers])
        bad = np.flatnonzero(areas == 0)
        if len(bad):
            told = f'{self.path(int(bad[0]))}: {headers[bad[0]].reason}'
            if len(bad) == len(areas):
                raise UserError(f'none of the {len(areas)} images can be used, the first: {told}')
            log(
                f'{len(bad)} of {len(areas)} images are left out, the first: {told}',
                level=logging.WARNING,
            )
        return areas

    def __len__(self) -> int:
        return self._samples

    def name(self, index: int) -> str:
        """A sample is a window of some image, and has no name."""
        raise UserError('the samples of WindowFolder are windows, not images: they have no scores')

    def image_of(self, index: int, rng: np.random.Generator) -> int:
        """Number of the image in which the point that is drawn for a sample lies."""
        point = (index + rng.random()) / self._samples * self._ends[-1]
        return int(min(np.searchsorted(self._ends, point, side='right'), self._last))
