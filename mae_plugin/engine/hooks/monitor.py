"""Whether pretraining is getting anywhere: the frozen features' rank and probes, and a report."""

import logging
import time
from typing import Any

import numpy as np
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.engine.watched_images import WatchedImages
from mae_plugin.engine.whole_model import inspects_model, whole_model
from mae_plugin.errors import UserError
from mae_plugin.evaluation.features import (
    Features,
    extract_features,
    labelled_loader,
    probe_accuracies,
    unlabelled_images,
    watch,
)
from mae_plugin.evaluation.neighbours import nearest
from mae_plugin.evaluation.rankme import effective_rank
from mae_plugin.logs import log
from mae_plugin.models.mae import MAE
from mae_plugin.registry import HOOKS
from mae_plugin.visualization.contact_sheet import contact_sheet
from mae_plugin.visualization.report import write_report

_ROWS, _COLUMNS = 8, 6  # of the neighbours' sheet


@HOOKS.register_module()
class MonitorHook(Hook):
    """Looks at the encoder's frozen features every few epochs, and writes the run's report.

    Without labels: their effective rank (RankMe), logged as ``probe/rank``, and a contact sheet of
    nearest neighbours, ``neighbours`` of the visualizer. On held-out images, which ``images`` or
    ``val`` name, also the loss, ``held_out/loss``; else some crops of the training images do.

    With labelled folders, their images are read once and kept in memory (as bytes); the features
    of them are scored by kNN and by a quick linear probe, logged as ``probe/knn`` and
    ``probe/linear``. ``tools/train.py --probe-train DIR --probe-val DIR --held-out DIR`` set these
    folders. It draws no random number, so a run is the same with and without it.

    Each evaluation logs the seconds that it took and their share of the run so far; ``interval``
    makes them rarer.

    After training the report, ``report.html``, is written into the work dir, with the pictures of
    ``ReconstructionHook``; ``tools/report.py`` makes one at any time. Neither a report nor an
    evaluation that fails ends a run.

    Args:
        interval: Epochs between evaluations.
        train: Folder with one sub-folder for each class, which the probes learn from.
        val: Folder that the probes are tested on.
        pool: Feature: 'avg' or 'cls'.
        k: Neighbours that vote.
        max_train: Images used of ``train``.
        max_val: Images used of ``val``.
        batch_size: Images at once.
        report: Whether to write the report.
        max_share: Without effect; older configs have it.
        images: Folder of held-out images, without labels; ``val`` by default.
        max_images: Images used of it. A rank is at most their number. 0: neither rank nor
            neighbours.
        bands: Channels shown for images of other than three channels.

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
        images: str | None = None,
        max_images: int = 1000,
        bands: list[int] | None = None,
    ) -> None:
        if (train is None) != (val is None):
            raise UserError(f'MonitorHook: train={train!r} and val={val!r} go together')
        if min(interval, max_train, max_val, batch_size) < 1 or max_images < 0:
            raise UserError(
                f'MonitorHook: interval={interval}, max_train={max_train}, max_val={max_val} and '
                f'batch_size={batch_size} must be 1 or more, max_images={max_images} 0 or more'
            )
        self.interval = interval
        self.folders = None if train is None or val is None else (train, val)
        self.pool = pool
        self.k = k
        self.sizes = (max_train, max_val)
        self.batch_size = batch_size
        if max_share is not None:
            log(
                f'MonitorHook: max_share={max_share} has no effect any more; interval={interval} '
                'says how often there is an evaluation',
                logging.WARNING,
            )
        self.report = report
        self.held_out = images or val
        self.max_images = max_images
        self.bands = bands

    def before_train(self, runner: Runner) -> None:
        """Find the images."""
        self.started, self.spent = time.perf_counter(), 0.0
        self.watched: WatchedImages | None = None
        self.loaders: list[Any] = []
        if not inspects_model(runner.model):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if self.folders is None and not isinstance(model, MAE):
            return
        rows, columns = model.backbone.grid
        patch_size = model.backbone.patch_size
        size = rows * patch_size, columns * patch_size
        loading: dict[str, Any] = dict(
            channels=model.backbone.patch_embed.proj.in_channels, **decoding_options(runner.cfg)
        )
        if self.max_images and isinstance(model, MAE):
            dataset = runner.train_dataloader.dataset
            if self.held_out is not None:
                dataset = unlabelled_images(self.held_out, size, **loading)
            self.watched = WatchedImages(dataset, self.max_images, self.batch_size)
        classes = None
        for folder, images in zip(self.folders or (), self.sizes):
            loader, classes = labelled_loader(
                folder, size, classes, images, self.batch_size, **loading
            )
            self.loaders.append(loader)
        self.num_classes = len(classes or ())
        self.batches: list[list[dict]] | None = None

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate, every ``interval`` epochs and after the last."""
        due = self.is_last_train_epoch(runner) or self.every_n_epochs(runner, self.interval)
        if not due or not (self.loaders or self.watched):
            return
        began = time.perf_counter()
        try:
            told = [*self._probe(runner), *self._watch(runner)]
        except Exception as error:
            runner.logger.warning(f'no evaluation after epoch {runner.epoch + 1}: {error!r}')
            return
        now = time.perf_counter()
        self.spent += now - began
        if is_main_process():
            runner.logger.info(
                f'Frozen features after epoch {runner.epoch + 1}: {", ".join(told)} in '
                f'{now - began:.1f} s; evaluations took '
                f'{self.spent / (now - self.started):.0%} of the time so far'
            )

    def _probe(self, runner: Runner) -> list[str]:
        """Score the labelled images."""
        if not self.loaders:
            return []
        if self.batches is None:
            self.batches = [list(loader) for loader in self.loaders]
        train, val = (self._features(runner, batches) for batches in self.batches)
        scores = probe_accuracies(train, val, self.num_classes, self.k)
        if is_main_process():
            tagged = {f'probe/{name}': value for name, value in scores.items()}
            runner.visualizer.add_scalars(tagged, step=runner.iter)
        return [f'kNN {scores["knn"]:.1f}, linear probe {scores["linear"]:.1f} (%)']

    def _features(self, runner: Runner, batches: list[dict]) -> Features:
        with whole_model(runner.model) as model:
            return extract_features(model.backbone, model.data_preprocessor, batches, self.pool)

    def _watch(self, runner: Runner) -> list[str]:
        """Rank, neighbours, and the loss where the images are held out."""
        if self.watched is None:
            return []
        with whole_model(runner.model) as model:
            found = watch(model, self.watched.batches(), self.pool, self.held_out is not None)
        scalars = {'probe/rank': effective_rank(found.features)}
        told = [
            f'effective rank {scalars["probe/rank"]:.1f} of {min(found.features.shape)} possible'
        ]
        if found.loss is not None:
            scalars['held_out/loss'] = found.loss
            told.append(f'loss on held-out images {found.loss:.4f}')
        if is_main_process():
            runner.visualizer.add_scalars(scalars, step=runner.iter)
            if len(self.watched) > 1:
                sheet = self._neighbours(found.features.cpu(), self.watched)
                runner.visualizer.add_image('neighbours', sheet, step=runner.iter)
        return told

    def _neighbours(self, features: Tensor, watched: WatchedImages) -> np.ndarray:
        count = min(_ROWS, len(watched))
        queries = [number * len(watched) // count for number in range(count)]
        ids, scores = nearest(features, queries, _COLUMNS)
        rows = [
            watched.pictures([query, *row.tolist()], self.bands)
            for query, row in zip(queries, ids)
        ]
        captions = [['query', *(f'{score:.2f}' for score in row)] for row in scores.tolist()]
        return contact_sheet(rows, captions)

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
