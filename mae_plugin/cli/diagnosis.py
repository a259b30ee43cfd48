"""What is wrong with an installation, and the command that mends it: rules over plain facts."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

FORKS, UPSTREAM = 'the maintained forks (onedl-*)', 'upstream'
# Distributions of one import name: the forks', then upstream's.
FAMILIES = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}
OTHERS = ('torch', 'torchvision', 'numpy', 'setuptools', 'transformers', 'timm')
# The oldest torch, and the newest that upstream's ready mmcv wheels (2.1.0) were made for.
_OLDEST_TORCH, _UPSTREAM_TORCH = (2, 1), (2, 1)
_OPERATORS = 'mmcv._ext'


class Failure(NamedTuple):
    """Why an import failed.

    Attributes:
        missing: The module that is not there, if that is why.
        text: The error's last line.
    """

    missing: str | None
    text: str


@dataclass
class Facts:
    """What is installed.

    Attributes:
        versions: Of each distribution of ``FAMILIES`` and ``OTHERS`` that is there.
        failures: Modules that are there and cannot be imported; ``mmcv._ext`` also if absent.
        gpu: Whether torch sees a CUDA device.
    """

    versions: Mapping[str, str]
    failures: Mapping[str, Failure] = field(default_factory=dict)
    gpu: bool = False

    def has(self, module: str) -> bool:
        """Whether a distribution of an import name is there."""
        return any(name in self.versions for name in FAMILIES[module])

    def version(self, distribution: str) -> tuple[int, ...]:
        """Its numbers, () if it is not there."""
        return tuple(int(n) for n in re.findall(r'\d+', self.versions.get(distribution, ''))[:3])

    @property
    def family(self) -> str:
        """Which OpenMMLab is there, or would fit."""
        forks = [names[0] in self.versions for names in FAMILIES.values()]
        upstream = [any(n in self.versions for n in names[1:]) for names in FAMILIES.values()]
        if sum(forks) != sum(upstream):
            return FORKS if sum(forks) > sum(upstream) else UPSTREAM
        return UPSTREAM if () < self.version('torch')[:2] <= _UPSTREAM_TORCH else FORKS

    @property
    def mmcv(self) -> str:
        """The mmcv that fits, as a requirement."""
        return 'mmcv==2.1.0' if self.family == UPSTREAM else 'onedl-mmcv==2.3.6'


class Problem(NamedTuple):
    """Something that does not fit.

    Attributes:
        what: In one sentence.
        command: What mends it.
    """

    what: str
    command: str


def diagnose(facts: Facts) -> list[Problem]:
    """All that is wrong, what has to be mended first before what follows from it."""
    for rule in (_torch, _mixed):
        if problems := list(rule(facts)):
            return problems  # mending these changes the rest
    rules = (_numpy, _torchvision, _engine, _mmcv, _hosts)
    return [problem for rule in rules for problem in rule(facts)]


def _torch(facts: Facts) -> Iterator[Problem]:
    if 'torch' not in facts.versions:
        yield Problem('torch is missing', "pip install 'torch>=2.1'")
    elif facts.version('torch') < _OLDEST_TORCH:
        yield Problem(
            f'torch {facts.versions["torch"]} is too old: 2.1 is the oldest that works',
            _newer_torch(facts),
        )
    elif failure := facts.failures.get('torch'):
        yield Problem(
            f'torch cannot be imported: {failure.text}',
            f'pip install --force-reinstall torch=={facts.versions["torch"].partition("+")[0]}',
        )


def _newer_torch(facts: Facts) -> str:
    """torch for what is there: upstream's mmcv and mmdet stop at 2.1."""
    if facts.family == UPSTREAM and any(facts.has(module) for module in FAMILIES):
        return "pip install 'torch==2.1.*' 'torchvision==0.16.*' 'numpy<2'"
    return "pip install 'torch>=2.1'"


def _mixed(facts: Facts) -> Iterator[Problem]:
    """Two distributions of one import name, whose files overwrote each other; or of two worlds."""
    there = {m: [n for n in names if n in facts.versions] for m, names in FAMILIES.items()}
    doubled = {module: found for module, found in there.items() if len(found) > 1}
    for module, found in doubled.items():
        yield Problem(
            f'{" and ".join(found)} are installed over each other: both are `{module}`',
            f'pip uninstall -y {" ".join(found)} && {_install(facts, module)}',
        )
    wrong = {
        module: name
        for module, found in there.items()
        for name in found
        if (name in FAMILIES[module][1:]) == (facts.family == FORKS)
    }
    if wrong and not doubled:
        yield Problem(
            f'{", ".join(wrong.values())} beside {facts.family}',
            f'pip uninstall -y {" ".join(wrong.values())} && '
            + ' && '.join(_install(facts, module) for module in wrong),
        )


def _chosen(facts: Facts, module: str) -> str:
    return FAMILIES[module][0 if facts.family == FORKS else 1]


def _install(facts: Facts, module: str) -> str:
    chosen = _chosen(facts, module)
    return _operators(facts) if module == 'mmcv' else f'pip install --no-deps {chosen}'


