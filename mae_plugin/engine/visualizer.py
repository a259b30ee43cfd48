"""mmengine's visualizer, which imports matplotlib only when something is drawn."""

from typing import Any

import numpy as np
from mmengine.visualization import Visualizer

from mae_plugin.registry import VISUALIZERS

_DRAWING = ('fig_save_canvas', 'fig_save', 'ax_save', 'dpi')


class _NoFigure:
    """Stands for the figure while mmengine's constructor asks for its resolution."""

    @staticmethod
    def get_dpi() -> None:
        """Unknown until there is a figure."""


@VISUALIZERS.register_module()
class LazyVisualizer(Visualizer):
    """A visualizer whose figure is made when it is first drawn on.

    Writing scalars and pictures needs no figure, and importing matplotlib for one takes a sixth
    of a run's start. Arguments and methods are those of mmengine's ``Visualizer``.
    """

    def __init__(
        self, name: str = 'visualizer', image: np.ndarray | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, **kwargs)
        for attribute in _DRAWING:
            del self.__dict__[attribute]
        if image is not None:
            self.set_image(image)

    def _initialize_fig(self, fig_cfg: dict) -> tuple:
        return None, _NoFigure, None

    def __getattr__(self, name: str) -> Any:
        """Make the figure when one of its parts is missing."""
        if name not in _DRAWING:
            raise AttributeError(f'{type(self).__name__} has no attribute {name!r}')
        canvas, figure, axes = super()._initialize_fig(self.fig_save_cfg)
        self.fig_save_canvas, self.fig_save, self.ax_save = canvas, figure, axes
        self.dpi = figure.get_dpi()
        return self.__dict__[name]
