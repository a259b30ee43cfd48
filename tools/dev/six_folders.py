"""Six kinds of data, each from a folder to features: what must work for a newcomer.

    python tools/dev/six_folders.py --out /tmp/six                 # all, with a TIFF of 20,000 px
    python tools/dev/six_folders.py --out /tmp/six --side 3000 --only slide

Makes photographs of mixed sizes with broken ones, 12-band GeoTIFF with nodata, grey PNG of 16
bits, DICOM, a large tiled TIFF beside pyramidal ones, and labelled classes; then runs
inspect_data.py, train.py on the config that it wrote (for two short epochs), visualize.py and
embed.py, each as a command of its own. Prints a table of seconds, of the greatest resident memory
of the command's own process, and of a process that it started (a data worker); exit status 1 if a
command failed, whose last lines are shown. A finished folder is not made anew.
"""

import contextlib
import multiprocessing
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from benchmarks.memory import resident
from PIL import Image

TOOLS = Path(__file__).resolve().parents[1]
TILE = 512
# A short run of the config as it is.
SHORT = [
    'train_cfg.max_epochs=2', 'param_scheduler.0.end=1', 'param_scheduler.1.begin=1',
    'train_dataloader.num_workers=1',
]  # fmt: skip


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: blobs of colour with fine noise."""
    coarse = rng.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.integers(-12, 13, smooth.shape)
    return np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8)


def write_photos(folder: Path, side: int) -> None:
    """JPEG, PNG and WebP of mixed sizes; an empty file and two that are cut off."""
    rng = np.random.default_rng(0)
    for number in range(30):
        height, width = rng.integers(180, 700, 2)
        suffix = ('jpg', 'png', 'webp')[number % 3]
        Image.fromarray(texture(rng, height, width)).save(folder / f'{number:02}.{suffix}')
    whole = (folder / '00.jpg').read_bytes()
    (folder / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'head.jpg').write_bytes(whole[:200])
    (folder / 'empty.png').touch()


def write_bands(folder: Path, side: int) -> None:
    """GeoTIFF of 12 bands, uint16, with GDAL's nodata tag and a black edge."""
    rng = np.random.default_rng(1)
    for number in range(24):
        grey = texture(rng, 256, 256).mean(axis=2, keepdims=True)
        pixels = grey * np.linspace(5, 30, 12) + rng.integers(0, 200, (256, 256, 12)) + 300
        pixels = pixels.astype(np.uint16)
        pixels[: rng.integers(0, 60)] = 0
        tifffile.imwrite(
            folder / f'{number:02}.tif',
            pixels,
            photometric='minisblack',
            planarconfig='contig',
            compression='deflate',
            extratags=[(42113, 's', 0, '0', True)],
        )


def write_grey(folder: Path, side: int) -> None:
    """Grey PNG of 16 bits of which 12 are used."""
    rng = np.random.default_rng(2)
    for number in range(24):
        grey = texture(rng, 300, 280).mean(axis=2) * 16
        Image.fromarray(grey.astype(np.uint16)).save(folder / f'{number:02}.png')


def write_dicom(folder: Path, side: int) -> None:
    """CT slices with rescale and window."""
    import pydicom

    rng = np.random.default_rng(3)
    for number in range(24):
        stored = (texture(rng, 256, 256).mean(axis=2) * 10).astype(np.int16)
        file = pydicom.Dataset()
        file.file_meta = pydicom.dataset.FileMetaDataset()
        file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        file.Rows, file.Columns = stored.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, 'MONOCHROME2'
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 1
        file.RescaleSlope, file.RescaleIntercept = 1, -1024
        file.WindowCenter, file.WindowWidth = 40, 1500
        file.PixelData = stored.tobytes()
        file.save_as(folder / f'{number:02}.dcm', enforce_file_format=True)


