"""Compile mmcv's operators once, keep the wheel outside the clone, install it.

Run by ``make test`` with the environment's own Python, beside the torch that is to use them::

    .venv/bin/python tools/build_mmcv.py                  # the maintained fork
    ENVIRONMENT/bin/python tools/build_mmcv.py mmcv==2.1.0    # upstream

Detection needs mmcv's compiled operators. Where no binary wheel fits, about 78 C++ files have to
be compiled, some minutes with the flags below (mmcv's default flags take more than twice as long
and give a wheel 20 times as large). The wheel goes to ``$XDG_CACHE_HOME/mae_plugin``
(``~/.cache/mae_plugin``), under a key of all that it depends on, so that every clone reuses it. An
interrupted build goes on where it stopped. The operators are built for the CPU, whatever the
machine has: the tests need no more. ``MAX_JOBS`` limits the compilers that run at once.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

MMCV = 'onedl-mmcv'
VERSION = '2.3.6'
# ninja prints '[12/78] c++ -MMD ...' when a file is done.
_NINJA_LINE = re.compile(r'^\s*\[(\d+)/(\d+)\] ')
_COMPILE_LINE = re.compile(r'^\s*running build_ext')
# Each compiler process takes up to about this much memory.
_GIB_PER_JOB = 1.5
# Without a terminal, say something this often (seconds).
_SILENCE = 20.0


class BuildError(RuntimeError):
    """The build failed; the message names the log."""


def main() -> None:
    """Install mmcv with operators into the running environment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'requirement',
        nargs='?',
        default=f'{MMCV}=={VERSION}',
        help=f'mmcv==VERSION or {MMCV}==VERSION; default: %(default)s',
    )
    requirement = parser.parse_args().requirement
    name, _, release = requirement.partition('==')
    if name not in ('mmcv', MMCV) or not release:
        parser.error(f'{requirement} is not mmcv==VERSION or {MMCV}==VERSION')
    folder = cache_root() / cache_key(version('torch'), requirement)
    try:
        wheel = build(folder, requirement)
    except BuildError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit('\nInterrupted. The same command goes on from here.')
    # The pure-Python mmcv of `make demo` has the same version, so pip must be forced.
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--force-reinstall']
    subprocess.run([*command, str(wheel)], check=True)


def cache_root() -> Path:
    """Where wheels are kept, shared by all clones of a user."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'mae_plugin'


def cache_key(torch_version: str, requirement: str = f'{MMCV}=={VERSION}') -> str:
    """The name of all that a wheel with operators depends on."""
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    mmcv = requirement.replace('==', '-')
    return f'{mmcv}-{python}-torch{torch_version}-{platform.machine()}'


def missing_prerequisite() -> str | None:
    """One line that names what a build lacks here and how to get it; None if nothing is missing.

    A kept wheel for this Python (whichever torch) counts as "nothing is missing".
    """
    if any(cache_root().glob(f'{cache_key("*")}/*.whl')):
        return None
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    missing = []
    if shutil.which(os.environ.get('CXX', 'c++')) is None:
        missing.append('g++')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        missing.append(f'{python}-dev')
    if not missing:
        return None
    names = ' '.join(missing)
    return f"compiling mmcv's operators needs {names}: run 'apt-get install {names}' first"


def build(folder: Path, requirement: str = f'{MMCV}=={VERSION}') -> Path:
    """Return the wheel in ``folder``, compiling it first if there is none.

    Args:
        folder: The cache folder of one key; created, and locked against a second build.
        requirement: Distribution and version.

    Returns:
        The path of the wheel.

    Raises:
        BuildError: If the source cannot be had or does not compile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / 'lock'):
        kept = sorted(folder.glob('*.whl'))
        if kept:
            print(f'      reusing {kept[0]}', flush=True)
            return kept[0]
        source = _source(folder, requirement)
        partial = folder / 'partial'
        shutil.rmtree(partial, ignore_errors=True)
        _compile(source, partial, folder / 'build.log')
        (built,) = partial.glob('*.whl')
        if built.name.endswith('-any.whl'):
            raise BuildError(f'mmcv was built without operators, see {folder / "build.log"}')
        wheel = built.replace(folder / built.name)
        shutil.rmtree(partial)
        shutil.rmtree(source)
        print(f'      kept for next time: {wheel}', flush=True)
        return wheel


