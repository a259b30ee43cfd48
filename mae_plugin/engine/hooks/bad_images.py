"""Unusable images must be known while the run goes on."""

from pathlib import Path

from mmengine.hooks import Hook

from mae_plugin.datasets.bad_images import BadImages
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Says where unusable images are listed, and warns when there are more of them.

    The datasets count, replace and list them (:class:`mae_plugin.datasets.bad_images.BadImages`);
    this hook gives them ``<work_dir>/bad_images.txt`` to write to, before any worker starts.

    Args:
        interval (int): Iterations between two looks at the count, which costs microseconds.
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval = interval
        self._known = 0

    def before_train(self, runner) -> None:
        """Give the training data its file."""
        _set_log_file(runner, runner.train_dataloader)

    def before_val(self, runner) -> None:
        """Give the validation data its file."""
        _set_log_file(runner, runner.val_dataloader)

    def before_test(self, runner) -> None:
        """Give the test data its file."""
        _set_log_file(runner, runner.test_dataloader)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Warn if more images turned out unusable since the last look."""
        if self.every_n_train_iters(runner, self.interval):
            self._tell(runner)

    def after_train(self, runner) -> None:
        """Warn of what the last iterations met."""
        self._tell(runner)

    def _tell(self, runner) -> None:
        counter = _counter(runner.train_dataloader)
        if counter is None:
            return
        _, bad = counter.counts()
        if bad > self._known:
            runner.logger.warning(f'{counter.describe()}, and others take their places')
        self._known = bad


def _set_log_file(runner, loader) -> None:
    counter = _counter(loader)
    if counter is not None and counter.log_file is None:
        counter.log_file = str(Path(runner.work_dir) / 'bad_images.txt')


def _counter(loader) -> BadImages | None:
    """The BadImages of a loader's dataset, through wrappers; None if it has none."""
    dataset = getattr(loader, 'dataset', None)
    while dataset is not None and not hasattr(dataset, 'bad_images'):
        dataset = getattr(dataset, 'dataset', None)
    return getattr(dataset, 'bad_images', None)
