"""The weights that a run starts from, fitted to its model before mmengine loads them."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch.distributed.fsdp import FullyShardedDataParallel

from mae_plugin.checkpoint.coverage import require_names, require_whole
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
        fit: Whether the checkpoint may be another model's, or of another layout; one to be
            resumed is left as it is.
        whole: Whether all of the model must be in it, as where it is evaluated.
    """

    priority = 'HIGHEST'

    def __init__(self, source: str = 'load_from', fit: bool = True, whole: bool = False) -> None:
        self.source = source
        self.fit = fit
        self.whole = whole

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Translate the state dict in place.

        Raises:
            UserError: If the file's encoder does not cover the model's; if a part is missing of
                what must be whole.
        """
        model = runner.model
        if isinstance(model, FullyShardedDataParallel) and not (self.fit or self.whole):
            return  # resumed; looking at its tensors would gather them, on every process at once
        if is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        spec = model_spec(model)
        if self.fit and spec.trunks:
            fitted, report, _ = adapt(checkpoint, spec, self.source)
            checkpoint['state_dict'] = {**spec.tensors, **fitted}
            log_report(report, spec)
            if self.whole:
                require_whole(report, spec.tensors, self.source)
            return
        check_facts(checkpoint, spec, self.source)
        if self.whole:
            require_names(spec.tensors, checkpoint.get('state_dict', checkpoint), self.source)
