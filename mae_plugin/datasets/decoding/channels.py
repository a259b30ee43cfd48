"""From the channels that a file has to those that are asked for."""

import numpy as np

from mae_plugin.datasets.decoding.encoded_image import BadImageError


def match_channels(
    pixels: np.ndarray,
    channels: int | None,
    background: int | None = None,
    size: tuple[int, int] | None = None,
    white: int = 65535,
) -> np.ndarray:
    """Bring (H, W, C) pixels to ``channels`` by the rules of :mod:`.decode`.

    Args:
        pixels (np.ndarray): (H, W, C).
        channels (int, optional): Channels wanted; None takes what there is.
        background (int, optional): What shows through the last of two or four channels of
            unsigned integers, as a grey value from 0 to 255; None where that is no alpha, but a
            band like the others.
        size (tuple[int, int], optional): Height and width of the whole image, if ``pixels`` are a
            crop of it.
        white (int): The brightest value, where the pixels are uint16.

    Raises:
        BadImageError: If there is no rule; the message names both numbers and the size.
    """
    found = pixels.shape[2]
    if channels is None or found == channels:
        return pixels
    transparent = found in (2, 4) and pixels.dtype in (np.uint8, np.uint16)
    if background is not None and transparent and channels in (1, 3):
        pixels = _composite(pixels, background, white if pixels.dtype == np.uint16 else 255)
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        return _luma(pixels)
    raise BadImageError(
        f'the image has {found} channels, but {channels} are asked for; '
        f'{_way_out(size or pixels.shape[:2], found, channels)}'
    )


def _way_out(size: tuple[int, ...], found: int, channels: int) -> str:
    """What to do about an image of other channels, which may only have been written wrongly."""
    read = f'read as {size[0]} high, {size[1]} wide, of {found} bands'
    if found > 4 and channels in size:
        return (
            f'{read}: its axes look swapped. Save arrays of (height, width, bands) with '
            f"np.save(path, array) or tifffile.imwrite(path, array, photometric='minisblack', "
            f"planarconfig='contig'): without these, tifffile takes the first axis for pages"
        )
    return f'set channels={found} (and in_channels, mean and std) or convert the files ({read})'


def _composite(pixels: np.ndarray, background: int, white: int) -> np.ndarray:
    """Colour over a grey background, with alpha from 0 to ``white``."""
    colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    behind = background * white // 255
    mixed = colour * alpha + behind * (white - alpha) + white // 2
    return (mixed // white).astype(pixels.dtype)


def _luma(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if pixels.dtype.kind in 'bui':
        grey = np.rint(grey)
    return grey.astype(pixels.dtype)[..., None]
