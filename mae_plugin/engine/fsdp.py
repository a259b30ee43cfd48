"""Fully sharded training: parameters, gradients and optimizer state split over the GPUs.

Shards are written by us, one file a process, not by ``torch.distributed.checkpoint``: its metadata
are a pickle of its own classes, which a safe reader refuses, and it stores no checksums.
"""

import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.device import get_device
from mmengine.dist import barrier, get_rank, is_main_process
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.compat import mmengine_strategies, sharded_state_dicts
from mae_plugin.engine.atomic import DEEPSPEED_WEIGHTS, write_checkpoint
from mae_plugin.errors import UserError
from mae_plugin.files import sync_folder, temporary_name
from mae_plugin.models.block import Block
from mae_plugin.registry import FUNCTIONS, STRATEGIES

_MMEngineFSDPStrategy: Any = mmengine_strategies().FSDPStrategy


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """FSDP's ``auto_wrap_policy``: each transformer block is gathered and freed on its own."""
    return recurse or isinstance(module, Block)


@STRATEGIES.register_module()
class FSDPStrategy(_MMEngineFSDPStrategy):
    """mmengine's FSDP strategy with checkpoints that today's torch loads and that are whole.

    Written atomically and with checksums, read without running code; mmengine's own passes its
    arguments in the order of torch 2.0 and saves shards as pickled objects. On resuming, either
    kind fits any number of processes.

    Args:
        sharded (bool): True writes a folder with one file of plain tensors per process, fast and
            without any process holding the whole model; ``tools/gather_checkpoint.py`` makes one
            plain file of it. False gathers on rank 0 and writes one file.
        model_wrapper (dict, optional): Arguments of ``MMFullyShardedDataParallel``. By default
            every transformer block is a unit.
        **kwargs: As for mmengine's ``FSDPStrategy``.

    Raises:
        UserError: torch is older than 2.4.
    """

    def __init__(self, *, sharded: bool = False, model_wrapper: dict | None = None, **kwargs):
        self._state_dicts = sharded_state_dicts()
        wrapper: dict[str, Any] = dict(
            type='MMFullyShardedDataParallel', auto_wrap_policy='mae_plugin.wrap_blocks'
        )
        if get_device() == 'cpu':
            # By default mmengine names a GPU, and torch looks for one.
            wrapper['device_id'] = torch.device('cpu')
        super().__init__(
            model_wrapper=dict(wrapper, **(model_wrapper or {})), state_dict_cfg='full', **kwargs
        )
        self.sharded = sharded

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """Build the optimizer while the parameters have their own shapes and names.

        Sharded, they are all of one dimension, and a rule such as "no decay for vectors" would
        take every weight for a bias; and their names differ from those of the modules.
        """
        if model is None or not isinstance(optim_wrapper, dict):
            return super().build_optim_wrapper(optim_wrapper, model)
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            return super().build_optim_wrapper(optim_wrapper, model.module)

    def model_state_dict(self) -> dict[str, Any]:
        """Weights under the unwrapped model's names: whole on rank 0, or this rank's shards."""
        return self._state_dicts.get_model_state_dict(self.model, options=self._options())

    def optim_state_dict(self) -> dict[str, Any]:
        """Optimizer state by parameter name: whole on rank 0, or this rank's shards."""
        optimizer = self.optim_wrapper.optimizer
        return self._state_dicts.get_optimizer_state_dict(
            self.model, optimizer, options=self._options()
        )

    def load_model_state_dict(self, state_dict: dict, *, strict: bool = False, **_: Any) -> None:
        """Load whole tensors, given to every rank."""
        options = self._state_dicts.StateDictOptions(full_state_dict=True, strict=strict)
        self._state_dicts.set_model_state_dict(self.model, state_dict, options=options)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load whole tensors, given to every rank."""
        optimizer = self.optim_wrapper.optimizer
        options = self._state_dicts.StateDictOptions(full_state_dict=True)
        self._state_dicts.set_optimizer_state_dict(
            self.model, optimizer, state_dict, options=options
        )

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Save on all ranks together; see mmengine for the arguments."""
        checkpoint = dict(extra_ckpt or {}, state_dict=self.model_state_dict())
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            checkpoint['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        checkpoint.setdefault('meta', {}).update(
            seed=self.seed,
            time=time.strftime('%Y%m%d_%H%M%S', time.localtime()),
            mmengine_version=mmengine.__version__,
        )
        if callback is not None:
            callback(checkpoint)
        if self.sharded:
            _write_folder(Path(filename), _shards_to_plain(checkpoint))
        elif is_main_process():
            save_plain(checkpoint, filename)
        barrier()

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: Any = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
        callback: Callable | None = None,
    ) -> dict[str, Any]:
        """Load a file or a folder of shards, made by any number of processes."""
        self.logger.info(f'Load checkpoint from {filename}')
        checkpoint = read_checkpoint(filename)
        if callback is not None:
            callback(checkpoint)
        self.load_model_state_dict(checkpoint.pop('state_dict'), strict=strict)
        return checkpoint

    def _options(self) -> Any:
        # torch 2.13 crashes when it offloads to the CPU what is there already.
        on_gpu = get_device() != 'cpu'
        return self._state_dicts.StateDictOptions(
            full_state_dict=not self.sharded, cpu_offload=on_gpu
        )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint as one process would have saved it, from a file or a folder of shards.

    Of DeepSpeed's folders (ZeRO 1 and 2, where every process has all weights) the weights alone.

    Raises:
        UserError: The folder lacks the files of some processes, or a file is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        return safe_load(path, mmap=True)
    files = sorted(path.glob('rank*.pth'), key=lambda file: int(file.stem[4:]))
    if (path / DEEPSPEED_WEIGHTS).is_file():
        content = safe_load(path / DEEPSPEED_WEIGHTS, mmap=True)
        return dict(meta=content['meta'], state_dict=content['module'])
    if not files:
        raise UserError(f'{path} holds no rank<r>.pth: it is no sharded checkpoint')
    parts = [safe_load(file, mmap=True) for file in files]
    if len(parts) != parts[0]['shards']:
        raise UserError(f'{path} holds {len(parts)} of {parts[0]["shards"]} files: copy all')
    whole = _gather(parts)
    del whole['shards']
    return whole


