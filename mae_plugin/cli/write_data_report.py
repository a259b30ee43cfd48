"""The command behind ``tools/inspect_data.py``."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mae_plugin.checkpoint.known_weights import is_name, names_like
from mae_plugin.cli.data_config import write_config
from mae_plugin.cli.data_inspection import inspect
from mae_plugin.cli.inspection import summary
from mae_plugin.cli.tools import as_typed
from mae_plugin.errors import MissingFileError, UserError
from mae_plugin.files import atomic_write


def write_data_report(
    folders: Sequence[str],
    out: str,
    everything: bool = False,
    pretrained: str | None = None,
    workers: int | None = None,
    percentiles: tuple[float, float] | None = None,
) -> None:
    """Inspect folders, print one screen, write ``data_report.html`` and ``config.py``.

    Args:
        folders: Folders of images, list files, shards.
        out: Folder to write to.
        everything: Read every pixel and compare all images.
        pretrained: File or name of weights that the config starts from.
        workers: Processes; as many as there are cores if None.
        percentiles: Of the values of more than 8 bits, which shall become 0 and 255.

    Raises:
        UserError: If a folder or the weights are missing, or no image can be used.
    """
    if pretrained and not (os.path.exists(pretrained) or is_name(pretrained)):
        raise MissingFileError(
            f'--pretrained {pretrained} does not exist: {names_like(pretrained)}'
        )
    if workers is not None and workers < 1:
        raise UserError(f'--workers {workers} must be at least 1')
    if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise UserError(f'--percentiles {percentiles} must rise, from 0 to 100: 0.5 99.5')
    with TemporaryDirectory(prefix='inspect_data-') as scratch:
        _write(folders, out, everything, pretrained, workers, percentiles, Path(scratch))


def _write(
    folders: Sequence[str],
    out: str,
    everything: bool,
    pretrained: str | None,
    workers: int | None,
    percentiles: tuple[float, float] | None,
    scratch: Path,
) -> None:
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), transient=True) as bars:
        tasks: dict[str, int] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        found = inspect(
            folders, everything, workers or os.cpu_count() or 1, progress, scratch, percentiles
        )
    # After the workers have forked, because torch and matplotlib take their time.
    from mmengine.device import get_device

    from mae_plugin.visualization.data_report import render_data

    lines = summary(found)
    config = write_config(found, pretrained, get_device())
    width = min(44, max(map(len, lines)))
    for name, value in lines.items():
        print(f'{name:{width}}  {value}')
    target = Path(out)
    atomic_write(target / 'config.py', config.encode())
    bad = sorted(found.bad.items())
    used = [found.headers[i] for i in found.usable]
    page = render_data(
        ', '.join(folders),
        lines,
        {
            'Height (px)': [header.height for header in used],
            'Width (px)': [header.width for header in used],
        },
        found.classes,
        [found.paths[i] for i in found.usable],
        found.options,
        found.channels,
        bad,
        [[found.paths[i] for i in group] for group in (*found.same, *found.near)],
        config,
    )
    atomic_write(target / 'data_report.html', page.encode('utf-8', 'replace'))
    print(f'\n{target / "data_report.html"}\n{as_typed("train")} {target / "config.py"}')
