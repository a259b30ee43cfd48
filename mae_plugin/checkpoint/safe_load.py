"""Read checkpoints without running code: the one door for every ``.pth`` that the plugin opens.

A pickle is a program. ``safe_load`` lets torch's restricted unpickler (``weights_only=True``)
build tensors and plain types, and replaces the few foreign types that ordinary files hold by inert
stand-ins (:mod:`.restricted_unpickler`): numpy arrays and scalars, mmengine's ``HistoryBuffer``,
``argparse.Namespace`` (the official MAE files carry one under ``args``) and paths. Nothing of the
file's choosing is ever imported or called; mmengine's own allow-list holds the real ``getattr``,
which is enough to reach anything, and falls back to unpickling everything.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from mae_plugin.checkpoint.addresses import NAMED, SCHEMES, STORED, local_copy
from mae_plugin.checkpoint.folders import WEIGHTS, model_config, model_files
from mae_plugin.checkpoint.known_weights import HUB
from mae_plugin.checkpoint.restricted_unpickler import STAND_INS, restricted_load, to_plain
from mae_plugin.compat import load_restricted
from mae_plugin.errors import MissingFileError, UserError

_PICKLE = b'\x80'
# torch's older format begins with a pickle of this number.
_TORCH_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, 'little')


def safe_load(
    path: str | Path,
    map_location: Any = 'cpu',
    trust: bool = False,
    mmap: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint as plain data.

    ``.pth`` of either torch format, ``.safetensors``, or a bare pickle of numpy arrays, as the
    ``.pkl`` files of detectron2's model zoo are.

    Args:
        path: The file; or a model's folder of Hugging Face or timm.
        map_location: As for ``torch.load``.
        trust: Unpickle everything, code included. Only for files that you wrote yourself.
        mmap: Leave the tensors on the disk until they are used (new torch format only).

    Returns:
        The dict that was saved. Numpy arrays and ``HistoryBuffer`` come back as such, numpy
        scalars as Python numbers, paths as strings, a ``Namespace`` as ``argparse.Namespace``. Of
        a model's folder, what describes the model comes with it, under the name of its file.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        UserError: It is another folder; or the file holds code or types outside the list, is
            empty, truncated or no checkpoint, or does not hold a dict.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        content: dict[str, Any] = {}
        for file in model_files(path):
            content |= _load(file, map_location, trust, mmap)
        return content | model_config(path)
    content = _load(path, map_location, trust, mmap)
    return content | model_config(path.parent) if path.name in WEIGHTS else content


def _load(path: Path, map_location: Any, trust: bool, mmap: bool) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f'checkpoint {path} does not exist: check the path')
    if path.stat().st_size == 0:
        raise UserError(
            f'checkpoint {path} is empty: it was cut off while being written or copied; copy it '
            'again or use an older one'
        )
    if path.suffix == '.safetensors':
        return _load_safetensors(path, map_location)
    content = _load_pth(path, map_location, trust, mmap)
    if not isinstance(content, dict):
        raise UserError(
            f'checkpoint {path} holds a {type(content).__name__}, not a dict of tensors: save '
            "model.state_dict() or {'state_dict': ...} instead"
        )
    return content


def use_safe_loading(trust: bool = False) -> None:
    """Make mmengine read every checkpoint file and address through :func:`safe_load`.

    Covers ``load_from``, ``resume`` and ``init_cfg=dict(type='Pretrained')`` of the running
    process. Without it the maintained mmengine falls back to full unpickling.

    Args:
        trust: Unpickle everything from now on, code included.
    """
    from mmengine.runner import CheckpointLoader

    def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
        with local_copy(filename) as path:  # it may be the name of known weights
            return safe_load(path, map_location, trust=trust)

    def load_from_address(filename: str, map_location: Any = None) -> dict[str, Any]:
        with local_copy(filename) as path:
            content = safe_load(path, map_location, trust=trust)
        if not filename.startswith('mmcls://'):
            return content
        # What hosts expect of these names: the backbone alone, without its prefix.
        state = content.get('state_dict', content).items()
        return {k.removeprefix('backbone.'): v for k, v in state if k.startswith('backbone.')}

    def load_from_pavi(filename: str, map_location: Any = None) -> dict[str, Any]:
        raise UserError(f'{filename}: not read safely; download the file and give its path')

    register = CheckpointLoader.register_scheme
    register('', load_from_local, force=True)
    register((*SCHEMES, HUB, *NAMED, *STORED), load_from_address, force=True)
    if not trust:
        register('pavi://', load_from_pavi, force=True)


def _load_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f'reading {path} needs safetensors: pip install safetensors') from error
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        return load_file(path, device=str(device))
    except Exception as error:
        raise UserError(
            f'{path} is not a whole safetensors file ({error}): copy or download it again'
        ) from error


def _load_pth(path: Path, map_location: Any, trust: bool, mmap: bool) -> Any:
    with path.open('rb') as file:
        start = file.read(32)
        file.seek(0)
        bare = start.startswith(_PICKLE) and _TORCH_MAGIC not in start
        if trust:
            if bare:
                return pickle.load(file, encoding='latin1')  # noqa: S301 - its user says so
            return torch.load(path, map_location=map_location, weights_only=False)
        try:
            if bare:
                return restricted_load(file)
            # The older format is one pickle stream and cannot be mapped.
            mmap = mmap and start.startswith(b'PK\x03\x04')
            content = load_restricted(path, STAND_INS, map_location, mmap)
            return to_plain(content, {})
        except Exception as error:
            raise UserError(_explain(path, error)) from error


def _explain(path: Path, error: Exception) -> str:
    message = str(error)
    asked = re.search(r'GLOBAL ([\w.]+)', message)
    if asked or re.search(r'call reduce for|create new object|only build|not callable', message):
        name = f'"{asked.group(1)}"' if asked else 'a call that it put together itself'
        return (
            f'checkpoint {path} was refused: its pickle asks for {name}, which is no tensor or '
            'plain type and could run code. If you wrote the file yourself, load it with '
            'trust=True (load_pretrained and init_cfg take it), or turn it into a plain file: '
            'tools/export_checkpoint.py FILE --trust --to official'
        )
    # Not in torch's words: they advise to switch the safety off.
    held = f' (it holds {message})' if isinstance(error, ValueError) and message else ''
    return (
        f'{path} is neither a whole torch file nor safetensors{held}: it is truncated, damaged or '
        'of another kind; copy or download it again, or use an older one'
    )
