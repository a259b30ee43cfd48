"""COCO instance annotations and semantic maps from a scene's owner map.

Semantic maps: 0 is the background, k is the k-th class counted from 1. Read with
``reduce_zero_label=False`` the background is a class of its own; with ``True`` it is ignored, as
ADE20K's label 0 is.
"""

import numpy as np

from .scene import Scene


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE of a (H, W) mask: column-major, starting with a run of zeros."""
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return runs if runs[-1] else runs[:-1]


def instance_annotations(scene: Scene) -> list[dict]:
    """One record per object of the scene, of its visible pixels; ids are left to the caller.

    ``bbox`` is [x, y, w, h] in pixels, ``category_id`` the class counted from 1.
    """
    records = []
    for number, label in enumerate(scene.labels, start=1):
        mask = scene.owner == number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
        records.append(
            dict(
                category_id=label + 1,
                bbox=box,
                area=int(mask.sum()),
                iscrowd=0,
                segmentation=dict(size=list(mask.shape), counts=run_lengths(mask)),
            )
        )
    return records


def semantic_map(scene: Scene) -> np.ndarray:
    """(H, W) uint8: 0 background, class + 1 elsewhere."""
    return np.array([0, *(label + 1 for label in scene.labels)], np.uint8)[scene.owner]


def coco_file(images: list[dict], classes: list[str]) -> dict:
    """A COCO annotation file.

    Args:
        images: One dict per scene with ``file_name``, ``width``, ``height`` and ``annotations``.
        classes: Class names in the order of their ids.
    """
    records: list[dict] = []
    annotations: list[dict] = []
    for image_id, image in enumerate(images, start=1):
        records.append({'id': image_id, **{k: v for k, v in image.items() if k != 'annotations'}})
        for annotation in image['annotations']:
            annotations.append({'id': len(annotations) + 1, 'image_id': image_id, **annotation})
    categories = [dict(id=i, name=name) for i, name in enumerate(classes, start=1)]
    return dict(images=records, annotations=annotations, categories=categories)
