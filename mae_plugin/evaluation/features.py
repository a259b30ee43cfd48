"""Frozen features of labelled images, and their kNN and linear-probe accuracy.

Shapes: B batch, N images, D feature width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mae_plugin.datasets import (
    ImageFolder,
    LoadResizeCenterCrop,
    PackInputs,
    stack_collate,
)
from mae_plugin.evaluation.knn import accuracy, knn_scores
from mae_plugin.evaluation.linear_probe import LinearProbe
from mae_plugin.models.token_pool import pool_tokens


@dataclass
class Features:
    """Features (N, D) float32 and labels (N,) int64 of N images."""

    features: Tensor
    labels: Tensor


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    preprocessor: nn.Module,
    batches: Iterable[dict],
    pool: str = 'avg',
) -> Features:
    """Run the encoder, without masking and in evaluation mode, over labelled images.

    The modules' training modes are restored afterwards.

    Args:
        backbone: A ``ViT``.
        preprocessor: Normalises a batch and brings it to the device.
        batches: ``inputs`` (B, C, H, W) and ``data_samples`` with ``gt_label``.
        pool: 'avg' (patch tokens after the final norm, averaged), 'cls' (first class token) or
            'cls-mean' (class tokens averaged).
    """
    was_training = backbone.training
    backbone.eval()
    features, labels = [], []
    for batch in batches:
        data = preprocessor(batch)
        tokens = backbone(data['inputs'])
        counts = backbone.num_prefix_tokens, backbone.num_cls_tokens
        features.append(pool_tokens(tokens, pool, *counts).float())
        labels += [int(sample.gt_label) for sample in data['data_samples']]
    backbone.train(was_training)
    result = torch.cat(features)
    return Features(result, torch.tensor(labels, device=result.device))


@dataclass
class Watched:
    """What :func:`watch` finds: features (N, D), and the mean loss if it was asked for."""

    features: Tensor
    loss: float | None = None


@torch.no_grad()
def watch(model: nn.Module, batches: Iterable[dict], pool: str, with_loss: bool) -> Watched:
    """Features of whole images without labels, and the loss of their reconstruction.

    The masks follow from the samples' keys: they are the same in each evaluation.

    Args:
        model: A ``MAE``; its training mode is restored afterwards.
        batches: ``inputs`` (B, C, H, W) and ``data_samples`` with ``sample_key``.
        pool: 'avg' or 'cls'.
        with_loss: Whether the images are reconstructed too.
    """
    was_training = model.training
    model.eval()
    backbone = model.backbone
    features, losses = [], []
    for batch in batches:
        data = model.data_preprocessor(batch)
        tokens = backbone(data['inputs'])
        counts = backbone.num_prefix_tokens, backbone.num_cls_tokens
        features.append(pool_tokens(tokens, pool, *counts).float())
        if with_loss:
            losses.append(model.reconstruct(data['inputs'], data['data_samples']).loss.double())
    model.train(was_training)
    loss = torch.cat(losses).mean().item() if losses else None
    return Watched(torch.cat(features), loss)


def unlabelled_images(
    folder: str, size: int | tuple[int, int], channels: int = 3, **decoding: Any
) -> ImageFolder:
    """All images below a folder, resized and cut at the centre.

    Args:
        folder: Searched recursively.
        size: Side, or (H, W).
        channels: C.
        decoding: ``keep_depth``, ``nodata`` and the like, as in training.

    Raises:
        UserError: If the folder is missing or holds no image.
    """
    pipeline = [LoadResizeCenterCrop(size, channels=channels, **decoding), PackInputs()]
    return ImageFolder(folder, labels=False, pipeline=pipeline)


def labelled_loader(
    folder: str,
    size: int | tuple[int, int],
    classes: tuple[str, ...] | None = None,
    max_images: int | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    channels: int = 3,
    **decoding: Any,
) -> tuple[DataLoader, tuple[str, ...]]:
    """Batches of a folder with one sub-folder for each class, resized and cut at the centre.

    Args:
        folder: The images.
        size: Side, or (H, W), at which they are evaluated.
        classes: Names in label order, to give a validation set the training set's labels.
        max_images: Use this many, spread evenly over the sorted files; all when None.
        batch_size: Images at once.
        num_workers: Processes that decode; 0 decodes in this one.
        channels: C.
        decoding: ``keep_depth``, ``nodata`` and the like, as in training.

    Returns:
        The loader and the class names.

    Raises:
        ValueError: If the folder is missing, empty, or not one of labelled images.
    """
    pipeline = [LoadResizeCenterCrop(size, channels=channels, **decoding), PackInputs()]
    images = ImageFolder(folder, labels=True, classes=classes, pipeline=pipeline)
    count = min(len(images), max_images or len(images))
    chosen = Subset(images, torch.linspace(0, len(images) - 1, count).int().tolist())
    # A generator of its own: the global one belongs to training.
    loader = DataLoader(
        chosen,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=stack_collate,
        generator=torch.Generator(),
    )
    return loader, images.classes or ()


def probe_accuracies(
    train: Features, test: Features, num_classes: int, k: int = 20, l2: float = 1e-3
) -> dict[str, float]:
    """Top-1 accuracies in percent of frozen features: ``knn`` and ``linear``."""
    votes = knn_scores(train.features, train.labels, test.features, num_classes, k)
    probe = LinearProbe(l2).fit(train.features, train.labels, num_classes)
    return dict(
        knn=accuracy(votes, test.labels), linear=accuracy(probe(test.features), test.labels)
    )


def evaluate_folders(
    backbone: nn.Module,
    preprocessor: nn.Module,
    train: str,
    val: str,
    size: int | tuple[int, int],
    pool: str = 'avg',
    k: int = 20,
    max_train: int | None = None,
    max_val: int | None = None,
    **loading: Any,
) -> dict[str, float]:
    """kNN and linear-probe accuracy of a frozen encoder on two folders of labelled images.

    Args:
        backbone: A ``ViT``.
        preprocessor: Normalises a batch and brings it to the device.
        train: Images to learn from, one sub-folder for each class.
        val: Images to test on, with the same classes.
        size: Side, or (H, W), at which they are evaluated.
        pool: 'avg' or 'cls'.
        k: Neighbours.
        max_train: Use this many of ``train``; all when None.
        max_val: Use this many of ``val``.
        loading: ``batch_size``, ``num_workers``, ``channels`` and ``decoding`` of
            :func:`labelled_loader`.
    """
    loader, classes = labelled_loader(train, size, None, max_train, **loading)
    known = extract_features(backbone, preprocessor, loader, pool)
    loader, _ = labelled_loader(val, size, classes, max_val, **loading)
    unseen = extract_features(backbone, preprocessor, loader, pool)
    return probe_accuracies(known, unseen, len(classes), k)
