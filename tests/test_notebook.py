"""The notebook of the whole way does what it says, from an empty folder."""

import os
from pathlib import Path

import nbformat
import pytest
from mmengine.config import Config
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / 'notebooks/whole_way.ipynb'


def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


def test_no_results_are_committed():
    code = [cell for cell in cells() if cell.cell_type == 'code']
    assert len(code) > 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_the_whole_way(tmp_path, monkeypatch):
    # As in a clone that is not installed; and nothing is written to the home folder.
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    (tmp_path / 'run').mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name='python3',
        resources=dict(metadata=dict(path=str(tmp_path / 'run'))),
    )  # fmt: skip
    client.execute()

    told = [str(cell.get('outputs')) for cell in notebook.cells]
    assert any('image/png' in text for text in told)
    (losses,) = [cell.outputs[0] for cell in notebook.cells if 'by iteration' in cell.source]
    by_iteration = list(eval(losses['data']['text/plain']).values())
    assert len(by_iteration) > 1 and by_iteration[-1] < 0.8 * by_iteration[0]
    with Image.open(tmp_path / 'run/reconstruction.png') as picture:
        assert picture.width > picture.height
    for name, classes in (
        ('mask-rcnn', ['person', 'rocket', 'motorcycle']),
        ('upernet', ['background', 'person', 'rocket', 'motorcycle']),
    ):
        cfg = Config.fromfile(tmp_path / f'run/transfer/{name}_mae_demo.py')
        assert cfg.classes == classes
        assert cfg.model.backbone.init_cfg.checkpoint.endswith('work_dirs/mae_demo/epoch_3.pth')
