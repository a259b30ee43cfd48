"""From a config to a runner: checks, then one preparation, then mmengine's."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mae_plugin.checkpoint.known_weights import is_name, names_like
from mae_plugin.checkpoint.safe_load import use_safe_loading
from mae_plugin.errors import MissingFileError, UserError
from mae_plugin.models.token_pool import check_neck

from .accumulation import check_accumulation, scale_for_accumulation
from .batch_choice import BatchRequest, choose_batch
from .batch_probe import count_neighbours
from .config_checks import check_host, check_images, check_schedule
from .hooks import StartingWeightsHook
from .image_shape import hand_on_image_shape
from .launch import prepare_launch
from .loaders import check_epoch, settle_loaders
from .machine import usable_cores
from .resume import agree_on_resume, keep_seed, read_batch, trusts_checkpoints
from .run_preparation import (
    add_needed_hooks,
    compile_loss,
    guard_steps,
    replace_weights,
    settle_precision,
)
from .terminal import Terminal


def build_runner(
    cfg: Config,
    resume: str | None = None,
    pretrained: str | None = None,
    load_from: str | None = None,
    batch: BatchRequest | None = None,
    terminal: Terminal | None = None,
) -> Runner:
    """Build the runner of a config, of ours or of a host's model.

    Checkpoints are read safely, whatever the config's hooks.

    Args:
        cfg: Config with ``work_dir`` and ``launcher`` set.
        resume: 'auto' goes on from the newest valid checkpoint in the work dir, if there is one;
            a path from that checkpoint; None starts afresh.
        pretrained: File or name of the weights to start from, in any format that
            :mod:`mae_plugin.checkpoint` knows. The trunk adapts them while loading.
        load_from: Checkpoint of the whole model, for evaluation.
        batch: What to do about the batch; None leaves it to the config.
        terminal: Decides what the terminal shows; None shows all that is logged.

    Raises:
        FileNotFoundError: There is no file ``pretrained`` or ``resume``.
        UserError: If ``resume`` or ``pretrained`` cannot be used, warm-up outlasts training, no
            batch fits, or the images do not fit the model.
    """
    if resume and pretrained:
        raise UserError('--resume goes on with a run, --pretrained starts one: give one of them')
    is_file = pretrained and '://' not in pretrained and not is_name(pretrained)
    if pretrained and is_file and not Path(pretrained).expanduser().exists():
        # Here, not after the data and the model are built.
        raise MissingFileError(
            f'--pretrained {pretrained}: no such file, check the path; {names_like(pretrained)}'
        )
    check_host(cfg.get('default_scope'))
    check_schedule(cfg)
    hand_on_image_shape(cfg)
    check_images(cfg, ('test_dataloader',) if load_from else ('train_dataloader',))
    if not load_from:
        check_accumulation(cfg)

    use_safe_loading()
    prepare_launch(cfg)
    batch = batch or BatchRequest()
    settle_loaders(cfg, usable_cores() // count_neighbours() if batch.limit_workers else None)
    notes = [] if load_from else [settle_precision(cfg)]
    compile_loss(cfg)
    cfg.load_from = load_from or pretrained or cfg.get('load_from')
    began = None
    if resume:
        checkpoint = agree_on_resume(resume, cfg)
        cfg.resume, cfg.load_from = checkpoint is not None, checkpoint or cfg.load_from
        if checkpoint:
            began = read_batch(checkpoint, trusts_checkpoints(cfg))
            notes.append(keep_seed(cfg, checkpoint, trusts_checkpoints(cfg)))
    notes.append(choose_batch(cfg, batch, began))
    if cfg.load_from:
        replace_weights(cfg, pretrained)
    if not load_from:
        scale_for_accumulation(cfg)
        add_needed_hooks(cfg)
        guard_steps(cfg)

    is_flexible = 'runner_type' in cfg
    runner = _build(cfg, terminal)
    if terminal:
        runner.register_hook(terminal)
    check_neck(runner.model)
    if cfg.load_from:
        # Strategies that shard load in their own way.
        fit = not (cfg.get('resume') or is_flexible)
        runner.register_hook(StartingWeightsHook(cfg.load_from, fit, whole=bool(load_from)))
    for note in filter(None, notes):
        runner.logger.info(note)
    if not load_from and cfg.get('train_dataloader'):
        check_epoch(runner.train_dataloader)
    return runner


def _build(cfg: Config, terminal: Terminal | None) -> Runner:
    kind = cfg.get('runner_type', Runner)
    base = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if terminal is None or base is None:  # mmengine names the ones that there are
        return RUNNERS.build(cfg)
    return terminal.runner_class(base).from_cfg(cfg)
