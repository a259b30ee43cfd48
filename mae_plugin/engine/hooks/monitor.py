"""Whether pretraining is getting anywhere: probes of the frozen features, and a report."""

import logging
import time

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.engine.whole_model import inspects_model, whole_model
from mae_plugin.errors import UserError
from mae_plugin.evaluation.features import (
    Features,
    extract_features,
    labelled_loader,
    probe_accuracies,
)
from mae_plugin.registry import HOOKS
from mae_plugin.visualization.report import write_report


@HOOKS.register_module()
class MonitorHook(Hook):
    """Scores the encoder's frozen features every few epochs, and writes the run's report.

    With labelled folders, their images are read once and kept in memory (as bytes); the encoder's
    features of them are scored by kNN and by a quick linear probe, logged as ``probe/knn`` and
    ``probe/linear`` beside the loss. It draws no random number, so a run is the same with and
    without it.

    Each evaluation logs the seconds that it took and their share of the run so far; ``interval``
    makes them rarer.

    After training the report, ``report.html``, is written into the work dir, with the pictures of
    ``ReconstructionHook``; ``tools/report.py`` makes one at any time. Neither a report nor an
    evaluation that fails ends a run.

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
        report: Whether to write the report.
        max_share: Without effect; older configs have it.

    Raises:
        ValueError: If only one of ``train`` and ``val`` is given, or a number is not positive.
    """

    # After the CheckpointHook.
    priority = 'LOWEST'

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
        report: bool = True,
        max_share: float | None = None,
    ) -> None:
        if (train is None) != (val is None):
            raise UserError(f'MonitorHook: train={train!r} and val={val!r} go together')
        if min(interval, max_train, max_val, batch_size) < 1:
            raise UserError(
                f'MonitorHook: interval={interval}, max_train={max_train}, max_val={max_val} and '
                f'batch_size={batch_size} must be 1 or more'
            )
        self.interval = interval
        self.folders = None if train is None or val is None else (train, val)
        self.pool = pool
        self.k = k
        self.sizes = (max_train, max_val)
        self.batch_size = batch_size
        if max_share is not None:
            print_log(
                f'MonitorHook: max_share={max_share} has no effect any more; interval={interval} '
                'says how often there is an evaluation',
                'current',
                logging.WARNING,
            )
        self.report = report

    def before_train(self, runner: Runner) -> None:
        """Find the labelled images."""
        self.started, self.spent = time.perf_counter(), 0.0
        if self.folders is None or not inspects_model(runner.model):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        rows, columns = model.backbone.grid
        patch_size = model.backbone.patch_size
        classes, self.loaders = None, []
        for folder, images in zip(self.folders, self.sizes):
            loader, classes = labelled_loader(
                folder,
                (rows * patch_size, columns * patch_size),
                classes,
                images,
                self.batch_size,
                channels=model.backbone.patch_embed.proj.in_channels,
                **decoding_options(runner.cfg),
            )
            self.loaders.append(loader)
        self.num_classes = len(classes or ())
        self.batches: list[list[dict]] | None = None

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, every ``interval`` epochs and after the last."""
        due = self.is_last_train_epoch(runner) or self.every_n_epochs(runner, self.interval)
        if self.folders is None or not due or not inspects_model(runner.model):
            return
        try:
            self._evaluate(runner)
        except Exception as error:
            runner.logger.warning(f'no evaluation after epoch {runner.epoch + 1}: {error!r}')

    def _evaluate(self, runner: Runner) -> None:
        began = time.perf_counter()
        if self.batches is None:
            self.batches = [list(loader) for loader in self.loaders]
        train, val = (self._features(runner, batches) for batches in self.batches)
        scores = probe_accuracies(train, val, self.num_classes, self.k)
        now = time.perf_counter()
        self.spent += now - began
        if not is_main_process():
            return
        tagged = {f'probe/{name}': value for name, value in scores.items()}
        runner.visualizer.add_scalars(tagged, step=runner.iter)
        runner.logger.info(
            f'Frozen features after epoch {runner.epoch + 1}: kNN {scores["knn"]:.1f}, linear '
            f'probe {scores["linear"]:.1f} (%) in {now - began:.1f} s; evaluations took '
            f'{self.spent / (now - self.started):.0%} of the time so far'
        )

    def _features(self, runner: Runner, batches: list[dict]) -> Features:
        with whole_model(runner.model) as model:
            return extract_features(model.backbone, model.data_preprocessor, batches, self.pool)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the report."""
        if not self.report:
            return
        try:
            path = write_report(runner.work_dir)
        except ValueError as error:  # too short a run to have logged anything
            runner.logger.info(f'no report: {error}')
        except Exception as error:
            runner.logger.warning(f'no report of the run: {error!r}')
        else:
            runner.logger.info(f'Report of the run: {path}')
