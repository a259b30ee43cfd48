"""A mismatched torchvision stays importable; each case runs in its own interpreter."""

import _ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What torchvision does at import: load the operators, say nothing when that fails, then attach
# fake kernels to operators that only the library could have defined.
TORCHVISION_INIT = """
import os, torch
HAS_OPS = True
try:
    torch.ops.load_library(os.path.join(os.path.dirname(__file__), '_C.so'))
except OSError:
    HAS_OPS = False

try:
    register_fake = torch.library.register_fake
except AttributeError:  # torch 2.1, with its torchvision
    from torch._custom_ops import impl_abstract as register_fake

@register_fake('torchvision::nms')
def fake_nms(dets, scores, iou_threshold):
    return dets

@register_fake('torchvision::qnms')
def fake_qnms(dets, scores, iou_threshold):
    return dets
"""


def run(code: str, *folders: Path) -> subprocess.CompletedProcess:
    """Run ``code`` in a fresh interpreter that finds ``folders`` before anything else."""
    paths = [str(folder) for folder in folders] + [str(Path(__file__).parents[2])]
    header = f'import sys; sys.path[:0] = {paths!r}\n'
    return subprocess.run(
        [sys.executable, '-c', header + code], capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def mismatched(tmp_path: Path) -> Path:
    """A torchvision whose operator library does not load beside this torch."""
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(TORCHVISION_INIT)
    (package / '_C.so').write_bytes(b'built for another torch')
    return tmp_path


@pytest.mark.slow
def test_a_mismatched_torchvision_breaks_without_help(mismatched: Path) -> None:
    done = run('import torchvision', mismatched)
    assert done.returncode != 0
    # torch 2.1 says 'no such operator'.
    assert 'torchvision::nms' in done.stderr


@pytest.mark.slow
def test_a_mismatched_torchvision_is_mended_once(mismatched: Path) -> None:
    done = run(
        'from mae_plugin.cli.torchvision_compat import keep_torchvision_importable as keep\n'
        'assert keep() and keep()\n'
        'import torchvision\n'
        'assert not torchvision.HAS_OPS',
        mismatched,
    )
    assert done.returncode == 0, done.stderr


def test_without_torchvision_not_even_torch_is_imported() -> None:
    done = run(
        'import importlib.util, sys\n'
        'real = importlib.util.find_spec\n'
        'importlib.util.find_spec = lambda n, *a: None if n == "torchvision" else real(n, *a)\n'
        'from mae_plugin.cli.torchvision_compat import keep_torchvision_importable as keep\n'
        'assert keep() is False\n'
        'assert "torch" not in sys.modules'
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_matching_torchvision_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').touch()
    shutil.copy(_ctypes.__file__, package / '_C.so')  # any library that loads
    done = run(
        'from mae_plugin.cli.torchvision_compat import keep_torchvision_importable as keep\n'
        'assert keep() is False\n'
        'import torch\n'
        'assert not hasattr(torch.ops.torchvision, "nms")',
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_mmengine_reports_this_environment() -> None:
    """With whatever torchvision is installed here (``make test`` installs a mismatched one)."""
    done = run(
        'from mae_plugin.cli.torchvision_compat import keep_torchvision_importable as keep\n'
        'keep()\n'
        'from mmengine.utils.dl_utils import collect_env\n'
        'print(collect_env()["PyTorch"])'
    )
    assert done.returncode == 0, done.stderr