def save_plain(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint as one file, atomically and with its checksum."""
    write_checkpoint(path, _serialise(checkpoint))


def _serialise(checkpoint: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def _write_folder(folder: Path, part: dict[str, Any]) -> None:
    """Write every rank's part; the folder gets its name when all of them are on the disk."""
    temporary = folder.with_name(temporary_name(folder.name))
    part['shards'] = torch.distributed.get_world_size()
    write_checkpoint(temporary / f'rank{get_rank()}.pth', _serialise(part))
    barrier()
    if is_main_process():
        old = folder.with_name(temporary_name(f'old-{folder.name}'))
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)


def _shards_to_plain(value: Any) -> Any:
    """Replace sharded tensors by ``{'shape': ..., 'pieces': [(offsets, tensor), ...]}``."""
    if isinstance(value, dict):
        return {key: _shards_to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shards_to_plain(item) for item in value)
    if hasattr(value, 'local_shards'):
        pieces = [
            (list(shard.metadata.shard_offsets), shard.tensor.detach().cpu().clone())
            for shard in value.local_shards()
        ]
        return dict(shape=list(value.size()), pieces=pieces)
    return value


def _gather(parts: list[Any]) -> Any:
    """Put the pieces of all ranks together; whatever is not sharded is rank 0's."""
    first = parts[0]
    if not isinstance(first, dict):
        return first
    if first.keys() == {'shape', 'pieces'}:
        pieces = [piece for part in parts for piece in part['pieces']]
        whole: Tensor = torch.empty(first['shape'], dtype=pieces[0][1].dtype)
        for offsets, piece in pieces:
            region = tuple(slice(o, o + n) for o, n in zip(offsets, piece.shape))
            whole[region] = piece
        return whole
    if 'rng_states' in first:
        return first
    return {key: _gather([part[key] for part in parts]) for key in first}
