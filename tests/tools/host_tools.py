"""The hosts' own tools, as their packages ship them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_host_tool(host, name, tmp_path, *args):
    """Run ``tools/NAME.py ARGS`` of mmdet or mmseg in a process of its own; what it printed.

    Where torchvision does not match torch, mmengine itself stops every host before it meets us;
    hosts need no torchvision, so here there is none.
    """
    hide = tmp_path / 'hide'
    (hide / 'torchvision').mkdir(parents=True, exist_ok=True)
    (hide / 'torchvision/__init__.py').write_text(
        "raise ModuleNotFoundError('no torchvision', name='torchvision')\n", encoding='utf-8'
    )
    site = Path(__import__('mmengine').__file__).parents[1]
    run = subprocess.run(
        [sys.executable, str(site / host / f'.mim/tools/{name}.py'), *map(str, args)],
        env=os.environ | dict(PYTHONPATH=f'{hide}:{ROOT}', OMP_NUM_THREADS='1'),
        cwd=tmp_path, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    return run.stdout + run.stderr
