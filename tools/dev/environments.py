"""Build the environments that people have, from nothing, and run the test suite in each.

    python tools/dev/environments.py upstream        # into ~/.cache/mae_plugin/environments
    python tools/dev/environments.py forks --root /tmp/envs --pytest-args='-n 2'
    python tools/dev/environments.py newest --stages build    # or: extras, test

Pythons are looked for on the PATH and in pyenv; name one with ``--python``. Operators of mmcv are
compiled once and kept (``tools/build_mmcv.py``). What came out is kept in
``tools/dev/environments.json``, from which the table ``tools/dev/environments.md`` is written.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'tools/dev/environments.json'
TABLE = ROOT / 'tools/dev/environments.md'
STAGES = ('build', 'extras', 'test')
LIBRARIES = (
    *('einops', 'ftfy', 'regex', 'hypothesis', 'importlib-metadata', 'mat4py', 'modelindex'),
    *('filelock', 'imagecodecs', 'jinja2', 'matplotlib', 'pillow', 'rich', 'safetensors'),
    *('simplejpeg', 'tifffile', 'ninja', 'packaging', 'prettytable', 'psutil', 'pycocotools'),
    *('pytest>=8', 'pytest-xdist', 'scikit-image', 'scikit-learn', 'scipy', 'shapely', 'six'),
    *('tensorboard', 'terminaltables', 'timm>=1', 'tqdm', 'webdataset', 'wheel', 'openmim'),
)
# What must stay as it was when ours is installed.
KEPT = ('torch', 'torchvision', 'numpy', 'mmcv', 'onedl-mmcv')


@dataclass(frozen=True)
class Environment:
    """One row of the matrix.

    Attributes:
        python: Version of Python.
        torch: Requirements of torch and torchvision.
        mmcv: Requirement of mmcv, whose operators are compiled.
        hosts: mmengine and the hosts.
        pins: What else must be of certain versions.
        extras: Extras of ours that must resolve without moving anything.
        note: For the table.
    """

    python: str
    torch: tuple[str, ...]
    mmcv: str
    hosts: tuple[str, ...]
    pins: tuple[str, ...]
    extras: tuple[str, ...]
    note: str = ''


_ENGINE, _MMPRETRAIN = 'mmengine==0.10.7', 'mmpretrain==1.2.0'
_UPSTREAM_HOSTS = (_ENGINE, 'mmdet==3.3.0', 'mmsegmentation==1.2.2', _MMPRETRAIN)


def _forks(python: str, torch: str, torchvision: str) -> Environment:
    return Environment(
        python,
        (f'torch=={torch}', f'torchvision=={torchvision}'),
        mmcv='onedl-mmcv==2.3.6',
        hosts=(
            *('onedl-mmengine==0.10.12', 'onedl-mmdetection==3.5.1'),
            *('onedl-mmsegmentation==1.4.2', 'onedl-mmpretrain==1.3.6', 'imaug'),
        ),
        pins=('opencv-python-headless', 'setuptools>=77', 'transformers>=4.53,<5'),
        extras=('onedl', 'det', 'seg', 'cls', 'dev'),
    )


_NUMPY_1 = (
    *('numpy==1.26.*', 'setuptools<70', 'opencv-python-headless<4.12', 'opencv-python<4.12'),
    'transformers==4.40.2',
)
_UPSTREAM_EXTRAS = ('upstream', 'upstream-det', 'upstream-seg', 'upstream-cls', 'upstream-dev')
ENVIRONMENTS = {
    'upstream': Environment(
        '3.10', ('torch==2.1.2', 'torchvision==0.16.2'), 'mmcv==2.1.0', _UPSTREAM_HOSTS, _NUMPY_1,
        _UPSTREAM_EXTRAS,
    ),
    'upstream-new': Environment(
        '3.11', ('torch==2.4.1', 'torchvision==0.19.1'), 'mmcv==2.2.0',
        (_ENGINE, _MMPRETRAIN), _NUMPY_1, ('upstream', 'upstream-cls'),
        note='mmdet and mmseg refuse mmcv 2.2.0: use the forks for them',
    ),
    'forks': _forks('3.11', '2.13.0', '0.28.0'),
    'newest': _forks('3.13', '2.14.1', '0.29.1'),
}  # fmt: skip


def main() -> None:
    """Build, check, test, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=ENVIRONMENTS)
    default = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    parser.add_argument('--root', type=Path, default=default / 'mae_plugin/environments')
    parser.add_argument('--python', help='the Python to build with')
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=STAGES)
    parser.add_argument('--pytest-args', type=shlex.split, default=['-n', 'auto'])
    args = parser.parse_args()
    environment, folder = ENVIRONMENTS[args.name], args.root / args.name
    results = json.loads(RESULTS.read_text(encoding='utf-8')) if RESULTS.exists() else {}
    row = results.setdefault(args.name, {})
    for stage in args.stages:
        start = time.monotonic()
        if stage == 'build':
            build(environment, folder, args.python or find_python(environment.python))
        elif stage == 'extras':
            row['extras'] = check_extras(environment, folder)
        else:
            row.update(run_tests(folder, args.pytest_args))
        row.setdefault('minutes', {})[stage] = round((time.monotonic() - start) / 60, 1)
        row['versions'] = installed(folder)
        row['gigabytes'] = round(size_of(folder) / 1e9, 1)
        RESULTS.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        TABLE.write_text(table(results), encoding='utf-8')
    print(TABLE.read_text(encoding='utf-8'))


