"""What a run's start leaves out, and that nobody misses it."""

import sys

import numpy as np
import pytest
from mmengine.visualization import Visualizer

from mae_plugin.cli.block_imports import block_imports
from mae_plugin.engine.visualizer import LazyVisualizer


def test_blocked_packages_cannot_be_imported_inside_and_can_afterwards():
    sys.modules.pop('this', None)
    with block_imports('this', 'numpy'):
        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
        import numpy as again  # imported before: stays
    assert again is np
    assert 'this' not in sys.modules


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
