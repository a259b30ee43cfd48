"""Whether pretraining is getting anywhere: probes of the frozen features, and a report."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.distributed.fsdp import FullyShardedDataParallel

from mae_plugin.engine.whole_model import takes_part, whole_model
from mae_plugin.evaluation.features import (
    Features,
    extract_features,
    labelled_loader,
    probe_accuracies,
)
from mae_plugin.evaluation.linear_probe import LinearProbe
from mae_plugin.registry import HOOKS
from mae_plugin.visualization.report import write_report

Result = TypeVar('Result')


@HOOKS.register_module()
class MonitorHook(Hook):
    """Scores the encoder's frozen features every few epochs, and writes the run's report.

    With labelled folders, their images are read once and kept in memory (as bytes); the encoder's
    features of them are scored by kNN and by a quick linear probe, logged as ``probe/knn`` and
    ``probe/linear`` beside the loss. It draws no random number, so a run is the same with and
    without it.

    It takes at most ``max_share`` of the run's time: what an evaluation costs is estimated from
    one batch before training and measured from then on, and one that cannot be afforded is left
    out. What the last epoch's will cost is set aside, so that only in a run too short for a
    single evaluation it is missing; ``tools/probe.py`` scores the checkpoint then.

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
        max_share: Largest share of the run's time.
        report: Whether to write the report.

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

    def before_train(self, runner: Runner) -> None:
        """Find the labelled images, and estimate what an evaluation will cost."""
        self.started = time.perf_counter()
        if self.folders is None or not takes_part(runner.model):
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
            )
            self.loaders.append(loader)
        self.num_classes = len(classes or ())
        self.batches: list[list[dict]] | None = None
        self._estimate(runner)
        self.spent = time.perf_counter() - self.started

    def _estimate(self, runner: Runner) -> None:
        """Seconds that reading all images, and one evaluation, will take."""
        batches = sum(map(len, self.loaders))
        batch, seconds = _timed(lambda: next(iter(self.loaders[0])))
        self.reading = batches * seconds
        for _ in range(2):  # the first call to a kernel is slower than all others
            found, seconds = _timed(lambda: self._features(runner, [batch]))
        # The quick probe passes up to 250 times over its features. Noise needs as many as any.
        images = len(self.loaders[0]) * self.batch_size
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(images, found.features.shape[1], generator=generator)
        noise = noise.to(found.features.device)
        labels = torch.arange(images, device=noise.device) % self.num_classes
        _, passes = _timed(lambda: LinearProbe(max_iter=5).fit(noise, labels, self.num_classes))
        self.longest = batches * seconds + 250 / 6 * passes
        self.measured = False

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, every ``interval`` epochs and after the last, if it can be afforded."""
        last = self.is_last_train_epoch(runner)
        due = last or self.every_n_epochs(runner, self.interval)
        if self.folders is None or not due or not takes_part(runner.model):
            return
        verdict = [self._affordable(runner, last)]
        if isinstance(runner.model, FullyShardedDataParallel):
            # All processes evaluate or none: the clock of one decides.
            broadcast_object_list(verdict)
        if not verdict[0]:
            return
        began = time.perf_counter()
        try:
            self._evaluate(runner)
        except Exception as error:
            runner.logger.warning(
                f'no evaluation after epoch {runner.epoch + 1}: {type(error).__name__}: {error}'
            )
        self.spent += time.perf_counter() - began

    def _affordable(self, runner: Runner, last: bool) -> bool:
        # Before the last evaluation, its own cost is set aside.
        needed = self.spent + self.reading + self.longest * (1 if last else 2)
        share = needed / (time.perf_counter() - self.started)
        if share > self.max_share:
            runner.logger.info(
                f'MonitorHook: no evaluation after epoch {runner.epoch + 1}, it would bring its '
                f"time to {share:.1%} of the run's (max_share={self.max_share:.0%})"
                + (': raise max_share, or score the checkpoint with tools/probe.py' * last)
            )
        return share <= self.max_share

    def _evaluate(self, runner: Runner) -> None:
        if self.batches is None:
            self.batches = [list(loader) for loader in self.loaders]
            self.reading = 0.0
        scores, seconds = _timed(lambda: self._scores(runner))
        self.longest = max(seconds, self.longest if self.measured else 0.0)
        self.measured = True
        if not is_main_process():
            return
        tagged = {f'probe/{name}': value for name, value in scores.items()}
        runner.visualizer.add_scalars(tagged, step=runner.iter)
        runner.logger.info(
            f'Frozen features after epoch {runner.epoch + 1}: kNN {scores["knn"]:.1f}, linear '
            f'probe {scores["linear"]:.1f} (%) in {seconds:.1f} s'
        )

    def _scores(self, runner: Runner) -> dict[str, float]:
        train, val = (self._features(runner, batches) for batches in self.batches or ())
        return probe_accuracies(train, val, self.num_classes, self.k)

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
            runner.logger.warning(f'no report of the run: {type(error).__name__}: {error}')
        else:
            runner.logger.info(f'Report of the run: {path}')


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and its seconds, those of the GPU included."""
    began = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - began
