"""Build the environments that people have, from nothing, and run the test suite in each.

    python tools/dev/environments.py upstream        # into ~/.cache/mae_plugin/environments
    python tools/dev/environments.py forks --root /tmp/envs --pytest-args='-n 2'
    python tools/dev/environments.py newest --stages build    # or: extras, test, journey, broken

Stages:
    build     the environment, with our wheel
    extras    pip's dry run of each extra
    test      the test suite
    journey   a user's whole way from an empty folder, without the clone; commands are printed
              in the table and can be typed
    broken    upstream only: break copies of it, ask `mae-plugin doctor`, run what it says

Pythons are looked for on the PATH and in pyenv; name one with ``--python``. Operators of mmcv are
compiled once and kept (``tools/build_mmcv.py``). What came out is kept in
``tools/dev/environments.json``, from which ``tools/dev/environments.md`` and the short table in
``docs/installation.md`` are written.
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
from pathlib import Path

from matrix.broken import break_and_mend
from matrix.journey import take_journey
from matrix.page import summary, table
from matrix.rows import ENVIRONMENTS, LIBRARIES, Environment
from matrix.venv import (
    KEPT,
    ROOT,
    installed,
    pip,
    python_of,
    run,
    shell,
    size_of,
    without_operators,
)

RESULTS = ROOT / 'tools/dev/environments.json'
TABLE = ROOT / 'tools/dev/environments.md'
PAGE = ROOT / 'docs/installation.md'
STAGES = ('build', 'extras', 'test', 'journey', 'broken')


def main() -> None:
    """Build, check, test, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=[*ENVIRONMENTS, 'pages'], help='or `pages`: write them')
    default = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    parser.add_argument('--root', type=Path, default=default / 'mae_plugin/environments')
    parser.add_argument('--python', help='the Python to build with')
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=STAGES[:-1])
    parser.add_argument('--pytest-args', type=shlex.split, default=['-n', 'auto'])
    args = parser.parse_args()
    if args.name == 'pages':
        write_pages(json.loads(RESULTS.read_text(encoding='utf-8')))
        return
    environment, folder = ENVIRONMENTS[args.name], args.root.absolute() / args.name
    for stage in args.stages:
        start = time.monotonic()
        found = run_stage(stage, environment, folder, args)
        minutes = round((time.monotonic() - start) / 60, 1)
        # Read only now: another environment may have been entered meanwhile.
        results = json.loads(RESULTS.read_text(encoding='utf-8')) if RESULTS.exists() else {}
        row = results.setdefault(args.name, {})
        row.update(found)
        row.setdefault('minutes', {})[stage] = minutes
        row['versions'] = installed(folder)
        row['gigabytes'] = round(size_of(folder) / 1e9, 1)
        RESULTS.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        write_pages(results)
    print(TABLE.read_text(encoding='utf-8'))


def write_pages(results: dict) -> None:
    """The page of results, and the short table in the page on installing."""
    TABLE.write_text(table(results), encoding='utf-8')
    page = PAGE.read_text(encoding='utf-8')
    short = re.compile(r'\| name \| Python .*\n(\|.*\n)*')
    PAGE.write_text(short.sub(lambda _: summary(results), page, count=1), encoding='utf-8')


def run_stage(
    stage: str, environment: Environment, folder: Path, args: argparse.Namespace
) -> dict:
    """Run a stage; what it found."""
    if stage == 'build':
        build(environment, folder, args.python or find_python(environment.python))
        return {}
    if stage == 'extras':
        return dict(extras=check_extras(environment, folder))
    if stage == 'test':
        return run_tests(environment, folder, args.pytest_args)
    if stage == 'journey':
        return dict(journey=take_journey(folder, wheel(folder)))
    return dict(broken=break_and_mend(folder, wheel(folder)))


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
    if environment.operators:
        run(folder, str(ROOT / 'tools/build_mmcv.py'), environment.mmcv)
    else:
        shell(folder, without_operators(environment.mmcv), folder)
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


def run_tests(row: Environment, folder: Path, arguments: list[str]) -> dict:
    """Counts of the suite, and why tests were skipped."""
    report = folder / 'report.xml'
    # This tree is tested, whichever wheel of ours is installed.
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    command = [python_of(folder), '-m', 'pytest', '-q', f'--junitxml={report}', *arguments]
    command += [f'--ignore={path}' for path in files_that_import(row.without)]
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


def files_that_import(modules: tuple[str, ...]) -> list[Path]:
    """Files of tests that import one of these."""
    if not modules:
        return []
    imports = re.compile(rf'^(from|import) ({"|".join(map(re.escape, modules))})\b', re.M)
    tests = sorted((ROOT / 'tests').rglob('test_*.py'))
    return [path for path in tests if imports.search(path.read_text(encoding='utf-8'))]


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


if __name__ == '__main__':
    main()
