"""Checkpoints that know whether they are whole."""

import hashlib
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.files import atomic_write

_TAG = b'mae_plugin sha256='
_END_OF_ZIP = b'PK\x05\x06'
_CHUNK = 1 << 24

# The file of DeepSpeed's checkpoint folders that holds the weights and what the run adds.
DEEPSPEED_WEIGHTS = 'mp_rank_00_model_states.pt'


def write_checkpoint(path: str | Path, data: bytes) -> None:
    """Write what ``torch.save`` produced, atomically, with its SHA-256 inside.

    The digest of everything before it becomes the archive's comment, which torch and unzip skip:
    file and checksum cannot be parted or disagree.
    """
    if data[-22:-18] != _END_OF_ZIP or data[-2:] != b'\0\0':
        atomic_write(path, data)
        return
    body = memoryview(data)[:-2]
    comment = _TAG + hashlib.sha256(body).hexdigest().encode()
    atomic_write(path, body, len(comment).to_bytes(2, 'little'), comment)


def find_damage(path: str | Path) -> str | None:
    """Why a checkpoint file cannot be trusted to be whole; None if it is.

    Ours are compared with their SHA-256, other archives with the CRC of every member, files of
    torch's older format by reading them.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment
            if not comment.startswith(_TAG):
                bad = archive.testzip()
                return f'{bad} inside is damaged' if bad else None
    except (zipfile.BadZipFile, EOFError, ValueError, OverflowError) as error:
        try:
            safe_load(path)
        except ValueError:
            return f'it is truncated or no checkpoint ({error})'
        return None
    digest = hashlib.sha256()
    left = path.stat().st_size - 2 - len(comment)
    with path.open('rb') as file:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    if _TAG + digest.hexdigest().encode() != comment:
        return 'its content does not match its checksum'
    return None


class AtomicBackend(LocalBackend):
    """mmengine's local file backend, whose ``put`` leaves no half file and adds a checksum."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write ``obj``; see :func:`write_checkpoint`."""
        write_checkpoint(filepath, bytes(obj))


register_backend('mae_plugin_atomic', AtomicBackend)
