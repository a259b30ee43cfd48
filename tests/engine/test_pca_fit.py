"""PCAFitHook: components from the run's own images, in the checkpoint, and not fitted twice."""

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import TinyImages, build_runner, tiny_config

from mae_plugin.engine.resume import find_resumable
from mae_plugin.models.patch_embed import patchify


def pca_config(work_dir, target=None, **changes):
    shape = dict(img_size=8, patch_size=4)
    model = dict(
        type='MAE',
        data_preprocessor=dict(type='MAEDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3),
        backbone=dict(
            type='ViT', arch=dict(embed_dims=8, num_layers=1, num_heads=2), **shape
        ),
        decoder=dict(type='MAEDecoder', in_dims=8, embed_dims=8, depth=1, num_heads=2, **shape),
        head=dict(
            type='ReconstructionHead',
            in_dims=8,
            target=target or dict(type='PCATarget', patch_size=4, num_components=5),
        ),
    )  # fmt: skip
    config = tiny_config(work_dir, epochs=1, model=model, **changes)
    config['train_dataloader']['collate_fn'] = dict(type='mae_plugin.stack_collate')
    config['custom_hooks'].append(dict(type='PCAFitHook', num_images=100, batch_size=6))
    return config


def test_components_come_from_the_images_and_stay_with_the_run(tmp_path):
    runner = build_runner(pca_config(tmp_path), 'pca-first')
    runner.train()
    target = runner.model.head.target

    dataset = TinyImages()
    images = torch.stack([dataset[(0, i)]['inputs'] for i in range(len(dataset))]).float()
    patches = patchify((images - 128) / 64, 4).flatten(0, 1).double()
    torch.testing.assert_close(target.mean.double(), patches.mean(0), rtol=1e-5, atol=1e-6)
    left, values, _ = torch.linalg.svd((patches - patches.mean(0)).T)
    # The same subspace of largest variance: projections agree.
    found = target.components.double()
    torch.testing.assert_close(found @ found.T, left[:, :5] @ left[:, :5].T, rtol=0, atol=1e-4)
    assert values[4] > values[5]

    stored = torch.load(find_resumable(tmp_path), weights_only=True)['state_dict']
    assert torch.equal(stored['head.target.components'], target.components)

    class Other(Hook):
        """Notes the components that training starts with."""

        priority = 'VERY_LOW'

        def before_train(self, runner):
            self.components = runner.model.head.target.components.clone()

    # Resumed on other images, the components stay those of the run.
    again = pca_config(tmp_path, resume=True, load_from=find_resumable(tmp_path))
    again['train_cfg']['max_epochs'] = 2
    resumed = build_runner(again, 'pca-again')
    hook = Other()
    resumed.register_hook(hook)
    resumed.model.head.target.components.fill_(7)
    resumed.train()
    assert torch.equal(hook.components, target.components)
    assert torch.equal(resumed.model.head.target.components, target.components)


def test_another_target_is_named(tmp_path):
    target = dict(type='PixelTarget', patch_size=4)
    with pytest.raises(ValueError, match=r'PCATarget, not PixelTarget: remove the hook'):
        build_runner(pca_config(tmp_path, target), 'pca-wrong').train()
