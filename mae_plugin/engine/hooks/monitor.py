"""Whether pretraining is getting anywhere: probes of the frozen features, and a report."""

import time

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mae_plugin.evaluation.features import extract_features, labelled_loader, probe_accuracies
from mae_plugin.registry import HOOKS
from mae_plugin.visualization.report import write_report


@HOOKS.register_module()
class MonitorHook(Hook):
    """Scores the encoder's frozen features every few epochs, and writes the run's report.

    With labelled folders, their images are read once and kept in memory (as bytes); the encoder's
    features of them are scored by kNN and by a quick linear probe, logged as ``probe/knn`` and
    ``probe/linear`` beside the loss. It draws no random number, so a run is the same with and
    without it. An evaluation that would bring the time spent here above ``max_share`` of the
    run's is left out; the one after the last epoch never is.

    After training the report, ``report.html``, is written into the work dir, with the pictures of
    ``ReconstructionHook``; ``tools/report.py`` makes one at any time.

    Args:
        interval: Epochs between evaluations.
        train: Folder with one sub-folder for each class, which the probes learn from; without
            it only the report is written.
        val: Folder that the probes are tested on.
        pool: Feature: 'avg' or 'cls'.
        k: Neighbours.
        max_train: Images used of ``train``.
        max_val: Images used of ``val``.
        batch_size: Images at once.
        max_share: Largest share of the run's time.
        report: Whether to write the report.

    Raises:
        ValueError: If only one of ``train`` and ``val`` is given, or a number is not positive.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 20,
        train: str | None = None,
        val: str | None = None,
        pool: str = 'avg',
        k: int = 20,
        max_train: int = 2000,
        max_val: int = 1000,
        batch_size: int = 64,
        max_share: float = 0.04,
        report: bool = True,
    ) -> None:
        if (train is None) != (val is None):
            raise ValueError(f'MonitorHook: train={train!r} and val={val!r} go together')
        if min(interval, max_train, max_val, batch_size) < 1 or max_share <= 0:
            raise ValueError(
                f'MonitorHook: interval={interval}, max_train={max_train}, max_val={max_val}, '
                f'batch_size={batch_size} and max_share={max_share} must be positive'
            )
        self.interval = interval
        self.folders = None if train is None or val is None else (train, val)
        self.pool = pool
        self.k = k
        self.sizes = (max_train, max_val)
        self.batch_size = batch_size
        self.max_share = max_share
        self.report = report
        self.spent = 0.0  # seconds, all evaluations
        self.longest = 0.0

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Read the labelled images once."""
        self.started = time.perf_counter()
        if self.folders is None:
            return
        backbone = _bare(runner).backbone
        size = tuple(side * backbone.patch_size for side in backbone.grid)
        channels = backbone.patch_embed.proj.in_channels
        classes, self.batches = None, []
        for folder, images in zip(self.folders, self.sizes):
            loader, classes = labelled_loader(
                folder, size, classes, images, self.batch_size, channels=channels
            )
            self.batches.append(list(loader))
        self.num_classes = len(classes or ())
        self.spent = time.perf_counter() - self.started

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, at every ``interval`` epochs that can be afforded and after the last."""
        if self.folders is None:
            return
        last = self.is_last_train_epoch(runner)
        if last or (self.every_n_epochs(runner, self.interval) and self._affordable(runner)):
            self._evaluate(runner)

    def _affordable(self, runner: Runner) -> bool:
        share = (self.spent + self.longest) / (time.perf_counter() - self.started)
        if share > self.max_share:
            runner.logger.info(
                f'MonitorHook: no evaluation after epoch {runner.epoch + 1}, it would bring its '
                f"time to {share:.1%} of the run's (max_share={self.max_share:.0%})"
            )
        return share <= self.max_share

    def _evaluate(self, runner: Runner) -> None:
        began = time.perf_counter()
        model = _bare(runner)
        train, val = (
            extract_features(model.backbone, model.data_preprocessor, batches, self.pool)
            for batches in self.batches
        )
        scores = probe_accuracies(train, val, self.num_classes, self.k)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        self.longest = max(self.longest, seconds)
        self.spent += seconds
        tagged = {f'probe/{name}': value for name, value in scores.items()}
        runner.visualizer.add_scalars(tagged, step=runner.iter)
        runner.logger.info(
            f'Frozen features after epoch {runner.epoch + 1}: kNN {scores["knn"]:.1f}, linear '
            f'probe {scores["linear"]:.1f} (%) in {seconds:.1f} s; '
            f'{self.spent / (time.perf_counter() - self.started):.1%} of the run so far'
        )

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the report."""
        if not self.report:
            return
        try:
            path = write_report(runner.work_dir)
        except ValueError as error:  # too short a run to have logged anything
            runner.logger.info(f'no report: {error}')
        else:
            runner.logger.info(f'Report of the run: {path}')


def _bare(runner: Runner) -> torch.nn.Module:
    """The model without a wrapper for distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
