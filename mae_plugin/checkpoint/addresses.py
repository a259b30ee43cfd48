"""From the addresses that mmengine knows for checkpoints to files, downloaded once."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import torch

from mae_plugin.checkpoint.folders import IMAGE_CONFIG, MODEL_CONFIG, WEIGHTS, model_files
from mae_plugin.checkpoint.known_weights import HUB, KNOWN, is_name
from mae_plugin.compat import mmengine_home
from mae_plugin.errors import UserError

SCHEMES = ('http://', 'https://')
# Those of names that stand for an address, and of object stores (as mmengine has them, patterns).
NAMED = ('torchvision://', 'modelzoo://', 'open-mmlab://', 'openmmlab://', 'mmcls://')
_HUB_SITE = 'https://huggingface.co'
STORED = (r'(\S+\:)?s3://', r'(\S+\:)?petrel://')


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """File with the content of an address.

    Args:
        address: A path, an http(s) address (kept in torch's hub folder), a name of
            :data:`~mae_plugin.checkpoint.known_weights.KNOWN`, ``hf://owner/name`` (a folder), a
            name of one of mmengine's model lists (``open-mmlab://...``), or an object store's
            address.

    Raises:
        UserError: If a list does not have the name, or the file cannot be fetched.
    """
    if is_name(address) and not Path(address).exists():
        yield from _named(address)
    elif '://' not in address:
        yield Path(address)
    elif address.startswith(NAMED):
        with local_copy(_look_up(address)) as path:
            yield path
    elif address.startswith(SCHEMES):
        yield _download(address)
    else:
        from mmengine.fileio import get_local_path

        with get_local_path(address, backend_args=dict(backend='petrel')) as path:
            yield Path(path)


def _look_up(address: str) -> str:
    from mmengine.runner import checkpoint as lists

    scheme, _, name = address.partition('://')
    if scheme in ('torchvision', 'modelzoo'):
        known = lists.get_torchvision_models()
    elif scheme == 'mmcls':
        known = lists.get_mmcls_models()
    else:
        known = lists.get_external_models()
        name = lists.get_deprecated_model_names().get(name, name)
    if name not in known:
        raise UserError(
            f"{address}: mmengine's list for {scheme}:// has no '{name}'; give a path or an "
            'http(s) address'
        )
    url = known[name]
    return url if url.startswith(SCHEMES) else os.path.join(mmengine_home(), url)


def _named(name: str) -> Iterator[Path]:
    """Weights of a name in the table, or of Hugging Face's hub."""
    known = KNOWN.get(name)
    if known is not None and known.address is None:
        raise UserError(
            f'{name} ({known.what}): its address is not known here. Get it from {known.page} and '
            'give the file, or hf://owner/name'
        )
    address = name if known is None or known.address is None else known.address
    if address.startswith(HUB):
        yield _from_hub(address)
    else:
        yield _download(address, sha256=known.sha256 if known else None)


def _from_hub(address: str) -> Path:
    """The folder of a model on Hugging Face's hub: its config and its weights.

    Raises:
        UserError: If the address is none, or the model has no weights that can be read.
    """
    name = address.removeprefix(HUB).strip('/')
    if name.count('/') != 1:
        raise UserError(f'{address}: give hf://owner/name')
    folder = _folder() / f'hf--{name.replace("/", "--")}'
    if _is_whole(folder):
        return folder
    base = f'{os.environ.get("HF_ENDPOINT", _HUB_SITE).rstrip("/")}/{name}/resolve/main'
    for file in (MODEL_CONFIG, IMAGE_CONFIG):
        _try(f'{base}/{file}', folder / file)
    for file in WEIGHTS:
        if _try(f'{base}/{file}', folder / file):
            return folder
        if _try(f'{base}/{file}.index.json', folder / f'{file}.index.json'):
            for part in model_files(folder):
                _download(f'{base}/{part.name}', part)
            return folder
    raise UserError(
        f'{address} has neither {" nor ".join(WEIGHTS)}, or there is no such model, or one that '
        f'asks for a login: then fetch it yourself, put it into {folder}, or give its folder'
    )


def _is_whole(folder: Path) -> bool:
    """Whether the weights, which come last, are there."""
    if not any(folder.glob('*')):
        return False
    try:
        return all(file.is_file() for file in model_files(folder))
    except UserError:
        return False


def _try(url: str, path: Path) -> bool:
    """Download a file that may not be there."""
    try:
        _download(url, path)
    except _NotThereError:
        return False
    return True


class _NotThereError(UserError):
    """The server has no such file, or shows it to others only."""


def _folder() -> Path:
    return Path(torch.hub.get_dir(), 'checkpoints')


def _download(url: str, path: Path | None = None, sha256: str | None = None) -> Path:
    """Download once; on each machine the first process does it and the others wait for it.

    Args:
        url: Address.
        path: Where the file goes; by default a place of its own in torch's hub folder.
        sha256: First digits of the sum that it must have.
    """
    from mmengine.dist import barrier, get_rank

    if path is None:
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        path = _folder() / f'{digest}-{Path(url.split("?")[0]).name}'
    is_first = int(os.environ.get('LOCAL_RANK', get_rank())) == 0
    if not is_first:
        barrier()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written beside its place and renamed; a wrong sum is a RuntimeError.
            torch.hub.download_url_to_file(url, str(path), sha256, progress=False)
    except (OSError, RuntimeError) as error:  # no network, no such file, no room, a wrong sum
        kind = UserError
        if isinstance(error, HTTPError) and error.code in (401, 403, 404):
            kind = _NotThereError
        raise kind(
            f'{url} cannot be fetched ({error}): fetch it on another machine and put it at '
            f'{path}, or give the path of a file instead (--pretrained FILE)'
        ) from error
    finally:
        # Where the download fails, the others are to fail too, not to wait.
        if is_first:
            barrier()
    return path
