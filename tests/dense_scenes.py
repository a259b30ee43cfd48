"""Tiny COCO and ADE20K folders of coloured rectangles, and configs shrunk to their size."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config, ConfigDict

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CLASSES = ('red', 'blue')
COLOURS = ((40, 40, 220), (220, 60, 40))  # BGR

# Settings that are sizes in pixels of a whole picture or crop, where they are at least so large.
_AT_LEAST = 256
_SIZES = (
    'scale',
    'crop_size',
    'size',
    'stride',
    'pad_size_divisor',
    'rel_pos_img_size',
    'img_size',
)
_COUNTS = dict(nms_pre=32, max_per_img=16, num=16, num_queries=20, num_dn_queries=4)


def scene(rng, height, width):
    """A grey picture with a red and a blue rectangle; boxes (x, y, w, h) by class."""
    image = rng.integers(110, 140, (height, width, 3), dtype=np.uint8)
    boxes = []
    for index, colour in enumerate(COLOURS):
        w, h = rng.integers(width // 4, width // 2), rng.integers(height // 4, height // 2)
        x = int(rng.integers(0, width // 2 - w + 1)) + index * (width // 2)
        y = int(rng.integers(0, height - h + 1))
        image[y : y + h, x : x + w] = colour
        boxes.append((x, y, int(w), int(h)))
    return image, boxes


def write_coco(root, count=2, height=96, width=128):
    """Images and annotations of ``train2017`` and ``val2017``, with category ids from 1."""
    (root / 'annotations').mkdir(parents=True)
    for seed, split in enumerate(('train2017', 'val2017')):
        rng = np.random.default_rng(seed)
        images, annotations = [], []
        (root / split).mkdir()
        for index in range(count):
            image, boxes = scene(rng, height, width)
            name = f'{index}.png'
            cv2.imwrite(str(root / split / name), image)
            images.append(dict(id=index, file_name=name, height=height, width=width))
            for category, (x, y, w, h) in enumerate(boxes, start=1):
                polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
                annotations.append(
                    dict(
                        id=len(annotations) + 1, image_id=index, category_id=category,
                        bbox=[x, y, w, h], area=w * h, iscrowd=0, segmentation=[polygon],
                    )
                )  # fmt: skip
        categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    return root


def write_ade(root, count=2, height=96, width=128):
    """Images and maps of ``training`` and ``validation``: 0 unlabelled, 1 red, 2 blue."""
    for seed, split in enumerate(('training', 'validation')):
        rng = np.random.default_rng(seed)
        for folder in ('images', 'annotations'):
            (root / folder / split).mkdir(parents=True)
        for index in range(count):
            image, boxes = scene(rng, height, width)
            labels = np.zeros((height, width), np.uint8)
            for value, (x, y, w, h) in enumerate(boxes, start=1):
                labels[y : y + h, x : x + w] = value
            cv2.imwrite(str(root / 'images' / split / f'{index}.jpg'), image)
            cv2.imwrite(str(root / 'annotations' / split / f'{index}.png'), labels)
    return root


def small_config(name, data_root, divide):
    """A config of ``configs/`` for pictures of 128 pixels, on the CPU, from scratch.

    Args:
        name: Path below ``configs``.
        data_root: Folder that :func:`write_coco` or :func:`write_ade` wrote.
        divide: What sizes in pixels are divided by.
    """
    cfg = Config.fromfile(CONFIGS / name)
    _shrink(cfg._cfg_dict, divide)
    cfg.optim_wrapper = ConfigDict(
        {k: v for k, v in cfg.optim_wrapper.items() if k != 'loss_scale'}, type='OptimWrapper'
    )
    backbone = cfg.model.get('module', cfg.model).backbone
    backbone.get('module', backbone).pop('init_cfg')  # LoRA has its backbone inside
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg[loader].dataset.data_root = f'{data_root}/'
        if cfg[loader].dataset.type == 'CocoDataset':
            cfg[loader].dataset.metainfo = dict(classes=CLASSES)
    for evaluator in ('val_evaluator', 'test_evaluator'):
        if 'ann_file' in cfg[evaluator]:
            cfg[evaluator].ann_file = f'{data_root}/annotations/instances_val2017.json'
    return cfg


def _shrink(value, divide, key=''):
    """Replace sizes and counts in place, all the way down."""
    if isinstance(value, dict):
        for name, part in value.items():
            value[name] = _COUNTS.get(name, _shrink(part, divide, name))
    elif isinstance(value, list | tuple):
        return type(value)(_shrink(part, divide, key) for part in value)
    elif key in _SIZES and isinstance(value, int) and value >= _AT_LEAST:
        return value // divide
    return value
