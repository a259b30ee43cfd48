"""The weights that a run starts from, fitted to its model before mmengine loads them."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mae_plugin.checkpoint.load import adapt, check_facts, log_report
from mae_plugin.checkpoint.spec import model_spec
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class StartingWeightsHook(Hook):
    """Looks at a whole checkpoint, where a model sees its state dict alone.

    The config beside the weights tells the attention heads, which no tensor does. And with a
    model's own values for whatever the file lacks, there is one report of ours, and no list of
    mmengine's of the keys of a decoder that fine-tuning does not want.

    ``build_runner`` registers it. In a host's own tools,
    ``custom_hooks = [dict(type='mae_plugin.StartingWeightsHook')]`` lets ``load_from`` take any
    file that :mod:`mae_plugin.checkpoint` knows.

    Args:
        source: The file, for messages.
        fit: Whether the checkpoint is a start for another model; one of the very model, to be
            tested or resumed, is left as it is.
    """

    priority = 'HIGHEST'

    def __init__(self, source: str = 'load_from', fit: bool = True) -> None:
        self.source = source
        self.fit = fit

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Translate the state dict in place.

        Raises:
            ValueError: If the file's encoder does not cover the model's.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        spec = model_spec(model)
        if not spec.trunks:
            return
        if not self.fit:
            check_facts(checkpoint, spec, self.source)
            return
        fitted, report, _ = adapt(checkpoint, spec, self.source)
        checkpoint['state_dict'] = {**spec.tensors, **fitted}
        log_report(report, spec)