class Progress:
    """Reads a build's output and says how far it is.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start: float | None = None

    def read(self, line: str) -> str | None:
        """The new state, if ``line`` reports a finished file; else None."""
        if self.start is None and _COMPILE_LINE.match(line):
            self.start = self.clock()  # what came before says nothing about the files
        found = _NINJA_LINE.match(line)
        if found is None or self.start is None:
            return None
        done, total = int(found[1]), int(found[2])
        elapsed = self.clock() - self.start
        left = elapsed / done * (total - done)
        return (
            f'compiling mmcv: {done} of {total} files, {_minutes(elapsed)} elapsed, '
            f'about {_minutes(left)} left'
        )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d}'


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The operating system's own lock: this script runs before anything is installed.
    import fcntl

    with path.open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('      another build of the same wheel is running: waiting for it', flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _source(folder: Path, requirement: str) -> Path:
    """Unpack mmcv's source into ``folder`` unless an interrupted build left it there."""
    source = folder / 'source'
    if source.exists():
        print('      going on with an interrupted build', flush=True)
        return source
    fresh = folder / 'unpacking'
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    pip = [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '--no-binary', ':all:']
    pip += ['--no-build-isolation', '-d', str(fresh), requirement]
    if subprocess.run(pip).returncode != 0:
        raise BuildError(f'the source of {requirement} could not be downloaded, see above')
    (archive,) = fresh.glob('*.tar.gz')
    subprocess.run(['tar', '-xzf', archive.name, '--strip-components=1'], cwd=fresh, check=True)
    archive.unlink()
    setup = fresh / 'setup.py'
    setup.write_text(with_standard(setup.read_text(encoding='utf-8'), version('torch')), 'utf-8')
    return fresh.rename(source)


def with_standard(setup: str, torch_version: str) -> str:
    """mmcv's ``setup.py`` with the C++ that torch's headers ask for: C++20 from torch 2.14 on."""
    major, minor = map(int, torch_version.split('.')[:2])
    return setup.replace("'-std=c++17'", "'-std=c++20'") if (major, minor) >= (2, 14) else setup


def _compile(source: Path, target: Path, log: Path) -> None:
    # Built in its own folder (not in a temporary copy), the object files outlive an interruption
    # and ninja compiles only what is missing. Without --no-build-isolation mmcv sees no torch and
    # silently builds no operators; pip's own cache would not tell the two wheels apart.
    command = [sys.executable, '-m', 'pip', 'wheel', '-v', '--no-build-isolation', '--no-deps']
    command += ['--no-cache-dir', '-w', str(target), str(source)]
    environment = {
        **os.environ,
        'CFLAGS': '-O1 -g0',
        'MMCV_WITH_OPS': '1',
        'FORCE_CUDA': '0',
        'CUDA_VISIBLE_DEVICES': '',
        'MAX_JOBS': str(_jobs()),
    }
    # torch runs the ninja beside its Python, whether or not the environment is activated.
    environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    print(f'      compiling with {environment["MAX_JOBS"]} jobs, log in {log}', flush=True)
    progress, terminal, spoken = Progress(), sys.stdout.isatty(), time.monotonic()
    with (
        log.open('w', encoding='utf-8', errors='replace') as file,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            state = progress.read(line)
            if state is None:
                continue
            if terminal:
                print(f'\r      {state}   ', end='', flush=True)
            elif time.monotonic() - spoken > _SILENCE:
                spoken = time.monotonic()
                print(f'      {state}', flush=True)
    if terminal:
        print(flush=True)
    if process.returncode != 0:
        tail = '\n'.join(log.read_text(encoding='utf-8').splitlines()[-15:])
        raise BuildError(f'{tail}\nmmcv did not compile; the whole log is {log}')


def _jobs() -> int:
    """As many compilers as there are cores, but no more than fit into memory."""
    if 'MAX_JOBS' in os.environ:
        return int(os.environ['MAX_JOBS'])
    cores = len(os.sched_getaffinity(0))
    gib = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return max(1, min(cores, int(gib / _GIB_PER_JOB)))


if __name__ == '__main__':
    main()
