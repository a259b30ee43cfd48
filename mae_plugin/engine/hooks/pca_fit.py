"""Fits the PCA target on the run's own images."""

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mae_plugin.errors import UserError
from mae_plugin.models.patch_embed import patchify
from mae_plugin.models.targets import PCATarget
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class PCAFitHook(Hook):
    """Fits ``PCATarget`` before the first iteration, unless a checkpoint brought its components.

    The main process reads the images; the others get its result.

    Args:
        num_images: Images to fit on, evenly spaced in the training set. A patch of p·p·C values
            wants at least that many patches; 1024 images of 196 patches are plenty for 768.
        batch_size: Images at a time.
    """

    def __init__(self, num_images: int = 1024, batch_size: int = 64) -> None:
        self.num_images = num_images
        self.batch_size = batch_size

    def before_train(self, runner: Runner) -> None:
        """Fit and share.

        Raises:
            UserError: If the model's target is no ``PCATarget``.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        target = model.head.target
        if not isinstance(target, PCATarget):
            raise UserError(
                f'PCAFitHook is for head.target.type=PCATarget, not {type(target).__name__}: '
                'remove the hook'
            )
        if target.fitted:
            runner.logger.info('PCA target: components come from the checkpoint')
            return
        if is_main_process():
            target.fit(*self._moments(runner, model))
            runner.logger.info(
                f'PCA target: {target.dims} components fitted on {self.num_images} images'
            )
        target.share(broadcast)

    @torch.no_grad()
    def _moments(
        self, runner: Runner, model: torch.nn.Module
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (P,) and covariance (P, P) of the patches of the normalised images."""
        dataset = runner.train_dataloader.dataset
        total = min(self.num_images, len(dataset))
        indices = [index * len(dataset) // total for index in range(total)]
        target = model.head.target
        values = len(target.mean)
        count = 0
        first = target.mean.new_zeros(values, dtype=torch.float64)
        second = target.mean.new_zeros(values, values, dtype=torch.float64)
        for start in range(0, total, self.batch_size):
            batch = [dataset[(0, i)]['inputs'] for i in indices[start : start + self.batch_size]]
            images = torch.stack(batch).flatten(0, -4)
            images = model.data_preprocessor(dict(inputs=images))['inputs']
            patches = patchify(images, target.patch_size).flatten(0, 1).double()
            count += patches.shape[0]
            first += patches.sum(0)
            second += patches.T @ patches
        mean = first / count
        return mean, second / count - mean[:, None] * mean
