"""From the addresses that mmengine knows for checkpoints to files, downloaded once."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mae_plugin.compat import mmengine_home
from mae_plugin.errors import UserError

SCHEMES = ('http://', 'https://')
# Those of names that stand for an address, and of object stores (as mmengine has them, patterns).
NAMED = ('torchvision://', 'modelzoo://', 'open-mmlab://', 'openmmlab://', 'mmcls://')
STORED = (r'(\S+\:)?s3://', r'(\S+\:)?petrel://')


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """File with the content of an address.

    Args:
        address: A path, an http(s) address (kept in torch's hub folder), a name of one of
            mmengine's model lists (``open-mmlab://...``), or an object store's address.

    Raises:
        UserError: If a list does not have the name, or the file cannot be fetched.
    """
    if '://' not in address:
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


def _download(url: str) -> Path:
    """Download once; on each machine the first process does it and the others wait for it."""
    from mmengine.dist import barrier, get_rank

    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{digest}-{Path(url.split("?")[0]).name}')
    is_first = int(os.environ.get('LOCAL_RANK', get_rank())) == 0
    if not is_first:
        barrier()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:  # no network, no such file, no room
        raise UserError(
            f'{url} cannot be fetched ({error}): fetch it on another machine and put it at '
            f'{path}, or give the path of a file instead (--pretrained FILE)'
        ) from error
    finally:
        # Where the download fails, the others are to fail too, not to wait.
        if is_first:
            barrier()
    return path
