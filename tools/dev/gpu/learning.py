"""Optional stage: what our MAE and mmpretrain's have learned after equal minutes.

ViT-S at 128 px on all real photographs that installed packages carry, both with the same loader,
peak learning rate and cosine over the time; ours in bfloat16, mmpretrain's in float16 with its
loss scaler, as shipped. Then kNN and a linear probe of frozen features tell from which photograph
a crop comes: training crops from one side of each photograph, test crops from the other. That is
an easy task of few classes, made of what there is; it compares the two, and is no benchmark's
score.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.contestants import Contestant, Options, ours, quiet
from torch import Tensor
from torch.utils.data import DataLoader

from mae_plugin.datasets import (
    ImageFolder,
    LoadRandomResizedCrop,
    LoadResizeCenterCrop,
    PackInputs,
    StreamSampler,
    stack_collate,
)
from mae_plugin.evaluation.knn import accuracy, knn_scores
from mae_plugin.evaluation.linear_probe import LinearProbe
from mae_plugin.models import MAEDataPreprocessor

from .context import Context, Failure
from .environment import usable_peers
from .photographs import write_classes

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Size:
    """Model and batch; crops of each photograph for training and test; workers; share of time."""

    options: Options
    train: int
    test: int
    workers: int
    seconds: float
    learning_rate: float = 6e-4
    warm_up: float = 0.1


def main(context: Context) -> None:
    """Train each, then probe each."""
    size = context.scale(
        Size(
            Options('small', img_size=128, batch_size=512, device='cuda', amp=True),
            200,
            40,
            8,
            (context.left() - 60) / 2,
        ),
        Size(Options('tiny', img_size=32, batch_size=4, decoder_depth=1), 4, 2, 0, 0.5),
    )
    train, test = write_classes(
        context.scratch / 'classes', size.options.img_size * 3 // 2, size.train, size.test,
        context.photos,
    )  # fmt: skip
    peers, absent = usable_peers()
    if absent:
        context.record.table('Peers that are absent', absent)
    builders: dict[str, tuple[Callable[[Options], Contestant], Callable[[Any], Encode]]]
    builders = {'mae_plugin': (ours, _our_encoder)}
    if 'mmpretrain MAE' in peers:
        builders['mmpretrain MAE'] = (peers['mmpretrain MAE'], _mmpretrain_encoder)
    rows: list[dict[str, Any]] = []
    for name, (build, encoder) in builders.items():
        found = context.attempt(name, _learn, build, encoder, train, test, size)
        rows.append(
            {'model': name} | ({'images': str(found)} if isinstance(found, Failure) else found)
        )
        context.record.table(
            f'After {size.seconds:.0f} s of ViT-{size.options.arch}, {len(list(train.iterdir()))} '
            'photographs',
            rows,
        )
        context.free()
    context.record.note('accuracies in percent: from which photograph a crop comes')


def _learn(
    build: Callable[[Options], Contestant],
    encoder: Callable[[Any], Encode],
    train: Path,
    test: Path,
    size: Size,
) -> dict[str, Any]:
    torch.manual_seed(0)
    with quiet():
        contestant = build(size.options)
    preprocess = MAEDataPreprocessor().to(size.options.device)
    images = _crops(train, size)
    groups = contestant.optimizer.param_groups
    steps, start = 0, time.perf_counter()
    while (elapsed := (time.perf_counter() - start) / size.seconds) < 1:
        for group in groups:
            group['lr'] = size.learning_rate * _schedule(elapsed, size.warm_up)
        contestant.images = preprocess(next(images))['inputs']
        contestant.forward_backward()
        contestant.update()
        steps += 1
        if steps % 10 == 0 and size.options.device == 'cuda':
            torch.cuda.synchronize()  # or thousands of steps queue up behind the clock
    with torch.no_grad():
        loss = float(contestant.loss(contestant.images))
    contestant.model.eval()
    encode = encoder(contestant.model)
    train_features, train_labels = _features(encode, preprocess, train, size)
    test_features, test_labels = _features(encode, preprocess, test, size)
    classes = int(train_labels.max()) + 1
    scores = knn_scores(train_features, train_labels, test_features, classes)
    probe = LinearProbe().fit(train_features, train_labels, classes)
    return {
        'images': steps * size.options.batch_size,
        'loss at the end': loss,
        'kNN': accuracy(scores, test_labels),
        'linear probe': accuracy(probe(test_features), test_labels),
        'chance': 100 / classes,
    }


def _schedule(elapsed: float, warm_up: float) -> float:
    """Share of the peak learning rate: linear warm-up, cosine to zero."""
    if elapsed < warm_up:
        return elapsed / warm_up
    return 0.5 * (1 + math.cos(math.pi * (elapsed - warm_up) / (1 - warm_up)))


def _crops(folder: Path, size: Size) -> Iterator[dict]:
    dataset = ImageFolder(
        str(folder),
        labels=False,
        index_cache=False,
        seed=0,
        pipeline=[
            LoadRandomResizedCrop(size.options.img_size, scale=(0.2, 1.0), flip_prob=0.5),
            PackInputs(),
        ],
    )
    batch = size.options.batch_size
    return iter(
        DataLoader(
            dataset,
            batch,
            sampler=StreamSampler(dataset, batch, seed=0, repeats=1_000_000),
            num_workers=size.workers,
            collate_fn=stack_collate,
            pin_memory=size.options.device == 'cuda',
        )
    )


@torch.no_grad()
def _features(
    encode: Encode, preprocess: MAEDataPreprocessor, folder: Path, size: Size
) -> tuple[Tensor, Tensor]:
    """Features (N, D) and labels (N,) of a folder's classes."""
    dataset = ImageFolder(
        str(folder),
        labels=True,
        index_cache=False,
        pipeline=[LoadResizeCenterCrop(size.options.img_size), PackInputs()],
    )
    features, labels = [], []
    for batch in DataLoader(dataset, 128, num_workers=size.workers, collate_fn=stack_collate):
        data = preprocess(batch)
        features.append(encode(data['inputs']).float())
        labels += [int(sample.gt_label) for sample in data['data_samples']]
    found = torch.cat(features)
    return found, torch.tensor(labels, device=found.device)


def _our_encoder(model: Any) -> Encode:
    return lambda images: model.backbone(images)[:, 1:].mean(1)


def _mmpretrain_encoder(model: Any) -> Encode:
    # With mask=None nothing is masked; its output is the raw tokens after the last norm.
    return lambda images: model.backbone(images, mask=None)[-1][:, 1:].mean(1)
