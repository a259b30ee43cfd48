"""What a run's start leaves out, and that nobody misses it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.visualization import Visualizer

from mae_plugin.cli.light_start import describe_environment, hidden
from mae_plugin.engine.visualizer import LazyVisualizer

ROOT = Path(__file__).parents[2]
# A life of an optimizer, with its state saved and loaded, then of a compiled model.
OPTIMIZE = """
import copy, sys, torch
from mae_plugin.cli.light_start import spare_the_compiler
if sys.argv[2] == 'spared':
    spare_the_compiler()
weight = torch.nn.Parameter(torch.linspace(-1, 1, 6))
make = getattr(torch.optim, sys.argv[1])
optimizer = make([weight], lr=0.1, weight_decay=0.01)
for step in range(4):
    optimizer.zero_grad()
    (weight ** 3).sum().backward()
    optimizer.step()
    if step == 1:
        state = copy.deepcopy(optimizer.state_dict())
        optimizer = make([weight], lr=0.3)
        optimizer.load_state_dict(state)
assert weight.is_leaf and optimizer.step.__name__ == 'step'
print('torch._dynamo' in sys.modules, weight.tolist())
compiled = torch.compile(torch.nn.Linear(2, 2), backend='eager', fullgraph=True)
assert compiled(torch.ones(1, 2)).requires_grad
"""


def test_hidden_packages_cannot_be_imported_inside_and_can_afterwards():
    sys.modules.pop('this', None)
    with hidden('this', 'numpy'):
        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
        import numpy as again  # imported before: stays
    assert again is np
    assert 'this' not in sys.modules


def test_environment_names_torchvision_without_importing_it():
    code = (
        'import sys\n'
        'from mae_plugin.cli.light_start import describe_environment\n'
        'facts = describe_environment()\n'
        'print(facts["TorchVision"], "torchvision" in sys.modules)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    version, imported = done.stdout.split()
    assert version[0].isdigit() and imported == 'False'
    assert {'PyTorch', 'OpenCV'} <= set(describe_environment())


@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD'])
def test_optimizers_step_alike_without_torchs_compiler(optimizer):
    imported, weights = {}, {}
    for how in ('spared', 'plain'):
        done = subprocess.run(
            [sys.executable, '-c', OPTIMIZE, optimizer, how],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        imported[how], weights[how] = done.stdout.strip().split(' ', 1)
    assert imported == dict(spared='False', plain='True')
    assert weights['spared'] == weights['plain']


def test_visualizer_draws_as_mmengines_and_makes_its_figure_when_drawn_on(tmp_path):
    lazy = LazyVisualizer(
        name='lazy', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path)
    )
    lazy.add_image('picture', np.zeros((8, 8, 3), np.uint8))
    lazy.add_scalar('loss', 1.0)
    assert 'fig_save' not in vars(lazy)
    assert list(tmp_path.rglob('picture_0.png'))

    drawn = []
    for kind in (LazyVisualizer, Visualizer):
        visualizer = kind(name=kind.__name__, image=np.full((40, 60, 3), 90, np.uint8))
        visualizer.draw_bboxes(np.array([[3, 4, 30, 20]]))
        visualizer.draw_texts('a', np.array([5, 5]))
        drawn.append(visualizer.get_image())
    assert np.array_equal(*drawn) and drawn[0].std() > 1
    with pytest.raises(AttributeError, match='no attribute'):
        lazy.nothing  # noqa: B018
