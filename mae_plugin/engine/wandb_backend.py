"""mmengine's W&B backend, with iterations below the curves and without a copy of all code."""

import numpy as np
from mmengine.config import Config
from mmengine.visualization import WandbVisBackend as _WandbVisBackend

from mae_plugin.registry import VISBACKENDS


@VISBACKENDS.register_module()
class WandbVisBackend(_WandbVisBackend):
    """Scalars, config and pictures of a run for W&B.

    Arguments and methods are those of mmengine's backend of the same name. There each call is a
    step of W&B's own; here curves and pictures stand over iterations. There every
    ``.py`` below the current folder is uploaded, an environment in it included; here none.
    """

    def _init_env(self) -> None:
        super()._init_env()
        self._wandb.define_metric('*', step_metric='iter')

    def add_config(self, config: Config, **kwargs) -> None:
        """Keep the run's config."""
        self.experiment.config.update(config.to_dict(), allow_val_change=True)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Keep a picture (H, W, 3), RGB, of an iteration."""
        self.experiment.log({name: self.experiment.Image(image), 'iter': step})
