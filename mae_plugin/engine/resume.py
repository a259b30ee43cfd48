"""Find the checkpoint from which a run can go on."""

import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.engine.atomic import DEEPSPEED_WEIGHTS, find_damage
from mae_plugin.errors import MissingFileError, UserError
from mae_plugin.logs import log

# How long a network disk may take to show one machine what another has written, in seconds.
_DISK_LAG = 60


def agree_on_resume(resume: str, cfg: Config) -> str | None:
    """What rank 0 finds for ``--resume``, on every process.

    If each looked for itself, two could take different checkpoints: a network disk shows a new
    file to one machine sooner than to another.

    Args:
        resume: 'auto' or a path, see :func:`resolve_resume`.
        cfg: The run's config; the process group must have been started.

    Raises:
        FileNotFoundError or ValueError: As :func:`resolve_resume`, on all processes; or a machine
            does not see the checkpoint; or it is sharded and the run is not.
    """
    answer: list[Any] = [None]
    if is_main_process():
        try:
            answer[0] = resolve_resume(resume, cfg.work_dir, trust=trusts_checkpoints(cfg))
        except (ValueError, OSError) as error:
            answer[0] = error
    broadcast_object_list(answer)
    found = answer[0]
    if isinstance(found, Exception):
        raise found
    if found is None:
        return None
    seen = all_gather_object((socket.gethostname(), _appears(Path(found))))
    blind = sorted({host for host, sees in seen if not sees})
    if blind:
        raise UserError(
            f'rank 0 resumes from {found}, which {", ".join(blind)} cannot see: put the work dir '
            'on a disk that all machines share'
        )
    if Path(found).is_dir() and not cfg.get('strategy'):
        raise UserError(
            f'{found} is sharded: train with strategy=dict(type="mae_plugin.FSDPStrategy") and '
            'runner_type="FlexibleRunner", or make one file of it with '
            'tools/gather_checkpoint.py --with-optimizer'
        )
    return found


