"""Batches as one tensor."""

import torch
from mmengine.structures import BaseDataElement

from mae_plugin.errors import UserError
from mae_plugin.registry import FUNCTIONS


@FUNCTIONS.register_module()
def stack_collate(samples: list[dict]) -> dict:
    """Stack packed samples into one batch.

    Use as ``collate_fn=dict(type='mae_plugin.stack_collate')``, with the scope: mmengine looks
    collate functions up without the default one. Samples of repeated augmentation, whose
    inputs are (k, C, H, W), are concatenated.

    A label leaves as a NumPy array and becomes a tensor again in the data preprocessor: every
    tensor that crosses a process boundary costs a file descriptor, one per image of a batch.

    Images of different number types, such as uint16 beside float32, become float32: what the
    data preprocessor makes of all, and exact for both.

    Args:
        samples (list[dict]): Each with ``inputs`` (C, H, W) or (k, C, H, W) and ``data_samples``,
            a BaseDataElement or k of them.

    Returns:
        dict: ``inputs`` (B, C, H, W) and ``data_samples``, a list of B.

    Raises:
        UserError: If the images differ in shape; the message names both and a file.
    """
    inputs = [sample['inputs'] for sample in samples]
    elements: list[BaseDataElement] = []
    for sample in samples:
        packed = sample['data_samples']
        elements.extend(packed if isinstance(packed, list) else [packed])
    for element in elements:
        if 'gt_label' in element:
            element.gt_label = element.gt_label.numpy()

    first = inputs[0]
    for sample, image in zip(samples, inputs, strict=True):
        if image.shape != first.shape:
            packed = sample['data_samples']
            name = (packed[0] if isinstance(packed, list) else packed).get('img_path')
            raise UserError(
                f'{name} gives {tuple(image.shape)}, but the batch began with '
                f'{tuple(first.shape)}; every image of a batch needs one size'
            )
    if any(image.dtype != first.dtype for image in inputs):
        inputs = [image.float() for image in inputs]
    join = torch.cat if first.ndim == 4 else torch.stack
    return dict(inputs=join(inputs), data_samples=elements)
