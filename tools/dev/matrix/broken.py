"""Environments broken as people break them; what ``mae-plugin doctor`` says is tried.

Each is a copy of a whole environment by hard links, so that it costs little and is real.
"""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from matrix.venv import pip, shell, without_operators


@dataclass(frozen=True)
class Case:
    """One way to break an environment.

    Attributes:
        name: What was done.
        command: That does it.
    """

    name: str
    command: str


_OUT = 'pip uninstall -q -y mmcv'
UPSTREAM = (
    Case('torchvision of another torch', 'pip install -q --no-deps torchvision==0.20.1'),
    Case(
        'mmcv-lite instead of mmcv',
        f'{_OUT} && pip install -q --no-deps mmcv-lite==2.1.0',
    ),
    Case('mmcv too new', f'{_OUT} && {without_operators("mmcv==2.2.0")}'),
    # Built in isolation, pip sees no torch and the fork builds no operators.
    Case('onedl-mmcv over mmcv', 'pip install -q --no-deps --no-cache-dir onedl-mmcv==2.3.6'),
    Case('mmcv without operators', f'{_OUT} && {without_operators("mmcv==2.1.0")}'),
    Case(
        'torch too old', 'pip install -q --no-deps torch==2.0.1 torchvision==0.15.2'
    ),
)  # fmt: skip


def break_and_mend(folder: Path, wheel: Path, chosen: list[str] | None = None) -> list[dict]:
    """Break copies of an environment, ask the doctor, run its command, ask again."""
    told = []
    for number, case in enumerate(UPSTREAM, 1):
        if chosen and case.name not in chosen:
            continue
        copy = folder.with_name(f'{folder.name}_broken')
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(['cp', '-al', str(folder), str(copy)], check=True)
        # Commands name their Python by its path: the copy's are written anew.
        pip(copy, '--no-deps', '--force-reinstall', 'pip<26')
        pip(copy, '--no-deps', '--force-reinstall', str(wheel))
        told.append(_treat(copy, case, folder / f'broken_{number}.log'))
        print(f'{case.name}: {told[-1]}', flush=True)
        shutil.rmtree(copy)
    return told


def _treat(copy: Path, case: Case, log: Path) -> dict:
    place = copy / 'empty'
    place.mkdir()
    shell(copy, case.command, place, log)
    found = _ask(copy, place)
    if found is None:
        return dict(name=case.name, says='nothing', command='', then='FAILED: not seen')
    says, command = found
    start = time.monotonic()
    try:
        shell(copy, command, place, log)
    except subprocess.CalledProcessError as error:
        lines = error.output.strip().splitlines() or ['']
        return dict(name=case.name, says=says, command=command, then=f'FAILED: {lines[-1][:200]}')
    again = _ask(copy, place)
    minutes = round((time.monotonic() - start) / 60, 1)
    then = f'all fits ({minutes} min)' if again is None else f'{again[0]}: `{again[1]}`'
    return dict(name=case.name, says=says, command=command, then=then)


def _ask(copy: Path, place: Path) -> tuple[str, str] | None:
    """The first problem and its command; None if all fits."""
    try:
        shell(copy, 'mae-plugin doctor', place)
    except subprocess.CalledProcessError as error:
        # Problems are set off by empty lines, each followed by its command, indented.
        found = re.search(r'\n\n(.+)\n    (.+)', error.output)
        if found is None:
            raise
        return found[1], found[2]
    return None
