"""Mean and std of images against a plain NumPy pass over all their pixels."""

import numpy as np
import pytest
import tifffile
from photos import photo
from PIL import Image

from mae_plugin.datasets.decoding.decode import decode
from mae_plugin.datasets.pixel_statistics import combine, image_sums


def full_pass(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
    values = values.astype(np.float64)
    return np.nanmean(values, 0), np.nanstd(values, 0)


def test_all_pixels_are_exact(tmp_path):
    arrays, paths = [], []
    for number in range(12):
        path = str(tmp_path / f'{number}.{"png" if number % 2 else "jpg"}')
        photo(40 + 7 * number, 60 - 3 * number, ['astronaut', 'coffee'][number % 2]).save(path)
        paths.append(path)
        arrays.append(decode(path))
    mean, std = full_pass(arrays)
    found = combine([image_sums(path, 3, True, {}) for path in paths], 12, True)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(found.std, std, rtol=1e-10)
    assert found.exact and found.error == 0


@pytest.mark.parametrize(('dtype', 'mark', 'tagged'), [
    (np.float32, '-9999', True), (np.float32, 'nan', False), (np.float32, '-9999', False),
    (np.int16, '-32768', False), (np.uint16, '0', True),
])  # fmt: skip
def test_missing_values_have_no_say(tmp_path, dtype, mark, tagged):
    rng = np.random.default_rng(0)
    arrays, sums = [], []
    for number in range(5):
        pixels = (rng.random((50, 70, 6)) * 900 + 100 * number + 1).astype(dtype)
        missing = rng.random((50, 70)) < 0.2
        stored, known = pixels.copy(), pixels.astype(np.float64)
        stored[missing], known[missing] = dtype(float(mark)), np.nan
        path = str(tmp_path / f'{number}.tif')
        tags = [(42113, 's', 0, mark, True)] if tagged else []
        tifffile.imwrite(
            path, stored, photometric='minisblack', planarconfig='contig', extratags=tags
        )
        arrays.append(known)
        sums.append(image_sums(path, 6, True, {}))
    mean, std = full_pass(arrays)
    found = combine(sums, 5, True)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, std, rtol=1e-6)
    assert {image.fill for image in sums} == {'' if tagged else mark}


@pytest.mark.slow
def test_a_large_image_is_sampled_or_read_in_blocks(tmp_path):
    path = str(tmp_path / 'a.tif')
    pixels = np.tile(np.asarray(photo(512, 512)), (5, 5, 1))
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric='rgb')
    mean, std = full_pass([pixels])
    whole = combine([image_sums(path, 3, True, {})], 1, True)
    np.testing.assert_allclose(whole.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(whole.std, std, rtol=1e-10)
    part = image_sums(path, 3, False, {})
    np.testing.assert_allclose(part.counts, 2560 * 2560)
    np.testing.assert_allclose(part.means, mean, rtol=0.01)


def test_the_stated_error_holds():
    """Twice the standard error covers nearly all samples of 400 of 2,000 images."""
    from mae_plugin.datasets.pixel_statistics import ImageSums

    rng = np.random.default_rng(0)
    images = []
    for _ in range(2000):
        values = rng.normal(rng.normal(120, 40), rng.uniform(20, 60), (rng.integers(20, 200), 1))
        count = np.array([float(len(values))])
        images.append(ImageSums(count, values.mean(0), np.square(values).mean(0)))
    whole = combine(images, 2000, True)
    inside = 0
    for _ in range(200):
        chosen = rng.choice(2000, 400, replace=False)
        part = combine([images[i] for i in chosen], 2000, False)
        off = max(abs(part.mean / whole.mean - 1)[0], abs(part.std / whole.std - 1)[0])
        inside += off <= part.error
    assert inside >= 178  # 2 standard errors: 95% of each


def test_unusable_images_say_why(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(b'\x89PNG\r\n\x1a\nbroken')
    assert 'PNG' in image_sums(str(path), 3, False, {}).reason
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    assert image_sums(str(path), 3, False, {}).reason == ''
