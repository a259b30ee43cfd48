"""Checkpoints that survive a crash at any moment."""

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from mae_plugin.checkpoint.safe_load import safe_load, use_safe_loading
from mae_plugin.files import atomic_write, temporary_name
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's hook with whole files, a checksum in each, and no gap between old and new.

    Local files are written beside their place, flushed and renamed, ``last_checkpoint`` too. An
    old file goes only after the new one is on the disk (mmengine's goes before). State of the
    other ranks is gathered first (hook method ``before_checkpoint``). From the start of the run
    mmengine reads checkpoints through ``safe_load``.

    Args:
        trust_checkpoints (bool): Unpickle everything, code included, in ``load_from`` and
            ``resume``.
        **kwargs: As for mmengine's ``CheckpointHook``.
    """

    # mmengine's, set by its methods.
    backend_args: dict | None
    file_backend: Any
    keep_ckpt_ids: deque
    last_ckpt: str | None

    def __init__(self, *args, trust_checkpoints: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.trust_checkpoints = trust_checkpoints
        self.saved_iter: int | None = None
        self._meta: dict[str, int] = {}
        self._checked = False

    def before_run(self, runner) -> None:
        """Close the door before anything is loaded."""
        use_safe_loading(trust=self.trust_checkpoints)

    def before_train(self, runner) -> None:
        """Choose the backend and remove what a killed run left half written."""
        folder = str(self.out_dir or runner.work_dir)
        local = '://' not in folder
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='mae_plugin_atomic')
        super().before_train(runner)
        if local and is_main_process():
            for left in Path(self.out_dir).glob(temporary_name('*.pth')):
                self._remove(str(left))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the position that was asked for; FlexibleRunner writes its own over it."""
        checkpoint['meta'].update(self._meta)
        self._meta = {}

    def save_now(self, runner, iteration: int, epoch: int) -> str | None:
        """Save ``iter_<iteration>.pth`` out of turn, unless this iteration is saved already.

        The file is removed when the next regular checkpoint is on the disk.

        Returns:
            The path, or None if there was nothing to add.
        """
        if self.saved_iter == iteration:
            return None
        name = f'iter_{iteration}.pth'
        path = self.file_backend.join_path(self.out_dir, name)
        self._write(runner, name, dict(epoch=epoch, iter=iteration), extra=path)
        return path

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            outdated = [self.filename_tmpl.format(old) for old in kept[: -self.max_keep_ckpts]]
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        extra = runner.message_hub.get_info('extra_ckpt')
        self._write(runner, name, meta, extra=None)
        if not is_main_process():
            return
        outdated = [self.file_backend.join_path(self.out_dir, old) for old in outdated]
        for old in (*outdated, extra):
            if old and old != self.last_ckpt:
                self._remove(old)

    def _write(self, runner, name: str, meta: dict, extra: str | None) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info('extra_ckpt', extra)
        runner.call_hook('before_checkpoint')
        self.saved_iter, self._meta = meta['iter'], dict(meta)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        self._check_readable()
        atomic_write(Path(runner.work_dir) / 'last_checkpoint', str(self.last_ckpt).encode())

    def _check_readable(self) -> None:
        """Find out at the first checkpoint, not at the resume, that a run cannot be resumed."""
        path = Path(str(self.last_ckpt))
        if not self._checked and not self.trust_checkpoints and path.is_file():
            safe_load(path, mmap=True)
            self._checked = True

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best:
            return  # nor is there a file backend where only `Runner.val` runs
        with self._removing_afterwards():
            super()._save_best_checkpoint(runner, metrics)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    @contextlib.contextmanager
    def _removing_afterwards(self) -> Iterator[None]:
        """Hold back what mmengine's code removes until what it writes is on the disk."""
        backend = self.file_backend
        self.file_backend = held = _HeldRemovals(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        written = {self.last_ckpt, *self._best_paths()}
        for path in held.removals:
            if path not in written:
                self._remove(path)

    def _best_paths(self) -> list[Any]:
        if hasattr(self, 'best_ckpt_path_dict'):
            return list(self.best_ckpt_path_dict.values())
        return [getattr(self, 'best_ckpt_path', None)]


class _HeldRemovals:
    """A file backend that notes removals instead of making them."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removals: list[str] = []

    def remove(self, path: str) -> None:
        self.removals.append(path)

    rmtree = remove

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
