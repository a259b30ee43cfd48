"""A trained MAE's loss on each image, for soft curation."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils.data import DataLoader

from mae_plugin.datasets import stack_collate
from mae_plugin.datasets.image_dataset import ImageDataset


@torch.no_grad()
def image_losses(
    model: nn.Module,
    images: ImageDataset,
    indices: Sequence[int],
    batch_size: int = 64,
    num_workers: int = 0,
) -> Iterator[tuple[list[int], list[float]]]:
    """Losses of chosen images, batch by batch.

    An image's mask follows from its place in the data set, so that its loss is the same in any
    batch. An image that cannot be used has loss 0: nothing can be learned from it.

    Args:
        model: A MAE in evaluation mode, on its device.
        images: The data set, with a pipeline that gives images of one size.
        indices: Numbers of the images.
        batch_size: Images at once.
        num_workers: Processes that decode; 0 decodes in this one.

    Yields:
        Numbers and losses of a batch.
    """
    loader = DataLoader(
        images,
        batch_size=batch_size,
        sampler=list(indices),
        num_workers=num_workers,
        collate_fn=stack_collate,
        generator=torch.Generator(),
    )
    begin = 0
    for batch in loader:
        chosen = list(indices[begin : begin + batch_size])
        begin += batch_size
        data = model.data_preprocessor(batch)
        losses = model.reconstruct(data['inputs'], data['data_samples']).loss.tolist()
        # Another image stands in for one that cannot be used.
        is_own = [
            sample.img_path == images.path(index)
            for sample, index in zip(data['data_samples'], chosen, strict=True)
        ]
        yield chosen, [loss if own else 0.0 for loss, own in zip(losses, is_own)]
