"""Find the checkpoint from which a run can go on."""

import logging
from pathlib import Path

from mmengine.logging import print_log

from mae_plugin.engine.atomic import find_damage
from mae_plugin.safe_load import safe_load


def find_resumable(work_dir: str | Path) -> str | None:
    """The newest whole checkpoint of a run, by iteration; damaged ones are named and passed over.

    Looks at every ``.pth`` in ``work_dir`` and in the folder that ``last_checkpoint`` names.
    Files without optimizer state (``best_*.pth``, exports) do not count.

    Args:
        work_dir: The run's folder.

    Returns:
        The path, or None if the run has no checkpoint yet.

    Raises:
        ValueError: There are checkpoints and none of them is whole; says why for each.
    """
    folders = [Path(work_dir)]
    pointer = Path(work_dir) / 'last_checkpoint'
    if pointer.is_file():
        folders.append(Path(pointer.read_text().strip()).parent)
    paths = {path.resolve() for folder in folders for path in folder.glob('*.pth')}
    ranked, damaged = [], []
    for path in paths:
        try:
            progress = _progress(path)
        except (ValueError, OSError) as error:
            damaged.append(f'{path}: {error}')
        else:
            if progress is not None:
                ranked.append((progress, path))
    for problem in damaged:
        _say(f'passing over a damaged checkpoint: {problem}')
    for (iteration, _), path in sorted(ranked, reverse=True):
        damage = next((bad for file in _files(path) if (bad := find_damage(file))), None)
        if damage is None:
            _say(f'resuming from {path} (iteration {iteration})', logging.INFO)
            return str(path)
        _say(f'passing over a damaged checkpoint: {path}: {damage}; taking the one before')
        damaged.append(f'{path}: {damage}')
    if damaged:
        raise ValueError(
            f'no checkpoint in {work_dir} is whole: '
            + '; '.join(damaged)
            + '. Move them away to start anew, or give a good one: --resume PATH'
        )
    return None


def resolve_resume(resume: str, work_dir: str | Path) -> str | None:
    """The checkpoint meant by ``--resume [auto|PATH]``.

    Returns:
        The path; None for 'auto' in a folder without checkpoints, which starts a new run.

    Raises:
        FileNotFoundError: PATH does not exist.
        ValueError: PATH is damaged or holds no training state.
    """
    if resume == 'auto':
        found = find_resumable(work_dir)
        if found is None:
            _say(f'no checkpoint in {work_dir} yet: starting from the beginning', logging.INFO)
        return found
    path = Path(resume).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'--resume {path}: no such checkpoint; --resume auto finds one')
    for file in _files(path):
        if damage := find_damage(file):
            raise ValueError(f'--resume {path}: {damage}; --resume auto takes a whole one')
    if _progress(path) is None:
        raise ValueError(
            f'--resume {path}: it holds no optimizer state, so a run cannot go on from it; start '
            'one from its weights with --cfg-options load_from=...'
        )
    return str(path)


def _files(path: Path) -> list[Path]:
    """The files of a checkpoint; a sharded one is a folder with a file per rank."""
    return sorted(path.glob('*.pth')) if path.is_dir() else [path]


def _progress(path: Path) -> tuple[int, int] | None:
    """(iteration, epoch) of a checkpoint, None if it has no training state."""
    files = _files(path)
    if not files:
        raise ValueError('an empty folder')
    content = safe_load(files[0], mmap=True)
    meta = content.get('meta')
    if not isinstance(meta, dict) or 'iter' not in meta or 'optimizer' not in content:
        return None
    return int(meta['iter']), int(meta.get('epoch', 0))


def _say(text: str, level: int = logging.WARNING) -> None:
    print_log(text, logger='current', level=level)
