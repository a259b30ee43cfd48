"""A picture of the labelled scenes with their boxes and masks drawn, to judge a set by eye."""

import json
from pathlib import Path

import cv2
import numpy as np

from mae_plugin.errors import UserError

ZOOM = 2


def draw_preview(out: Path, stream: str, rows: int = 4, columns: int = 5) -> np.ndarray:
    """A sheet of the first scenes of 'train' or 'val', as written: (H, W, 3) uint8 BGR."""
    coco = json.loads((out / 'annotations' / f'instances_{stream}.json').read_text())
    names = {category['id']: category['name'] for category in coco['categories']}
    tiles = []
    for image in coco['images'][: rows * columns]:
        file = out / 'images' / stream / image['file_name']
        scene = cv2.imread(str(file))
        if scene is None:
            raise UserError(f'{file} cannot be read; make the set again')
        tile = cv2.resize(scene, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
        for annotation in coco['annotations']:
            if annotation['image_id'] == image['id']:
                draw_instance(tile, annotation, names[annotation['category_id']])
        tiles.append(cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT))
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    lines = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(lines)


def draw_instance(tile: np.ndarray, annotation: dict, name: str) -> None:
    """Draw one annotation on a zoomed scene, in place."""
    hue = annotation['category_id'] * 47 % 180
    pixel = np.array([[[hue, 255, 255]]], np.uint8)
    colour = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    height, width = annotation['segmentation']['size']
    counts = annotation['segmentation']['counts']
    mask = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T
    mask = mask.astype(np.uint8).repeat(ZOOM, 0).repeat(ZOOM, 1)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, colour, 1)
    x, y, w, h = (value * ZOOM for value in annotation['bbox'])
    cv2.rectangle(tile, (x, y), (x + w - 1, y + h - 1), colour, 1)
    cv2.putText(tile, name, (x + 2, y + 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1)
