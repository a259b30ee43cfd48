"""Set up the environment in ``.venv``: ``python tools/setup_env.py NAME``.

NAME is one of ENVIRONMENTS: ``demo``, ``lint``, ``docs``, ``release``, ``fast``, ``test``,
``page``, ``trackers``, each called first by the Makefile's command. It needs nothing but Python.
Each step leaves a stamp that holds what the step was; a re-run skips the steps whose stamp still
says the same, and does again the one that was interrupted or whose content has changed. The
environments are one: ``test`` adds to ``fast``, that to ``lint``, and that to ``demo``, as does
``docs``; ``release`` needs nothing of them. ``page`` and ``trackers`` want other versions than the
tests, and lie in ``.venv-page`` and ``.venv-trackers``.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_mmcv import MMCV, VERSION, missing_prerequisite

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
TORCH = os.environ.get('TORCH') or 'torch==2.13.0'
TORCHVISION = os.environ.get('TORCHVISION') or 'torchvision==0.28.0'
# More arguments for each pip call, such as an index with CPU builds of torch.
PIP_ARGS = shlex.split(os.environ.get('PIP_ARGS', ''))


@dataclass(frozen=True)
class Step:
    """One command of the set-up.

    Attributes:
        name: Name of the stamp.
        what: What the user reads.
        command: The command, run from the root of the clone; ``pip`` and ``python`` are those of
            the environment.
        files: Files of the clone whose content belongs to the step.
        replaces: The step that this one makes needless.
        built_for: A package that the result only works beside.
    """

    name: str
    what: str
    command: tuple[str, ...]
    files: tuple[str, ...] = ()
    replaces: Step | None = None
    built_for: str | None = None

    def content(self) -> str:
        """All that the step depends on, as the stamp keeps it."""
        files = {name: (ROOT / name).read_text(encoding='utf-8') for name in self.files}
        built_for = {'built_for': self.built_for} if self.built_for else {}
        return json.dumps({'command': self.command, 'files': files, **built_for}, indent=1)


def _pip(*arguments: str) -> tuple[str, ...]:
    return ('pip', 'install', *arguments)


# opencv comes as opencv-python-headless, which needs no system libraries for windows. mmcv and
# the hosts ask for opencv-python by name, hence their --no-deps.
_MMCV = Step(
    'mmcv',
    'mmcv without compiled operators (pretraining needs none)',
    # pip's cache would hand this wheel to whoever wants one with operators.
    _pip('--no-deps', '--no-cache-dir', f'{MMCV}=={VERSION}'),
)
DEMO = (
    Step('torch', f'{TORCH} (the largest download)', _pip(TORCH)),
    Step(
        'core',
        'mmengine and the image libraries',
        _pip(
            *('imagecodecs', 'numpy', 'opencv-python-headless', 'pillow', 'rich', 'safetensors'),
            *('simplejpeg', 'tifffile', 'scikit-image', 'onedl-mmengine==0.10.12'),
        ),
    ),
    _MMCV,
    Step(
        'project',
        'mae_plugin itself, editable',
        _pip('--no-deps', '--no-build-isolation', '-e', '.'),
        files=('setup.py', 'pyproject.toml'),
    ),
)
LINT = (
    Step(
        'lint',
        'ruff, mypy and import-linter',
        _pip('ruff==0.17.6', 'mypy==2.4.1', 'import-linter==2.17'),
    ),
)
# What `pip install '.[docs]'` installs.
DOCS = (
    Step(
        'docs',
        'mkdocs and what it needs',
        _pip('mkdocs>=1.6,<2', 'mkdocs-material>=9.5,<10', 'mkdocstrings[python]>=1,<2'),
    ),
)
RELEASE = (Step('release', 'what builds and checks archives', _pip('build', 'twine')),)
FAST = (
    Step(
        'hosts',
        'mmdet, mmseg, mmpretrain, torchvision',
        _pip(
            *('--no-deps', '--no-build-isolation', 'onedl-mmdetection==3.5.1'),
            *('onedl-mmsegmentation==1.4.2', 'onedl-mmpretrain==1.3.6', 'imaug', TORCHVISION),
        ),
    ),
    Step(
        'libraries',
        'what the hosts and the tests need',
        _pip(
            *('alembic', 'einops', 'ftfy', 'hypothesis', 'importlib-metadata', 'ipykernel'),
            *('mat4py', 'mlflow-skinny', 'modelindex', 'nbclient', 'sqlalchemy'),
            *('ninja', 'onnx', 'onnxruntime', 'packaging', 'prettytable', 'psutil'),
            *('pyarrow', 'pycocotools', 'pydicom', 'pytest>=8'),
            *('pytest-xdist', 'regex', 'scikit-learn', 'scipy', 'setuptools>=77', 'shapely'),
            *('six', 'tensorboard', 'terminaltables', 'timm>=1', 'tqdm'),
            *('transformers>=4.53,<5', 'webdataset', 'wheel', 'zarr'),
        ),
    ),
)
TEST = (
    Step(
        'mmcv-ops',
        'mmcv with compiled operators (compiled once, some minutes)',
        ('python', 'tools/build_mmcv.py'),
        files=('tools/build_mmcv.py',),
        replaces=_MMCV,
        built_for=TORCH,
    ),
)
PAGE = (Step('page', 'gradio, and Playwright, which drives it', _pip('gradio>=6', 'playwright')),)
TRACKERS = (Step('trackers', 'W&B, Aim and ClearML', _pip('wandb', 'aim<3.29', 'clearml')),)
ENVIRONMENTS = {
    'demo': DEMO,
    'lint': DEMO + LINT,
    'docs': DEMO + DOCS,
    'release': RELEASE,
    'fast': DEMO + LINT + FAST,
    'test': DEMO + LINT + FAST + TEST,
    'page': DEMO + PAGE,
    'trackers': DEMO + TRACKERS,
}


def main(arguments: Sequence[str]) -> None:
    """Set up the environment that is named on the command line."""
    if len(arguments) != 1 or arguments[0] not in ENVIRONMENTS:
        sys.exit(f'usage: python tools/setup_env.py {"|".join(ENVIRONMENTS)}')
    steps = ENVIRONMENTS[arguments[0]]
    replaced = [step.replaces for step in steps]
    steps = tuple(step for step in steps if step not in replaced)
    if _MMCV in replaced and (missing := missing_prerequisite()):
        sys.exit(f'make test: {missing}')
    start = time.monotonic()
    venv = ROOT / (f'.venv-{arguments[0]}' if arguments[0] in ('page', 'trackers') else '.venv')
    create_venv(venv)
    for number, step in enumerate(steps, start=1):
        run_step(step, venv, f'[{number}/{len(steps)}]')
    print(f'Environment {venv.name} is ready ({time.monotonic() - start:.0f} s).', flush=True)


def create_venv(venv: Path) -> None:
    """Create the virtual environment unless a working one of this Python is there."""
    version = '{}.{}'.format(*sys.version_info)
    check = 'import sys, pip; print("{}.{}".format(*sys.version_info))'
    python = venv / 'bin' / 'python'
    if python.exists():
        found = subprocess.run([python, '-c', check], capture_output=True, text=True)
        if found.stdout.strip() == version:
            return
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        name = f'python{version}-venv'
        sys.exit(f"Python {version} has no venv module: run 'apt-get install {name}' first")
    print(f'Creating {venv.name} with Python {version}', flush=True)
    subprocess.run([sys.executable, '-m', 'venv', '--clear', str(venv)], check=True)


def run_step(step: Step, venv: Path, label: str) -> None:
    """Run ``step`` in ``venv`` unless its stamp says that it is done.

    Args:
        step: The step.
        venv: The environment; stamps lie in its folder ``.stamps``, so they go when it goes.
        label: Printed before the step's own words.
    """
    steps = [step, step.replaces] if step.replaces else [step]
    stamps = {venv / '.stamps' / each.name: each.content() for each in steps}
    stamp = venv / '.stamps' / step.name
    if stamp.exists() and stamp.read_text(encoding='utf-8') == stamps[stamp]:
        print(f'{label} {step.what}: done before', flush=True)
        return
    stamp.parent.mkdir(exist_ok=True)
    for path in stamps:
        path.unlink(missing_ok=True)
    if run(_expand(step.command, venv), f'{label} {step.what}') != 0:
        sys.exit(f'{label} {step.what}: failed, see above. The same command tries again from here')
    for path, content in stamps.items():
        path.write_text(content, encoding='utf-8')


def run(command: Sequence[str], label: str) -> int:
    """Run a command and return its exit status; a terminal shows its last words in one line.

    Args:
        command: The command, run from the root of the clone.
        label: Printed before the words, and without them in the end.
    """
    if not sys.stdout.isatty():
        print(label, flush=True)
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    told: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors='replace',
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            width = shutil.get_terminal_size().columns - 1
            print(f'\r\x1b[K{label}: {line.strip()}'[: width + 4], end='', flush=True)
    print(f'\r\x1b[K{label}', flush=True)
    if process.returncode:
        print(''.join(told[-40:]))
    return process.returncode


def _expand(command: Sequence[str], venv: Path) -> list[str]:
    python = str(venv / 'bin' / 'python')
    if command[0] == 'python':
        return [python, *command[1:]]
    # Byte code is written when a module is first used, not for all of torch in advance. pip's own
    # words are for people who watch.
    quiet = [] if sys.stdout.isatty() else ['-q']
    common = ['--disable-pip-version-check', '--no-warn-conflicts', '--no-compile', *quiet]
    return [python, '-m', 'pip', command[1], *common, *PIP_ARGS, *command[2:]]


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit('\nInterrupted. The same command goes on from here.')
