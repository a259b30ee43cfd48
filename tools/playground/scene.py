"""Compose one scene: cut-outs over a photograph, with every pixel's owner known.

Shapes: H x W scene, h x w posed cut-out, N objects. A scene is a pure function of the library, the
settings and the generator, so any scene can be made alone, by any worker, in any order.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .library import Library

MIN_VISIBLE = 0.4  # of an object's pixels, after truncation and occlusion
MIN_PIXELS = 48  # of an object that counts
PLACEMENT_TRIES = 10
FEATHER_SIGMA = 0.6  # pixels
COLOUR_MATCH = 0.25  # 0 leaves the cut-out's colours, 1 takes on the background's mean
NOISE = 2.0  # grey levels, over objects and background alike: hides the difference in grain


@dataclass
class SceneSettings:
    """What a scene looks like: size in pixels, object count and extent (fractions of height)."""

    size: tuple[int, int]  # (width, height)
    objects: tuple[int, int] = (2, 5)
    extent: tuple[float, float] = (0.28, 0.65)


@dataclass
class Scene:
    """One composed picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        owner: (H, W) int32; 0 is background, i the i-th object of ``labels`` counted from 1.
        labels: Class index of each object.
    """

    image: np.ndarray
    owner: np.ndarray
    labels: list[int]


def compose_scene(library: Library, settings: SceneSettings, rng: np.random.Generator) -> Scene:
    """Paste cut-outs over a background; later objects occlude earlier ones."""
    width, height = settings.size
    image = pose_background(library.photos[rng.integers(len(library.photos))], settings.size, rng)
    owner = np.zeros((height, width), np.int32)
    labels: list[int] = []
    areas: list[int] = []  # pixels that each object would show alone and in full
    for _ in range(rng.integers(settings.objects[0], settings.objects[1] + 1)):
        label = int(rng.integers(len(library.cutouts)))
        cutouts = library.cutouts[label]
        side = rng.uniform(*settings.extent) * height
        colour, alpha = pose_cutout(cutouts[rng.integers(len(cutouts))], side, rng)
        solid = alpha >= 0.5
        if solid.sum() < MIN_PIXELS:
            continue
        for _ in range(PLACEMENT_TRIES):
            top = int(rng.integers(height)) - alpha.shape[0] // 2
            left = int(rng.integers(width)) - alpha.shape[1] // 2
            candidate = occupy(owner, solid, (top, left), len(labels) + 1)
            shown = np.bincount(candidate.ravel(), minlength=len(labels) + 2)[1:]
            needed = np.maximum(MIN_VISIBLE * np.array([*areas, solid.sum()]), MIN_PIXELS)
            if (shown >= needed).all():
                paste(image, colour, alpha, (top, left))
                owner = candidate
                labels.append(label)
                areas.append(int(solid.sum()))
                break
    image += rng.normal(0, NOISE, image.shape).astype(np.float32)
    return Scene(image.clip(0, 255).round().astype(np.uint8), owner, labels)


def pose_background(
    photo: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A random crop of the scene's shape, flipped and lit at random: (H, W, 3) float32."""
    width, height = size
    fit = min(photo.shape[1] / width, photo.shape[0] / height)
    scale = fit * rng.uniform(0.35, 1.0)
    crop_width, crop_height = max(int(width * scale), 1), max(int(height * scale), 1)
    left = rng.integers(photo.shape[1] - crop_width + 1)
    top = rng.integers(photo.shape[0] - crop_height + 1)
    crop = photo[top : top + crop_height, left : left + crop_width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    crop = cv2.resize(np.ascontiguousarray(crop), size, interpolation=interpolation)
    return crop.astype(np.float32) * np.float32(rng.uniform(0.75, 1.2))


def pose_cutout(
    cutout: np.ndarray, side: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scale, flip, rotate and light a cut-out.

    Args:
        cutout: (h0, w0, 4) uint8 RGBA.
        side: Geometric mean of the posed cut-out's height and width, in pixels.
        rng: Source of the pose.

    Returns:
        Colours (h, w, 3) float32 in 0..255 and alpha (h, w) float32 in 0..1, feathered inwards.
    """
    h0, w0 = cutout.shape[:2]
    scale = side / np.sqrt(h0 * w0)
    rgba: np.ndarray = cutout.astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255  # premultiplied: hidden colours must not bleed in
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    size = (max(round(w0 * scale), 1), max(round(h0 * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    rgba = cv2.resize(np.ascontiguousarray(rgba), size, interpolation=interpolation)
    rgba = rotate(rgba, rng.uniform(-15, 15))
    alpha = rgba[..., 3] / 255
    colour = rgba[..., :3] / np.maximum(alpha, 1 / 255)[..., None]
    soft = cv2.GaussianBlur(alpha, (0, 0), FEATHER_SIGMA)
    gain = np.float32(rng.uniform(0.8, 1.2))
    return (colour * gain).clip(0, 255), np.minimum(alpha, soft).clip(0, 1)


def rotate(rgba: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate about the centre on a canvas that holds all of it and one empty pixel around."""
    h, w = rgba.shape[:2]
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), degrees, 1)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    new_w, new_h = int(np.ceil(h * sin + w * cos)) + 2, int(np.ceil(h * cos + w * sin)) + 2
    matrix[:, 2] += (new_w - w) / 2, (new_h - h) / 2
    return cv2.warpAffine(rgba, matrix, (new_w, new_h), flags=cv2.INTER_LINEAR)


def overlap(
    frame: tuple[int, ...], part: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a part with its corner at (top, left) meets the frame, in each one's own rows."""
    inside, own = [], []
    for length, extent, start in zip(frame[:2], part[:2], corner):
        begin, end = max(start, 0), min(start + extent, length)
        inside.append(slice(begin, max(begin, end)))
        own.append(slice(begin - start, max(begin, end) - start))
    return tuple(inside), tuple(own)


def occupy(
    owner: np.ndarray, solid: np.ndarray, corner: tuple[int, int], number: int
) -> np.ndarray:
    """The owner map (H, W) after object ``number`` took the pixels where it is solid."""
    owner = owner.copy()
    inside, own = overlap(owner.shape, solid.shape, corner)
    owner[inside][solid[own]] = number
    return owner


def paste(
    image: np.ndarray, colour: np.ndarray, alpha: np.ndarray, corner: tuple[int, int]
) -> None:
    """Blend an object into the image in place, its colours drawn towards the surroundings'."""
    inside, own = overlap(image.shape, alpha.shape, corner)
    under, over, weight = image[inside], colour[own], alpha[own][..., None]
    mean_over = (over * weight).sum((0, 1)) / max(float(weight.sum()), 1.0)
    ratio = (under.mean((0, 1)) + 16) / (mean_over + 16)
    gain = ratio.clip(0.5, 2.0) ** COLOUR_MATCH
    under += weight * ((over * gain).clip(0, 255) - under)
