"""Build what a release is made of, install it into an empty environment, and use it there.

    make release-check

The wheel and the source archive are built from the last commit, not from the work tree, and lie in
``dist/`` afterwards. The environment is new, outside the clone, and has nothing but torch and
``mae_plugin[onedl]``; every command is asked for its help there, and a tiny pretraining runs from
an empty folder on photographs that are made here. TORCH and PIP_ARGS are those of the Makefile.
Needs ``build`` and ``twine``, which ``make release-check`` installs.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = os.environ.get('TORCH') or 'torch==2.13.0'
PIP_ARGS = shlex.split(os.environ.get('PIP_ARGS', ''))
# Run in the new environment: photographs of soft colours.
_PHOTOGRAPHS = """
import numpy, pathlib
from PIL import Image
pathlib.Path('photos').mkdir()
draw = numpy.random.default_rng(0).integers
for number in range(12):
    colours = draw(0, 255, (6, 8, 3), numpy.uint8)
    Image.fromarray(colours).resize((160, 120), Image.BICUBIC).save(f'photos/{number}.jpg')
"""
_TRAIN = (
    *('train', 'mae_demo', '--data-root', 'photos', '--cfg-options', 'train_cfg.max_epochs=3'),
    *('train_dataloader.sampler.repeats=2', 'default_hooks.checkpoint.interval=3'),
)
_CHECKPOINT = 'work_dirs/mae_demo/epoch_3.pth'


class ReleaseError(RuntimeError):
    """Something that must not be released."""


def main() -> None:
    """Run all checks; exit status 1 with one line if one fails."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix='mae_plugin_release_') as folder:
            check(Path(folder))
    except ReleaseError as error:
        sys.exit(f'Not to be released: {error}')


def check(folder: Path) -> None:
    """Build, look, install, use.

    Args:
        folder: For the environment and for what runs in it.

    Raises:
        ReleaseError: A check failed.
    """
    with step('version and changes'):
        version = read_version(ROOT / 'mae_plugin/__init__.py')
        check_changes((ROOT / 'CHANGELOG.md').read_text(encoding='utf-8'), version)
    with step('wheel and source archive, from the last commit'):
        wheel = build(folder / 'source', version)
    with step('their metadata'):
        run([sys.executable, '-m', 'twine', 'check', '--strict', *archives(version)])
    with step(f'an empty environment with {TORCH} and the wheel'):
        python = folder / 'env/bin/python'
        run([sys.executable, '-m', 'venv', str(folder / 'env')])
        run([python, '-m', 'pip', 'install', '-q', *PIP_ARGS, TORCH, f'{wheel}[onedl]'])
    with step('every command, from an empty folder'):
        (folder / 'empty').mkdir()
        use(folder / 'env/bin/mae-plugin', folder / 'empty', version)
    with step('a first pretraining'):
        pretrain(folder / 'env/bin', folder / 'empty')
    print(f'mae_plugin {version} can be released: {", ".join(map(str, archives(version)))}')


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f'{what} ...', flush=True)
    start = time.monotonic()
    yield
    print(f'    {time.monotonic() - start:.0f} s', flush=True)


def run(command: list, cwd: Path = ROOT) -> str:
    """Run a command as a user would, without the clone on Python's path.

    Returns:
        What it printed.

    Raises:
        ReleaseError: It failed.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME')}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f'{shlex.join(map(str, command))}\n{done.stdout[-4000:]}')
    return done.stdout


def read_version(path: Path) -> str:
    """``__version__`` of a file, the one place of it.

    Raises:
        ReleaseError: There is none.
    """
    found = re.search(r"^__version__ = '([^']+)'", path.read_text(encoding='utf-8'), re.MULTILINE)
    if found is None:
        raise ReleaseError(f'{path} names no __version__')
    return found[1]


def check_changes(changes: str, version: str) -> None:
    """The newest section is of this version, and says something.

    Raises:
        ReleaseError: It is not, or is empty.
    """
    sections = re.split(r'^## ', changes, flags=re.MULTILINE)[1:]
    newest, _, text = (sections or [''])[0].partition('\n')
    if newest.split(' ')[0] != version:
        raise ReleaseError(f"CHANGELOG.md begins with '{newest}', and this is {version}")
    if '\n- ' not in text:
        raise ReleaseError(f'CHANGELOG.md tells nothing of {version}')


def archives(version: str) -> list[Path]:
    """What is uploaded."""
    names = (f'mae_plugin-{version}-py3-none-any.whl', f'mae_plugin-{version}.tar.gz')
    return [ROOT / 'dist' / name for name in names]


def build(source: Path, version: str) -> Path:
    """Build both from the last commit; the wheel from the source archive. Returns the wheel.

    Raises:
        ReleaseError: Something else than the two came out.
    """
    source.mkdir()
    archive = source.parent / 'source.tar'
    run(['git', 'archive', '-o', archive, 'HEAD'])
    run(['tar', '-xf', archive, '-C', source])
    shutil.rmtree(ROOT / 'dist', ignore_errors=True)
    run([sys.executable, '-m', 'build', '--outdir', ROOT / 'dist', source])
    found = sorted((ROOT / 'dist').iterdir())
    if found != archives(version):
        raise ReleaseError(f'dist/ holds {", ".join(path.name for path in found)}')
    return found[0]


def use(command: Path, folder: Path, version: str) -> None:
    """Ask the installed command and each of its sub-commands for help, and for a config.

    Raises:
        ReleaseError: One fails, or something is not of the wheel.
    """
    if (told := run([command, '--version'], folder).strip()) != version:
        raise ReleaseError(f'mae-plugin --version says {told}')
    names = run([command, '--complete', ''], folder).split()  # as a shell asks for them
    for name in names:
        if f'mae-plugin {name}' not in run([command, name, '--help'], folder):
            raise ReleaseError(f'mae-plugin {name} --help says nothing of it')
    path = run([command, 'config-path', 'mae_demo'], folder).strip()
    if not Path(path).is_relative_to(command.parents[1]):
        raise ReleaseError(f'mae_demo lies at {path}, outside the environment')
    run([command, 'doctor'], folder)
    print(f'    {len(names)} commands')


def pretrain(binaries: Path, folder: Path) -> None:
    """Train, visualize and report.

    Raises:
        ReleaseError: Something fails, or leaves no file.
    """
    run([binaries / 'python', '-c', _PHOTOGRAPHS], folder)
    command = binaries / 'mae-plugin'
    run([command, *_TRAIN], folder)
    run([command, 'visualize', _CHECKPOINT, 'photos/0.jpg'], folder)
    run([command, 'report', 'work_dirs/mae_demo'], folder)
    for name in (_CHECKPOINT, 'reconstruction.png', 'work_dirs/mae_demo/report.html'):
        if not (folder / name).is_file():
            raise ReleaseError(f'{name} was not written')


if __name__ == '__main__':
    main()
