"""``mae-plugin doctor``: what is installed, what fits, and what mends the rest."""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from mae_plugin.cli.diagnosis import FAMILIES, OTHERS, Facts, Failure, diagnose

# Each is imported in a process of its own: one that fails may leave half of itself behind.
_TRIED = {
    'torch': 'import torch',
    'torchvision': 'import torchvision',
    'mmengine': 'import mmengine.runner',
    'mmcv': 'import mmcv',
    'mmcv._ext': 'import torch, mmcv._ext',
    'mmdet': 'import mmdet.models',
    'mmseg': 'import mmseg.models',
    'mmpretrain': 'import mmpretrain.models',
}
_TRY = """
import json, sys
try:
    {statement}
    told = dict(gpu='torch' in sys.modules and sys.modules['torch'].cuda.is_available())
except Exception as error:
    lines = str(error).strip().splitlines() or [repr(error)]
    told = dict(missing=getattr(error, 'name', None) if isinstance(error, ModuleNotFoundError)
                else None, text=lines[-1])
print('\\n' + json.dumps(told))
"""


def main(arguments: Sequence[str]) -> None:
    """Print the state of the running environment; exit status 1 if something is to be mended."""
    parser = argparse.ArgumentParser(
        description='What is installed, what fits, what is missing, and the command that mends it.'
    )
    parser.parse_args(arguments)
    facts = gather()
    print(f'{"Python":24} {platform.python_version()}')
    for name in (*OTHERS, *(name for names in FAMILIES.values() for name in names)):
        if name in facts.versions:
            print(f'{name:24} {facts.versions[name]}')
    if facts.has('mmcv'):
        has_operators = 'mmcv._ext' not in facts.failures
        print(f'{"mmcv operators":24} {"compiled" if has_operators else "none that load"}')
    problems = diagnose(facts)
    for problem in problems:
        print(f'\n{problem.what}\n    {problem.command}')
    if problems:
        sys.exit(1)
    print(f'\nAll fits. {_able(facts)}')


def gather() -> Facts:
    """Look at the environment of the running Python."""
    versions: dict[str, str] = {}
    for name in (*OTHERS, *(name for names in FAMILIES.values() for name in names)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    there = {module for module in FAMILIES if any(n in versions for n in FAMILIES[module])}
    there |= {'torch', 'torchvision'} & versions.keys()
    there |= {'mmcv._ext'} if 'mmcv' in there else set()
    trials = {
        module: subprocess.Popen(
            [sys.executable, '-c', _TRY.format(statement=_TRIED[module])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for module in _TRIED
        if module in there
    }
    told = {module: _read(trial) for module, trial in trials.items()}
    failures = {m: Failure(t['missing'], t['text']) for m, t in told.items() if 'text' in t}
    return Facts(versions, failures, gpu=bool(told.get('torch', {}).get('gpu')))


def _read(trial: subprocess.Popen) -> dict[str, Any]:
    printed = trial.communicate()[0].strip().splitlines()
    if trial.returncode != 0 or not printed:
        return dict(missing=None, text=f'Python ended with status {trial.returncode}')
    return json.loads(printed[-1])


def _able(facts: Facts) -> str:
    able = ['pretraining']
    able += ['classification'] if facts.has('mmpretrain') else []
    able += ['detection'] if facts.has('mmdet') else []
    able += ['segmentation'] if facts.has('mmseg') else []
    return f'Ready for {", ".join(able)}.'
