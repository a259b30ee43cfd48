"""mmengine's MLflow backend, with pictures that keep their step and have an ending."""

import numpy as np
from mmengine.visualization import MLflowVisBackend as _MLflowVisBackend

from mae_plugin.registry import VISBACKENDS


@VISBACKENDS.register_module()
class MLflowVisBackend(_MLflowVisBackend):
    """Scalars, config and pictures of a run for MLflow.

    Arguments and methods are those of mmengine's backend of the same name. There a picture's name
    is its file's: without an ending MLflow refuses it, and each step writes over the one before.
    """

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Keep a picture (H, W, 3), RGB, as ``NAME_STEP.png``."""
        super().add_image(f'{name}_{step}.png', image, step, **kwargs)
