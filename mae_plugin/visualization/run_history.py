"""What a run left in its work dir: logged values, pictures, configuration."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from mae_plugin.errors import UserError


@dataclass
class RunHistory:
    """What a run left in its work dir.

    Attributes:
        scalars: Points (iteration, value) by name.
        pictures: Reconstruction pictures by iteration.
        neighbours: The newest contact sheet of nearest neighbours.
        config: Text of the newest config.
        epochs: Epoch reached.
    """

    scalars: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    pictures: dict[int, Path] = field(default_factory=dict)
    neighbours: Path | None = None
    config: str = ''
    epochs: int = 0


def read_run(work_dir: str | Path) -> RunHistory:
    """Collect the history of a run, also one that was resumed several times.

    Where a resumed part repeats iterations of an interrupted one, the later values count.

    Raises:
        UserError: If the folder holds no logged values.
    """
    run = RunHistory()
    values: dict[str, dict[int, float]] = {}
    for folder in sorted(Path(work_dir).glob('*/vis_data')):
        for line in _lines(folder / 'scalars.json'):
            step = int(line.get('step', 0))
            run.epochs = max(run.epochs, int(line.get('epoch', 0)))
            for name, value in line.items():
                if isinstance(value, (int, float)) and name not in ('step', 'iter', 'epoch'):
                    values.setdefault(name, {})[step] = value
        for path in (folder / 'vis_image').glob('reconstruction_*.png'):
            run.pictures[_step(path)] = path
        run.neighbours = max(
            (folder / 'vis_image').glob('neighbours_*.png'), key=_step, default=run.neighbours
        )
        if (folder / 'config.py').is_file():
            run.config = (folder / 'config.py').read_text(encoding='utf-8')
    if not values:
        raise UserError(
            f'{work_dir} holds no logged values (*/vis_data/scalars.json): give the work dir of a '
            'run that has trained for at least one logging interval'
        )
    run.scalars = {name: sorted(points.items()) for name, points in values.items()}
    return run


def _step(path: Path) -> int:
    """The iteration at which a picture was drawn."""
    return int(path.stem.rsplit('_', 1)[1])


def _lines(path: Path) -> list[dict]:
    """The JSON lines of a log; one that an interruption cut off is left out."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return found
