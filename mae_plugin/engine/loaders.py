"""What a run's data loaders ask for, kept to what the machine has and torch accepts."""

from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size
from torch.utils.data import DataLoader

from mae_plugin.errors import UserError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# What torch takes only together with worker processes.
_OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout')


def settle_loaders(cfg: Config, max_workers: int | None = None) -> None:
    """Change what the loaders of a config cannot have here; nothing of it changes a batch.

    - ``num_workers`` above ``max_workers``: they would only take turns, each with its memory;
    - with ``num_workers=0``, what torch refuses without workers;
    - pinned memory where there is no device to copy to: torch would warn in each epoch.

    Args:
        cfg: Config, changed in place.
        max_workers: The most that a loader gets; None leaves them as they are.
    """
    on_cpu = get_device() == 'cpu'
    for name in LOADERS:
        loader: Any = cfg.get(name)
        if not loader:
            continue
        if max_workers is not None and loader.get('num_workers', 0) > max_workers:
            loader.num_workers = max_workers
        if not loader.get('num_workers'):
            for option in _OF_WORKERS:
                loader.pop(option, None)
        if on_cpu and loader.get('pin_memory'):
            loader.pin_memory = False


def check_epoch(loader: DataLoader) -> None:
    """Refuse training data of which no batch can be made.

    Raises:
        UserError: There is no image, or fewer than the only kind of batch that is taken.
    """
    dataset: Any = loader.dataset
    images, batch = len(dataset), loader.batch_size
    if not images:
        raise UserError(
            'the training data holds no image that can be used: check --data-root, or ann_file '
            'and data_prefix of train_dataloader.dataset'
        )
    if not len(loader):
        raise UserError(
            f'the training data has {images} images, of which {get_world_size()} processes make '
            f'no whole batch of {batch}: take a smaller one (--batch-size N), or '
            'train_dataloader.drop_last=False'
        )