def write_slide(folder: Path, side: int) -> None:
    """A tiled TIFF of ``side`` pixels, and two pyramids of a quarter of it."""
    rng = np.random.default_rng(4)
    samples = [texture(rng, TILE, TILE) for _ in range(40)]

    def tiles(count: int) -> Iterator[np.ndarray]:
        for number in range(count):
            yield np.roll(samples[number % len(samples)], number, axis=(0, 1))

    options: dict = dict(photometric='rgb', compression='jpeg', tile=(TILE, TILE), dtype=np.uint8)
    across = -(-side // TILE)
    tifffile.imwrite(
        folder / 'large.tif',
        tiles(across * across),
        shape=(side, side, 3),
        bigtiff=True,
        **options,
    )
    small = max(TILE * 2, side // 4)
    for name in ('pyramid', 'second'):
        with tifffile.TiffWriter(folder / f'{name}.tif', bigtiff=True) as writer:
            base = texture(rng, small, small)
            writer.write(base, subifds=2, **options)
            for level in (2, 4):
                writer.write(base[::level, ::level], subfiletype=1, **options)


def write_classes(folder: Path, side: int) -> None:
    """Photographs in three folders."""
    rng = np.random.default_rng(5)
    for shift, name in enumerate(('blue', 'green', 'red')):
        (folder / name).mkdir()
        for number in range(10):
            pixels = np.roll(texture(rng, 230, 240) // (1, 2, 3), shift, axis=2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f'{number}.jpg')


KINDS = {
    'photos': (write_photos, '01.png'),
    'bands': (write_bands, '00.tif'),
    'grey': (write_grey, '00.png'),
    'dicom': (write_dicom, '00.dcm'),
    'slide': (write_slide, 'pyramid.tif'),
    'classes': (write_classes, 'red/0.jpg'),
}


def make(kind: str, out: Path, side: int) -> Path:
    """The folder of a kind; a finished one is kept."""
    folder = out / kind / 'images'
    done = out / kind / 'made'
    if not done.is_file():
        folder.mkdir(parents=True)
        KINDS[kind][0](folder, side)
        done.touch()
    return folder


def commands(kind: str, out: Path, folder: Path) -> dict[str, list[str]]:
    """The four commands by tool."""
    place = out / kind
    # An epoch of the large TIFF is thousands of windows.
    fewer = ['train_dataloader.dataset.samples=128'] * (kind == 'slide')
    checkpoint = str(place / 'run/epoch_2.pth')
    image = str(folder / KINDS[kind][1])
    return {
        'inspect_data': [str(folder), '--out', str(place / 'report')],
        'train': [
            str(place / 'report/config.py'), '--work-dir', str(place / 'run'),
            '--cfg-options', *SHORT, *fewer,
        ],
        'visualize': [checkpoint, image, '--out', str(place / 'picture.png')],
        'embed': [
            checkpoint, str(folder), '--out', str(place / 'features.npz'),
            '--neighbours', str(place / 'sheet.png'), '--map', str(place / 'map.html'),
        ],
    }  # fmt: skip


def run(tool: str, arguments: list[str], log: Path) -> tuple[int, float, float, float]:
    """Exit status, seconds, and MiB of a command's own process and of the largest that it began.

    A process that another began has pages in common with it, which count here as its own.
    """
    began = time.perf_counter()
    own = worker = 0.0
    with log.open('wb') as file:
        process = subprocess.Popen(
            [sys.executable, str(TOOLS / f'{tool}.py'), *arguments],
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while process.poll() is None:
            with contextlib.suppress(OSError, KeyError):  # one that has just ended
                own = max(own, resident(process.pid)['Rss'])
            for pid in children(process.pid):
                with contextlib.suppress(OSError, KeyError):
                    worker = max(worker, resident(pid)['Rss'])
            time.sleep(0.2)
    return process.returncode, time.perf_counter() - began, own, worker


def children(pid: int) -> list[int]:
    """The processes that any thread of a process began."""
    with contextlib.suppress(OSError):
        lists = [path.read_text() for path in Path(f'/proc/{pid}/task').glob('*/children')]
        return [int(number) for text in lists for number in text.split()]
    return []


def main() -> int:
    """Make, run, print."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--side', type=int, default=20_000, help='of the large TIFF, in pixels')
    parser.add_argument('--only', choices=KINDS, nargs='+', default=list(KINDS))
    args = parser.parse_args()
    failed = 0
    print('| folder | command | exit | seconds | MiB | a worker |\n|---|---|---|---|---|---|')
    for kind in args.only:
        # In a process of its own, which gives its memory back.
        maker = multiprocessing.get_context('spawn').Process(
            target=make, args=(kind, args.out, args.side)
        )
        maker.start()
        maker.join()
        folder = args.out / kind / 'images'
        for tool, arguments in commands(kind, args.out, folder).items():
            log = args.out / kind / f'{tool}.log'
            status, seconds, own, worker = run(tool, arguments, log)
            cells = kind, tool, status, f'{seconds:.0f}', f'{own:.0f}', f'{worker:.0f}'
            print(f'| {" | ".join(map(str, cells))} |', flush=True)
            if status:
                failed += 1
                print('\n'.join(log.read_text(errors='replace').splitlines()[-5:]))
                break
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