def _appears(path: Path) -> bool:
    end = time.monotonic() + _DISK_LAG
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def trusts_checkpoints(cfg: Config) -> bool:
    """Whether the user lets a run's checkpoints be unpickled, code included."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    return bool(hook.get('trust_checkpoints'))


@dataclass(frozen=True)
class StoredBatch:
    """The batch of a run as its checkpoint tells it; None is what it does not tell.

    Attributes:
        images: To an iteration, over all processes.
        counts: Iterations to a step of the optimizer.
        scaled: Whether the learning rate follows the batch.
    """

    images: int | None
    counts: int | None
    scaled: bool | None


def read_batch(path: str | Path, trust: bool = False) -> StoredBatch:
    """Read which batch a checkpoint's run has.

    Args:
        path: A checkpoint from which a run can go on.
        trust: Unpickle everything, code included.
    """
    content = safe_load(_files(Path(path))[0], trust=trust, mmap=True)
    hub = (content.get('message_hub') or {}).get('runtime_info') or {}
    text = (content.get('meta') or {}).get('cfg')
    try:
        config = literal_config(text) if isinstance(text, str) else {}
    except ValueError:
        config = {}  # it holds code, which is not run
    images = hub.get('global_batch')
    if images is None and 'train_dataloader' in config:
        # Checkpoints from before this was stored: of as many processes as this run.
        own = config['train_dataloader'].get('batch_size')
        images = own and own * get_world_size()
    wrapper, scaling = config.get('optim_wrapper'), config.get('auto_scale_lr')
    return StoredBatch(
        images=images,
        counts=wrapper.get('accumulative_counts', 1) if wrapper else None,
        scaled=bool(scaling.get('enable')) if scaling else None,
    )


def keep_seed(cfg: Config, path: str | Path, trust: bool = False) -> str:
    """Let a resumed run draw on from the seed that it began with.

    mmengine restores the seed when the data loaders have theirs already.

    Args:
        cfg: Config, changed in place.
        path: A checkpoint from which a run can go on.
        trust: Unpickle everything, code included.

    Returns:
        What there is to tell about it, if anything.
    """
    content = safe_load(_files(Path(path))[0], trust=trust, mmap=True)
    seed = (content.get('meta') or {}).get('seed')
    own = (cfg.get('randomness') or {}).get('seed')
    if seed is None or seed == own:
        return ''
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    if own is None:
        return ''
    return (
        f'--resume goes on with the seed that the run began with, {seed}: randomness.seed={own} '
        'is without effect'
    )


def find_resumable(work_dir: str | Path, trust: bool = False) -> str | None:
    """The newest whole checkpoint of a run, by iteration; damaged ones are named and passed over.

    Looks at every ``.pth`` in ``work_dir`` and in the folder that ``last_checkpoint`` names.
    Files without optimizer state (``best_*.pth``, exports) do not count.

    Args:
        work_dir: The run's folder.
        trust: Unpickle everything, code included.

    Returns:
        The path, or None if the run has no checkpoint yet.

    Raises:
        UserError: There are checkpoints and none of them is whole; says why for each.
    """
    folders = [Path(work_dir)]
    pointer = Path(work_dir) / 'last_checkpoint'
    if pointer.is_file():
        folders.append(Path(pointer.read_text().strip()).parent)
    paths = {path.resolve() for folder in folders for path in folder.glob('*.pth')}
    ranked, damaged = [], []
    for path in paths:
        try:
            progress = _progress(path, trust)
        except (ValueError, OSError) as error:
            damaged.append(f'{path}: {error}')
        else:
            if progress is not None:
                ranked.append((progress, path))
    for problem in damaged:
        _say(f'passing over a damaged checkpoint: {problem}')
    for _, path in sorted(ranked, reverse=True):
        damage = _damage(path)
        if damage is None:
            return str(path)
        _say(f'passing over a damaged checkpoint: {path}: {damage}; taking the one before')
        damaged.append(f'{path}: {damage}')
    if damaged:
        raise UserError(
            f'no checkpoint in {work_dir} is whole: '
            + '; '.join(damaged)
            + '. Move them away to start anew, or give a good one: --resume PATH'
        )
    return None


def resolve_resume(resume: str, work_dir: str | Path, trust: bool = False) -> str | None:
    """The checkpoint meant by ``--resume [auto|PATH]``.

    Args:
        resume: 'auto' or a path.
        work_dir: The run's folder.
        trust: Unpickle everything, code included.

    Returns:
        The path; None for 'auto' in a folder without checkpoints, which starts a new run.

    Raises:
        FileNotFoundError: PATH does not exist.
        UserError: PATH is damaged or holds no training state.
    """
    if resume == 'auto':
        found = find_resumable(work_dir, trust)
        if found is None:
            _say(f'no checkpoint in {work_dir} yet: starting from the beginning', logging.INFO)
        elif progress := _progress(Path(found), trust):
            _say(f'resuming from {found} (iteration {progress[0]})', logging.INFO)
        return found
    path = Path(resume).expanduser()
    if not path.exists():
        raise MissingFileError(f'--resume {path}: no such checkpoint; --resume auto finds one')
    if damage := _damage(path):
        raise UserError(f'--resume {path}: {damage}; --resume auto takes a whole one')
    if _progress(path, trust) is None:
        raise UserError(
            f'--resume {path}: it holds no optimizer state, so a run cannot go on from it; start '
            'one from its weights with --cfg-options load_from=...'
        )
    return str(path)


def _files(path: Path) -> list[Path]:
    """The files of a checkpoint, the one that tells its iteration first.

    A sharded one is a folder: ``rank<r>.pth`` of each process, or DeepSpeed's file of weights and
    ``..._optim_states.pt`` of each.
    """
    if not path.is_dir():
        return [path]
    files = sorted([*path.glob('*.pth'), *path.glob('*.pt')])
    return sorted(files, key=lambda file: file.name != DEEPSPEED_WEIGHTS)


def _damage(path: Path) -> str | None:
    """Why a checkpoint cannot be trusted to be whole; None if it is."""
    files = _files(path)
    for file in files:
        if damage := find_damage(file):
            return damage
    if path.is_dir():
        told = safe_load(files[0], mmap=True) if files else {}
        expected = told['dp_world_size'] + 1 if 'dp_world_size' in told else told.get('shards')
        if expected != len(files):
            return f'it holds {len(files)} of {expected or "its"} files'
    return None


def _progress(path: Path, trust: bool) -> tuple[int, int] | None:
    """(iteration, epoch) of a checkpoint, None if it has no training state."""
    files = _files(path)
    if not files:
        raise UserError('an empty folder')
    content = safe_load(files[0], trust=trust, mmap=True)
    meta = content.get('meta')
    if not isinstance(meta, dict) or 'iter' not in meta or 'optimizer' not in content:
        return None
    return int(meta['iter']), int(meta.get('epoch', 0))


def _say(text: str, level: int = logging.WARNING) -> None:
    log(text, level=level)
