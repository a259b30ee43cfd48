"""Running the Python of an environment, and what is installed in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What must stay as it was when ours is installed.
KEPT = ('torch', 'torchvision', 'numpy', 'mmcv', 'onedl-mmcv')


def python_of(folder: Path) -> str:
    """The environment's Python."""
    return str(folder / 'bin/python')


def run(folder: Path, *arguments: str) -> None:
    """Run the environment's Python; a failure ends the build."""
    done = subprocess.run([python_of(folder), *arguments], cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f'failed: {" ".join(arguments)}')


def pip(folder: Path, *requirements: str) -> None:
    """Install."""
    run(folder, '-m', 'pip', 'install', '-q', '--no-compile', *requirements)


def shell(folder: Path, command: str, cwd: Path, log: Path | None = None) -> str:
    """Run a line as someone who activated the environment does; what it printed.

    Args:
        folder: The environment.
        command: For ``bash``.
        cwd: Where.
        log: Also written there.

    Raises:
        subprocess.CalledProcessError: It failed; ``output`` is what it printed.
    """
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    environment |= dict(
        PATH=f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}',
        VIRTUAL_ENV=str(folder),
        OMP_NUM_THREADS='1',
        PIP_DISABLE_PIP_VERSION_CHECK='1',
    )
    done = subprocess.run(
        ['bash', '-c', command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    )
    if log is not None:
        log.write_text(f'$ {command}\n{done.stdout}', encoding='utf-8')
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
    return done.stdout


def without_operators(requirement: str) -> str:
    """The command that installs mmcv without compiled operators, upstream's or the fork's.

    Built in isolation pip sees no torch, and nothing is compiled; upstream's source needs a
    setuptools that still has pkg_resources. pip's cache would not tell the two kinds apart.
    """
    return (
        "echo 'setuptools<70' > old.txt && PIP_CONSTRAINT=old.txt PIP_BUILD_CONSTRAINT=old.txt "
        f'pip install -q --no-deps --no-cache-dir {requirement}'
    )


def installed(folder: Path) -> dict[str, str]:
    """Versions of what matters."""
    command = [python_of(folder), '-m', 'pip', 'list', '--format', 'json']
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    versions = {package['name']: package['version'] for package in json.loads(told.stdout)}
    names = (*KEPT, 'mmengine', 'onedl-mmengine', 'transformers', 'timm', 'setuptools')
    return {name: versions[name] for name in names if name in versions}


def size_of(folder: Path) -> int:
    """Bytes on the disk."""
    told = subprocess.run(['du', '-sk', str(folder)], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[0]) * 1024
