"""Rows of small pictures: images, and those that are nearest to them."""

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 112  # pixels of a picture
_GAP, _CAPTION, _FRAME = 6, 16, 3
_INK, _QUERY = (40, 40, 40), (59, 130, 246)  # RGB


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], captions: Sequence[Sequence[str]], side: int = SIDE
) -> np.ndarray:
    """Draw rows of pictures, each with a caption; the first of each row is framed.

    Args:
        rows: uint8 (H, W, 3) RGB pictures of any sizes.
        captions: A short text for each.
        side: Into which a picture is fitted.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    columns = max(map(len, rows))
    cell_width, cell_height = side + _GAP, side + _GAP + _CAPTION
    sheet = np.full(
        (len(rows) * cell_height + _GAP, columns * cell_width + 2 * _GAP, 3), 255, np.uint8
    )
    for y, (pictures, texts) in enumerate(zip(rows, captions, strict=True)):
        for x, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
            top = _GAP + y * cell_height
            left = _GAP + x * cell_width + _GAP * (x > 0)  # the first stands apart
            small = fit(picture, side)
            height, width = small.shape[:2]
            down, right = top + (side - height) // 2, left + (side - width) // 2
            sheet[down : down + height, right : right + width] = small
            if x == 0:
                corners = (left - 2, top - 2), (left + side + 1, top + side + 1)
                cv2.rectangle(sheet, *corners, _QUERY, _FRAME)
            place = (left, top + side + _CAPTION - 3)
            cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)
    return sheet


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture whose longer side is ``side``; small ones are enlarged without smoothing."""
    height, width = picture.shape[:2]
    zoom = side / max(height, width)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_NEAREST
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)
