"""The largest batch of a run's model that its devices take, found by trying."""

import logging
import socket
from typing import NamedTuple

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object, get_world_size, is_main_process

from mae_plugin.engine.accumulation import schedulers_of
from mae_plugin.engine.batch_fit import Bound
from mae_plugin.engine.loaders import check_epoch
from mae_plugin.engine.machine import available_memory
from mae_plugin.engine.meters import DeviceMeter, HostMeter
from mae_plugin.engine.probe_step import ProbeStep, without_trace
from mae_plugin.errors import UserError
from mae_plugin.logs import log


class Found(NamedTuple):
    """Images to an iteration of one process, and why there are no more."""

    size: int
    why: str


def find_batch(cfg: Config) -> Found:
    """The largest batch, up to the config's, that every process of the run can take.

    Args:
        cfg: The run's config, left as it is; the process group must have been started.

    Raises:
        UserError: Not even the smallest fits, or there are no images.
    """
    processes = count_neighbours()
    free = available_memory()
    all_gather_object(free)  # nobody takes any before all have looked
    if is_main_process():
        print(f'Trying what batch fits ({get_device()}); --batch-size N skips this', flush=True)
    try:
        with without_trace(cfg):
            outcome: Found | UserError = _find_here(cfg, free and free // processes)
    except UserError as error:
        outcome = error
    found = []
    for each in all_gather_object(outcome):
        if isinstance(each, UserError):
            raise each
        found.append(each)
    return min(found, key=lambda each: each.size)


def count_neighbours() -> int:
    """How many processes of the run share this machine, this one included."""
    host = socket.gethostname()
    return all_gather_object(host).count(host)


def _find_here(cfg: Config, free: int | None) -> Found:
    device = get_device()
    meter = HostMeter(free) if device == 'cpu' else DeviceMeter(device)
    asked, world_size = cfg.train_dataloader.batch_size, get_world_size()
    step = ProbeStep(cfg, device)
    check_epoch(step.loader)
    batches = 2 if _warms_up_in_one_epoch(cfg) else 1
    largest = min(asked, max(1, step.images // (batches * world_size)))
    try:
        fit = meter.search(step, largest, reserve=world_size > 1)
    except Exception as error:
        # What is wrong shows in the run, as it would without this search.
        log(f'no batch was tried: {error!r}', logging.DEBUG)
        return Found(largest, 'it could not be tried')
    finally:
        step.close()
    if fit is None:
        raise UserError(
            f'not even a batch of {step.smallest} fits: {meter.limit / 2**30:.1f} GiB are free '
            f'({device}, without the margin). Take a smaller model or smaller images, free '
            f'memory, or try it all the same with --batch-size {step.smallest}'
        )
    if fit.bound is Bound.LARGEST and largest < asked:
        return Found(largest, f'there are {step.images} images')
    return Found(fit.size, meter.describe(fit.bound, fit.cost))


def _warms_up_in_one_epoch(cfg: Config) -> bool:
    """Whether the learning rate rises within one epoch, for which that needs two iterations."""
    return any(
        'start_factor' in scheduler
        and scheduler.get('by_epoch', True)
        and scheduler.get('end', 0) - scheduler.get('begin', 0) == 1
        for scheduler in schedulers_of(cfg)
    )
