"""One endless training order that does not depend on the number of processes."""

from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mae_plugin.errors import UserError
from mae_plugin.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class StreamSampler(Sampler):
    """Samples without replacement from one infinite stream of permutations.

    The stream is ``perm_0 ++ perm_1 ++ ...``, permutations of ``range(N)`` that depend on
    ``(seed, pass)`` alone. With ``G = batch_size * world_size``, global batch ``i`` is the
    stream's positions ``[i * G, (i + 1) * G)`` and rank ``r`` takes every ``world_size``-th of
    them from ``i * G + r``. So every image is seen exactly once per pass, nothing is dropped or
    repeated whatever ``N`` and the number of processes, and resuming is :meth:`set_position`.

    An epoch has a constant number of whole global batches, ``max(G, N * repeats // G * G)``
    samples, so passes and epochs drift apart where ``G`` does not divide ``N``; what an epoch
    leaves over opens the next one.

    Args:
        dataset (Sized): The dataset; it is asked for ``(pass, index)``. A dataset with
            ``seed=None`` gets this sampler's seed, so that crops and masks follow the run's.
        batch_size (int, optional): Images per process and iteration, as given to the DataLoader;
            may be set later, before the first use.
        seed (int, optional): Seed of the order; None asks rank 0 for one.
        repeats (int): Passes over the data per epoch; useful with few images.
        shuffle (bool): If False, every pass is ``0 ... N - 1``.

    Raises:
        UserError: If the dataset is empty, or ``batch_size`` or ``repeats`` is not positive.
    """

    def __init__(
        self,
        dataset,
        batch_size: int | None = None,
        seed: int | None = None,
        repeats: int = 1,
        shuffle: bool = True,
    ) -> None:
        if len(dataset) < 1:
            raise UserError('the dataset is empty; give it at least one image')
        if repeats < 1 or (batch_size is not None and batch_size < 1):
            raise UserError(
                f'batch_size={batch_size} and repeats={repeats} must both be at least 1'
            )
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = sync_random_seed() if seed is None else seed
        self.repeats = repeats
        self.shuffle = shuffle
        self.position = 0
        if getattr(dataset, 'seed', 0) is None:
            dataset.seed = self.seed

    @property
    def global_batch(self) -> int:
        """int: Images per iteration over all processes."""
        if self.batch_size is None:
            raise UserError('StreamSampler needs batch_size, the same as its DataLoader has')
        return self.batch_size * self.world_size

    @property
    def pass_size(self) -> int:
        """int: Images of one pass: N."""
        return len(self.dataset)

    @property
    def epoch_size(self) -> int:
        """int: Images per epoch over all processes; a multiple of :attr:`global_batch`."""
        whole_batches = self.pass_size * self.repeats // self.global_batch
        return max(1, whole_batches) * self.global_batch

    def __len__(self) -> int:
        """Images per epoch of this process."""
        return self.epoch_size // self.world_size

    def set_position(self, position: int) -> None:
        """Continue from a stream position, ``iterations done * global batch``.

        Raises:
            UserError: If ``position`` is not a whole number of global batches.
        """
        if position < 0 or position % self.global_batch:
            raise UserError(
                f'position={position} is not a multiple of the global batch {self.global_batch}; '
                f'pass iterations done times the global batch'
            )
        self.position = position

    def set_epoch(self, epoch: int) -> None:
        """Continue from the start of an epoch; mmengine's loops call this before each."""
        self.set_position(epoch * self.epoch_size)

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of one pass: (N,) int64, a function of (seed, pass).

        A dataset may have an order of its own, as shards do: ``dataset.permutation(rng)``.
        """
        total = len(self.dataset)
        if not self.shuffle:
            return np.arange(total)
        rng = np.random.default_rng((self.seed, epoch))
        own = getattr(self.dataset, 'permutation', None)
        return rng.permutation(total) if own is None else own(rng)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield ``(pass, index)`` from the position to the end of the epoch it lies in."""
        total = self.pass_size
        end = (self.position // self.epoch_size + 1) * self.epoch_size
        current, order = -1, np.empty(0, np.int64)
        for position in range(self.position + self.rank, end, self.world_size):
            epoch, offset = divmod(position, total)
            if epoch != current:
                current, order = epoch, self.permutation(epoch)
            yield epoch, int(order[offset])
        self.position = end
