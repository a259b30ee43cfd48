"""From a pipeline's results to what the model is fed."""

import torch
from mmengine.structures import BaseDataElement

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackInputs:
    """Packs images as tensors and what is known of them as data elements.

    The metainfo holds ``img_path``, ``ori_shape`` (H, W), ``sample_key`` and ``crop_box``; a
    label becomes the data field ``gt_label``, (1,) int64. With several crops per image, each has
    a key of its own.
    """

    def __call__(self, results: dict) -> dict:
        """Pack.

        Args:
            results (dict): With ``img`` (list of (C, H, W) tensors), ``img_path``, ``ori_shape``,
                ``crop_boxes``, ``sample_key``, and ``gt_label`` if there is one.

        Returns:
            dict: ``inputs`` (C, H, W) and ``data_samples``, one element; or for k > 1 crops
            (k, C, H, W) and a list of k.
        """
        samples = []
        for number, box in enumerate(results['crop_boxes']):
            key = results['sample_key']
            metainfo = dict(
                img_path=results['img_path'],
                ori_shape=results['ori_shape'],
                sample_key=key if number == 0 else sample_key(key, number),
                crop_box=box,
            )
            sample = BaseDataElement()
            for name, value in metainfo.items():  # the constructor would copy all of it deeply
                sample.set_field(value, name, field_type='metainfo')
            if 'gt_label' in results:
                sample.gt_label = torch.tensor([results['gt_label']])
            samples.append(sample)
        images = results['img']
        if len(images) == 1:
            return dict(inputs=images[0], data_samples=samples[0])
        return dict(inputs=torch.stack(images), data_samples=samples)
