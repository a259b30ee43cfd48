"""A resumed run keeps the images of an iteration that it began with."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mae_plugin.engine.loop import ResumableEpochLoop, images_of_iteration
from mae_plugin.errors import UserError
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class BatchHook(Hook):
    """Stores the images of an iteration with the run, and refuses to go on with others.

    With others, the iterations that are left would mean other images, and the learning rate
    another step. ``ResumableEpochLoop`` does both itself, and looks at the epoch's length too.
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Compare, and store.

        Raises:
            UserError: They differ.
        """
        if isinstance(runner.train_loop, ResumableEpochLoop):
            return
        hub, now = runner.message_hub, images_of_iteration(runner.train_dataloader)
        saved = hub.get_info('global_batch')
        if runner.iter > 0 and saved not in (None, now):
            raise UserError(
                f'the run that is resumed began with {saved} images to an iteration, this one has '
                f'{now}: keep batch size x processes as they were, or start a new run from its '
                'weights with --pretrained CHECKPOINT'
            )
        hub.update_info('global_batch', now)
