"""Which batch a run takes: the config's, the user's, what fits, or what it began with."""

from dataclasses import dataclass
from typing import Any, Literal

from mmengine.config import Config
from mmengine.dist import get_world_size

from mae_plugin.engine.accumulation import accumulate
from mae_plugin.engine.batch_probe import find_batch
from mae_plugin.engine.resume import StoredBatch
from mae_plugin.errors import UserError


@dataclass(frozen=True)
class BatchRequest:
    """What the command line asks of the batch.

    Attributes:
        size: Images to an iteration of each process; 'auto' for as many of the config's as fit;
            None for the config's.
        accumulate: Iterations to a step of the optimizer; 'recipe' for as many as make the images
            a step that the learning rate is written for; None for the config's.
        scale_lr: Whether the learning rate follows; False leaves it to the config.
        limit_workers: Whether loaders get no more workers than there are cores.
    """

    size: int | Literal['auto'] | None = None
    accumulate: int | Literal['recipe'] | None = None
    scale_lr: bool = True
    limit_workers: bool = False


def choose_batch(cfg: Config, request: BatchRequest, began: StoredBatch | None = None) -> str:
    """Set the batch of a run, and let the learning rate follow it.

    It follows where the config has an ``auto_scale_lr.base_batch_size``, whether or not that is
    enabled: a batch that was chosen here is not the one that the learning rate was written for.

    Args:
        cfg: The run's config, changed in place; the process group must have been started.
        request: What the user wants.
        began: The batch of the run that is resumed.

    Returns:
        What was chosen, why, and how to choose otherwise, in one line; '' if nothing was asked.

    Raises:
        UserError: No batch fits, or the request cannot be met.
    """
    if request.size is None and request.accumulate is None:
        return ''
    loader = cfg.train_dataloader
    asked = loader.batch_size
    if began is not None and request.size == 'auto':
        loader.batch_size, why = _as_it_began(began, asked), 'as the run began'
    elif request.size == 'auto':
        loader.batch_size, why = find_batch(cfg)
        _lower_evaluation(cfg, asked)
        why = f'{why}; another with --batch-size N'
    else:
        loader.batch_size = request.size or asked
        why = 'as you say'
    recipe = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    _accumulate(cfg, request, began, recipe)
    if recipe and request.scale_lr:
        follows = None if began is None else began.scaled
        cfg.auto_scale_lr.enable = True if follows is None else follows
    return _describe(cfg, asked, why, recipe)


def _as_it_began(began: StoredBatch, asked: int) -> int:
    """The batch of each process that makes the iterations of the run that is resumed.

    Raises:
        UserError: The images of an iteration cannot be shared among the processes.
    """
    processes = get_world_size()
    if began.images is None:
        return asked
    if began.images % processes:
        raise UserError(
            f'--resume: the run began with {began.images} images to an iteration, which '
            f'{processes} processes cannot share: take a number of processes that divides them'
        )
    return began.images // processes


def _lower_evaluation(cfg: Config, asked: int) -> None:
    """Do not validate in larger batches than those that fit, where fewer fit than asked for."""
    size = cfg.train_dataloader.batch_size
    for name in ('val_dataloader', 'test_dataloader'):
        loader: Any = cfg.get(name)
        if size < asked and loader and loader.get('batch_size', 1) > size:
            loader.batch_size = size


def _accumulate(
    cfg: Config, request: BatchRequest, began: StoredBatch | None, recipe: float | None
) -> None:
    counts = request.accumulate
    if counts == 'recipe':
        if not recipe:
            raise UserError(
                '--accumulate recipe: the config does not say for how many images a step its '
                'learning rate is (auto_scale_lr.base_batch_size): give a number'
            )
        counts = max(1, round(recipe / (cfg.train_dataloader.batch_size * get_world_size())))
    if began is not None and began.counts is not None:
        if counts not in (None, began.counts):
            raise UserError(
                f'--accumulate {counts}, but the run that is resumed began with {began.counts} '
                'iterations to a step: leave --accumulate out, or start a new run from its '
                'weights with --pretrained CHECKPOINT'
            )
        counts = began.counts
    if counts is not None:
        accumulate(cfg, counts)


def _describe(cfg: Config, asked: int, why: str, recipe: float | None) -> str:
    size, processes = cfg.train_dataloader.batch_size, get_world_size()
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    images = size * processes * counts
    config = '' if size == asked else f' (config: {asked})'
    parts = [f'Batch {size}{config}: {why}.']
    if recipe and cfg.auto_scale_lr.enable:
        factors = ' x '.join(str(n) for n in (size, processes, counts) if n > 1) or '1'
        step = f'{factors} = {images}' if ' x ' in factors else factors
        parts.append(f'Learning rate x {images / recipe:.3g}: {step} of {recipe:g} images a step')
        wanted = round(recipe / (size * processes))
        parts[-1] += f'; the rest with --accumulate {wanted}.' if wanted > counts else '.'
    length = (cfg.get('train_cfg') or {}).get('max_iters')
    if length and counts > 1:
        parts.append(f'{length} iterations, {counts} to a step.')
    elif length and size != asked:
        share = images / recipe if recipe else size / asked
        parts.append(f"Still {length} iterations, with {share:.3g} of the recipe's images.")
    return ' '.join(parts)
