"""The training loop: epochs that can be left and entered at any iteration."""

from contextlib import closing

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.engine.feed import RESTARTS, TIMEOUT, BatchFeed
from mae_plugin.engine.image_shape import hand_on_image_shape
from mae_plugin.engine.worker_memory import LeanInit
from mae_plugin.errors import UserError
from mae_plugin.registry import DATA_SAMPLERS, LOOPS, builds


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop with a position inside the epoch.

    A checkpoint of iteration k, taken anywhere, continues with the batch that iteration k would
    have had, the same log lines and a validation that was still due. The epoch's position is
    ``iteration - epoch * len(dataloader)``; the sampler is put there (StreamSampler), the state
    that ``ExactResumeHook`` saved is restored at the very point where it was taken (hook method
    ``after_resume``), and dead or hung data workers are replaced (:class:`BatchFeed`).

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): The training data.
        max_epochs (int): Epochs of the whole run.
        worker_timeout (float): Seconds without a batch after which workers count as hung; the
            first batch includes their start and the fetching of remote shards.
        worker_restarts (int): Restarts of the workers on one batch before the run stops.
        **kwargs: As for ``EpochBasedTrainLoop``: ``val_begin``, ``val_interval``,
            ``dynamic_intervals``.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        worker_timeout: float = TIMEOUT,
        worker_restarts: int = RESTARTS,
        **kwargs,
    ) -> None:
        if isinstance(dataloader, dict) and builds(
            DATA_SAMPLERS, dataloader['sampler'], StreamSampler
        ):
            # The sampler counts in global batches; a config need say the size only once.
            dataloader['sampler']['batch_size'] = dataloader['batch_size']
        if isinstance(dataloader, dict):
            said = {key: runner.cfg.get(key) for key in ('model', 'default_scope')}
            hand_on_image_shape(dict(said, train_dataloader=dataloader))
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        self.dataloader.worker_init_fn = LeanInit(self.dataloader.worker_init_fn, runner.model)
        self.feed = BatchFeed(self.dataloader, runner.seed, worker_timeout, worker_restarts)
        self._resuming = False

    def run(self) -> nn.Module:
        """Train until ``max_epochs``, from wherever the checkpoint stopped."""
        self.runner.call_hook('before_train')
        self._check_position()
        self._rename_position()
        self._resuming = self._iter > 0
        if self._resuming and self._first_batch() == 0:
            self._finish_resuming()
            # The checkpoint of an epoch's end is taken before that epoch's validation.
            if self.runner.message_hub.get_info('epoch_validated') != self._epoch:
                self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.feed.close()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Run what is left of the current epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._finish_resuming()
        with closing(self.feed.batches(self._epoch, self._first_batch())) as batches:
            for index, batch in batches:
                self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _first_batch(self) -> int:
        return self._iter - self._epoch * len(self.dataloader)

    def _finish_resuming(self) -> None:
        if self._resuming:
            self._resuming = False
            self.runner.call_hook('after_resume')

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        ):
            self.runner.val_loop.run()
        # A name that began with 'val' would be in each of validation's log lines.
        self.runner.message_hub.update_info('epoch_validated', self._epoch)

    def _rename_position(self) -> None:
        """The last epoch with its validation done had another name in older checkpoints."""
        hub = self.runner.message_hub
        old = hub.runtime_info.pop('validated_epoch', None)
        if old is not None and hub.get_info('epoch_validated') is None:
            hub.update_info('epoch_validated', old)

    def _check_position(self) -> None:
        """Refuse a checkpoint whose iterations mean something else in this run.

        Raises:
            UserError: If the global batch or the epoch's length has changed.
        """
        now = dict(
            global_batch=images_of_iteration(self.dataloader),
            epoch_length=len(self.dataloader),
        )
        hub = self.runner.message_hub
        saved = {key: hub.get_info(key) for key in now}
        if self._iter > 0 and any(saved[key] not in (None, now[key]) for key in now):
            raise UserError(
                f'the checkpoint was made with {saved}, this run has {now}: iteration '
                f'{self._iter} would be other images. Keep batch size x processes and the data '
                'as they were, or start a new run from its weights with load_from'
            )
        if not 0 <= self._first_batch() <= len(self.dataloader):
            raise UserError(
                f'iteration {self._iter} does not lie in epoch {self._epoch + 1} of '
                f'{len(self.dataloader)} iterations: the data or the batch size has changed since '
                'the checkpoint; start a new run from its weights with load_from'
            )
        hub.update_info_dict(now)


def images_of_iteration(loader: DataLoader) -> int | None:
    """Images of an iteration over all processes; None where a loader does not tell."""
    size = loader.batch_size
    if size is None:
        size = getattr(loader.batch_sampler, 'batch_size', None)
    return None if size is None else size * get_world_size()
