"""What is given to the page: an untrained ViT-B of full size, an encoder, a picture, bad files."""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS
from mae_plugin.shipped import config_path


def write_run(path: Path) -> Path:
    """A checkpoint of the paper's ViT-B with its decoder, as a run leaves it, untrained."""
    cfg = Config.fromfile(config_path('mae_vit-b_pretrain'))
    init_default_scope('mae_plugin')
    MMLogger.get_current_instance().setLevel('WARNING')  # it tells each tensor
    model = MODELS.build(cfg.model)
    model.init_weights()
    meta = dict(cfg=Config(dict(model=cfg.model)).pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def write_encoder(path: Path) -> Path:
    """A file in the official layout without a decoder: ViT-Ti, untrained, other patches."""
    vit = ViT(arch='tiny', img_size=192, patch_size=32)
    vit.init_weights()
    torch.save(dict(model=vit.state_dict()), path)
    return path


def write_picture(path: Path) -> Path:
    """A round thing on a soft background, for machines without photographs."""
    rows, columns = np.mgrid[:480, :640] / 480
    picture = np.stack([90 + 80 * rows, 120 + 40 * columns, 200 - 90 * rows], axis=-1)
    inside = (rows - 0.5) ** 2 + (columns - 0.7) ** 2 < 0.06
    picture[inside] = [220, 120, 40]
    Image.fromarray(picture.astype(np.uint8)).save(path)
    return path


def write_hostile(folder: Path) -> dict[str, Path]:
    """Files that nobody should upload, by what they are."""
    folder.mkdir(exist_ok=True)
    files = {
        'text': folder / 'text.jpg',
        'a bomb of 30,000 x 30,000 px': folder / 'bomb.png',
        'a picture of 20,000 x 20,000 px': folder / 'large.png',
        'half of a picture': folder / 'half.jpg',
        'more than 64 MB': folder / 'heavy.tif',
    }
    files['text'].write_text('This is no picture.\n' * 50, encoding='utf-8')
    _write_png(files['a bomb of 30,000 x 30,000 px'], 30_000)
    _write_png(files['a picture of 20,000 x 20,000 px'], 20_000)
    picture = write_picture(folder / 'whole.jpg').read_bytes()
    files['half of a picture'].write_bytes(picture[: len(picture) // 2])
    with files['more than 64 MB'].open('wb') as file:
        file.truncate(70_000_000)
    return files


def _write_png(path: Path, side: int) -> None:
    """A black RGB picture, row by row: its pixels never lie in memory at once."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)

    packer, row, packed = zlib.compressobj(9), bytes(1 + 3 * side), []
    for _ in range(side):
        packed.append(packer.compress(row))
    packed.append(packer.flush())
    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', b''.join(packed))
        + chunk(b'IEND', b'')
    )
