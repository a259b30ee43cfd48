"""Pictures of what the model reconstructs, while it trains."""

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mae_plugin.engine.whole_model import inspects_model, whole_model
from mae_plugin.registry import DATASETS, HOOKS
from mae_plugin.visualization.reconstruction import enlarge, reconstruction_panels


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draws original | masked | reconstruction | with visible patches for fixed images.

    The images, their crops and their masks are the same in every picture, so that pictures can
    be compared. They go to the runner's visualizer: files by default, TensorBoard or W&B when
    configured. A picture that cannot be drawn is a warning, and comes after the checkpoint: it
    costs a run nothing.

    Args:
        interval: Epochs between pictures; one is always drawn after the last epoch.
        num_images: Rows of the picture, evenly spaced in the dataset.
        dataset: Config of the dataset to draw from, best one of held-out images; the training
            set when None.
        bands: Channels shown for images of other than three channels.
    """

    # After the CheckpointHook.
    priority = 'LOWEST'

    def __init__(
        self,
        interval: int = 20,
        num_images: int = 6,
        dataset: dict | None = None,
        bands: list[int] | None = None,
    ) -> None:
        self.interval = interval
        self.num_images = num_images
        self.dataset = dataset
        self.bands = bands

    def before_train(self, runner: Runner) -> None:
        """Load the images once."""
        if not inspects_model(runner.model):
            return
        dataset = runner.train_dataloader.dataset
        if self.dataset is not None:
            dataset = DATASETS.build(self.dataset)
        total = len(dataset)
        rows = min(self.num_images, total)
        samples = [dataset[(0, index * total // rows)] for index in range(rows)]
        images = [sample['inputs'] for sample in samples]
        # With several crops of each image, one is enough.
        self._images: torch.Tensor = torch.stack(
            [image if image.ndim == 3 else image[0] for image in images]
        )
        # Any fixed numbers do: the masking hashes them.
        self._keys = list(range(1, rows + 1))

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw at every ``interval`` epochs and at the last."""
        due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if not due or not inspects_model(runner.model):
            return
        try:
            self._draw(runner)
        except Exception as error:
            runner.logger.warning(f'no picture after epoch {runner.epoch + 1}: {error!r}')

    def _draw(self, runner: Runner) -> None:
        with whole_model(runner.model) as model:
            picture = reconstruction_panels(model, self._images, self._keys, self.bands)
        if not is_main_process():
            return
        runner.visualizer.add_image('reconstruction', enlarge(picture), step=runner.iter)
        runner.logger.info(
            f'Reconstruction of {len(self._keys)} images drawn at epoch {runner.epoch + 1}: '
            f'"reconstruction" under {runner.work_dir}/{runner.timestamp}/vis_data'
        )