def find_python(version: str) -> str:
    """A Python of a version, from the PATH or pyenv."""
    found = shutil.which(f'python{version}')
    installed = sorted(Path.home().glob(f'.pyenv/versions/{version}.*/bin/python'))
    if installed:
        return str(installed[-1])
    if found is None:
        sys.exit(f'no Python {version}: install it, or name one with --python')
    return found


def build(environment: Environment, folder: Path, python: str) -> None:
    """Make the environment from nothing, and install our wheel into it."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, '-m', 'venv', str(folder)], check=True)
    pip(folder, '-U', 'pip<26', 'wheel')
    pip(folder, *environment.torch, *environment.pins)
    engine, *hosts = environment.hosts
    pip(folder, *LIBRARIES, *environment.pins, engine)
    pip(folder, '--no-deps', '--no-build-isolation', *hosts)
    run(folder, str(ROOT / 'tools/build_mmcv.py'), environment.mmcv)
    before = installed(folder)
    pip(folder, str(wheel(folder)))
    after = installed(folder)
    moved = {name: (before.get(name), after.get(name)) for name in KEPT}
    moved = {name: pair for name, pair in moved.items() if pair[0] != pair[1]}
    if moved:
        sys.exit(f'installing mae_plugin moved {moved}')


def check_extras(environment: Environment, folder: Path) -> dict[str, str]:
    """Whether each extra resolves, and what pip's dry run would exchange for it."""
    found = {}
    source, here = str(wheel(folder)), installed(folder)
    for extra in ('', *environment.extras):
        name = f'[{extra}]' if extra else ''
        command = [python_of(folder), '-m', 'pip', 'install', '--dry-run', f'{source}{name}']
        told = subprocess.run(command, capture_output=True, text=True)
        would = re.findall(r'Would install (.*)', told.stdout)
        if told.returncode != 0:
            found[extra or 'none'] = 'does not resolve'
            continue
        packages = would[0].split() if would else []
        moved = [p for p in packages if p.rpartition('-')[0] in set(KEPT) & here.keys()]
        found[extra or 'none'] = f'moves {", ".join(moved)}' if moved else 'resolves'
    return found


def run_tests(folder: Path, arguments: list[str]) -> dict:
    """Counts of the suite, and why tests were skipped."""
    report = folder / 'report.xml'
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    command = [python_of(folder), '-m', 'pytest', '-q', f'--junitxml={report}', *arguments]
    subprocess.run(command, cwd=ROOT, env=environment)
    counts: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    failed = []
    for case in ElementTree.parse(report).iter('testcase'):
        kinds = {child.tag: child for child in case}
        if 'skipped' in kinds:
            skips[kinds['skipped'].get('message', '')] += 1
            counts['skipped'] += 1
        elif kinds.keys() & {'failure', 'error'}:
            failed.append(f'{case.get("classname")}::{case.get("name")}')
            counts['failed'] += 1
        else:
            counts['passed'] += 1
    return dict(tests=dict(counts), skips=dict(skips), failed=failed)


def table(results: dict) -> str:
    """The page of results."""
    lines = [
        '# Environments',
        '',
        'Written by `tools/dev/environments.py NAME`, which builds each from nothing.',
        '',
        '| name | Python | torch | OpenMMLab | passed | failed | skipped | minutes | GB |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for name, environment in ENVIRONMENTS.items():
        row = results.get(name, {})
        tests, minutes = row.get('tests'), row.get('minutes', {})
        shown = [str(tests.get(k, 0)) for k in ('passed', 'failed', 'skipped')] if tests else None
        hosts = ', '.join((environment.mmcv, *environment.hosts)).replace('==', ' ')
        cells = [
            *(name, environment.python, environment.torch[0].partition('==')[2], hosts),
            *(shown or ['not run', '', '']),
            f'{minutes.get("build", "–")}, {minutes.get("test", "–")}',
            str(row.get('gigabytes', '–')),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    for name, environment in ENVIRONMENTS.items():
        row = results.get(name, {})
        notes = [note for note in (environment.note, row.get('note')) if note]
        notes += [f'fails: {test}' for test in row.get('failed', [])]
        notes += [f'skipped ({count}): {why}' for why, count in row.get('skips', {}).items()]
        notes += [f'extra `{extra}`: {what}' for extra, what in row.get('extras', {}).items()]
        if notes:
            lines += ['', f'## {name}', '', *(f'- {note}' for note in notes)]
    return '\n'.join(lines) + '\n'


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


def wheel(folder: Path) -> Path:
    """Our wheel, built from what is committed."""
    source, target = folder / 'source', folder / 'wheel'
    for old in (source, target):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir()
    archive = subprocess.run(['git', 'archive', 'HEAD'], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(['tar', '-x', '-C', str(source)], input=archive.stdout, check=True)
    run(folder, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', str(target), str(source))
    (built,) = target.glob('*.whl')
    return built


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


if __name__ == '__main__':
    main()