def _operators(facts: Facts) -> str:
    """The command that gives mmcv with compiled operators."""
    name = facts.mmcv.partition('==')[0]
    tools = "'setuptools<70'" if facts.family == UPSTREAM else "'setuptools>=77'"
    build = f'pip install ninja psutil wheel {tools} && '
    if facts.gpu:
        return build + (
            'pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall '
            f'--no-binary {name} {facts.mmcv}'
        )
    return build + f'mae-plugin build-mmcv {facts.mmcv}'


def _numpy(facts: Facts) -> Iterator[Problem]:
    if facts.version('numpy') >= (2,) and facts.version('torch') < (2, 3):
        yield Problem(
            f'torch {facts.versions["torch"]} was built for numpy 1, and this is numpy '
            f'{facts.versions["numpy"]}',
            "pip install 'numpy<2' 'opencv-python<4.12'",
        )


def _torchvision(facts: Facts) -> Iterator[Problem]:
    if 'torchvision' not in facts.versions:
        return
    major, minor = facts.version('torch')[:2]
    fitting = f'0.{minor + 15}' if major == 2 else ''
    found = facts.versions['torchvision']
    if fitting and not found.startswith(f'{fitting}.'):
        yield Problem(
            f'torchvision {found} is not of torch {facts.versions["torch"]}',
            f"pip install --no-deps 'torchvision=={fitting}.*'",
        )
    elif 'torchvision' in facts.failures:
        yield Problem(
            f'torchvision {found} is of another build than torch {facts.versions["torch"]} (one '
            'for CUDA, one for the CPU): our commands run, mmengine itself stops',
            "pip uninstall -y torchvision   # or take it from your torch's index: pip install "
            f"--no-deps --force-reinstall 'torchvision=={fitting}.*' --index-url INDEX",
        )


def _engine(facts: Facts) -> Iterator[Problem]:
    if not facts.has('mmengine'):
        yield Problem('mmengine is missing', f'pip install {_chosen(facts, "mmengine")}')
    if not facts.has('mmcv'):
        yield Problem(
            'mmcv is missing',
            # The forks' is enough for pretraining as pip builds it; upstream's pip cannot build.
            f'pip install --no-deps --no-cache-dir {facts.mmcv}'
            if facts.family == FORKS
            else _operators(facts),
        )
    needs_pkg_resources = facts.has('mmengine') and facts.family == UPSTREAM
    if needs_pkg_resources and facts.version('setuptools') >= (81,):
        yield Problem(
            f'upstream mmengine needs pkg_resources, which setuptools '
            f'{facts.versions["setuptools"]} has not',
            "pip install 'setuptools<70'",
        )


def _mmcv(facts: Facts) -> Iterator[Problem]:
    """Operators, and the versions that the hosts refuse."""
    hosts = [name for name in ('mmdet', 'mmsegmentation') if name in facts.versions]
    if hosts and facts.version('mmcv') >= (2, 2):
        old = facts.version('torch')[:2] <= _UPSTREAM_TORCH
        yield Problem(
            f'{" and ".join(hosts)} of upstream refuse mmcv {facts.versions["mmcv"]} (from 2.2.0)',
            _operators(facts) if old else _change_to_forks(facts),
        )
        return
    needing = [name for name in (*hosts, 'onedl-mmdetection') if name in facts.versions]
    failure = facts.failures.get(_OPERATORS)
    if not needing or failure is None:
        return
    if 'mmcv-lite' in facts.versions:
        why, first = 'mmcv-lite has none', 'pip uninstall -y mmcv-lite && '
    elif failure.missing == _OPERATORS:
        why, first = 'mmcv was installed without', ''
    else:
        why, first = f'those here do not load, of another torch: {failure.text}', ''
    what = f"{' and '.join(needing)} need mmcv's compiled operators, and {why}"
    yield Problem(what, first + _operators(facts))


def _change_to_forks(facts: Facts) -> str:
    wrong = [name for names in FAMILIES.values() for name in names[1:] if name in facts.versions]
    modules = [module for module in FAMILIES if facts.has(module) and module != 'mmcv']
    forks = Facts({'torch': facts.versions['torch'], 'onedl-mmcv': '2.3.6'}, gpu=facts.gpu)
    return (
        f'pip uninstall -y {" ".join(wrong)} && pip install --no-deps --no-build-isolation '
        f'{" ".join(FAMILIES[module][0] for module in modules)} && {_operators(forks)}'
    )


def _hosts(facts: Facts) -> Iterator[Problem]:
    """Imports that fail for other reasons than those above."""
    if 'torchvision' in facts.failures:
        return  # they import it
    for module in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
        failure = facts.failures.get(module)
        if failure is None or (failure.missing or '').partition('.')[0] in FAMILIES:
            continue  # told above
        if failure.missing:
            package = failure.missing.partition('.')[0]
            yield Problem(f'{module} needs {package}, which is missing', f'pip install {package}')
        elif module == 'mmpretrain' and 'transformers' in facts.versions:
            fitting = '>=4.53,<5' if facts.family == FORKS else '>=4.40,<4.41'
            yield Problem(
                f'mmpretrain cannot be imported beside transformers '
                f'{facts.versions["transformers"]}: {failure.text}',
                f"pip install 'transformers{fitting}'",
            )
        elif module not in ('mmdet', 'mmseg') or _OPERATORS not in facts.failures:
            yield Problem(f'{module} cannot be imported: {failure.text}', 'pip check')
