"""ReconstructionHook: the same images and masks in every picture; and bfloat16 by device."""

import io

import numpy as np
import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from PIL import Image
from tiny_run import build_runner, tiny_config
from torch import nn

from mae_plugin.engine.autocast import BFloat16OptimWrapper, supports_bfloat16


def run(work_dir, name, lr=0.0, visualizer=None, **hook):
    shape = dict(img_size=8, patch_size=4)
    model = dict(
        type='MAE',
        data_preprocessor=dict(type='MAEDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3),
        backbone=dict(type='ViT', arch=dict(embed_dims=8, num_layers=1, num_heads=2), **shape),
        decoder=dict(type='MAEDecoder', in_dims=8, embed_dims=8, depth=1, num_heads=2, **shape),
        head=dict(
            type='ReconstructionHead', in_dims=8, target=dict(type='PixelTarget', patch_size=4)
        ),
    )
    config = tiny_config(work_dir, epochs=3, model=model)
    config['train_dataloader']['collate_fn'] = dict(type='mae_plugin.stack_collate')
    config['optim_wrapper']['optimizer']['lr'] = lr
    config['custom_hooks'].append(dict(type='ReconstructionHook', **hook))
    config['visualizer'] = visualizer or config['visualizer']
    build_runner(config, name).train()
    pictures = sorted(work_dir.glob('*/vis_data/vis_image/reconstruction_*.png'))
    return {path.name: np.asarray(Image.open(path)) for path in pictures}


def test_pictures_are_drawn_at_intervals_and_at_the_end(tmp_path):
    pictures = run(tmp_path, 'pictures', interval=2, num_images=3)
    assert list(pictures) == ['reconstruction_10.png', 'reconstruction_15.png']
    # A model that learns nothing: the same images, crops and masks give the same picture.
    first, second = pictures.values()
    assert (first == second).all()
    factor = first.shape[1] // (4 * 8 + 3 * 4)
    assert first.shape[0] == factor * (3 * 8 + 2 * 4)


@pytest.mark.slow
def test_drawing_changes_nothing_in_the_run(tmp_path):
    weights = []
    for name, hook in (('drawn', dict(interval=1)), ('undrawn', dict(interval=100))):
        run(tmp_path / name, f'run-{name}', lr=1e-2, **hook)
        final = torch.load(tmp_path / name / 'iter_15.pth', weights_only=True)
        weights.append(final['state_dict'])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_images_of_a_dataset_of_their_own(tmp_path):
    pictures = run(
        tmp_path, 'own', interval=5, num_images=9, dataset=dict(type='TinyImages', length=2)
    )
    (picture,) = pictures.values()
    factor = picture.shape[1] // (4 * 8 + 3 * 4)
    assert picture.shape[0] == factor * (2 * 8 + 4)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['LazyVisualizer', 'mmengine.Visualizer'])
def test_pictures_go_to_tensorboard_where_it_is_configured(tmp_path, kind):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    pictures = run(
        tmp_path, f'board-{kind}', interval=2, num_images=2,
        visualizer=dict(type=kind, vis_backends=backends),
    )  # fmt: skip
    (folder,) = {path.parent for path in tmp_path.rglob('events.out.tfevents.*')}
    events = EventAccumulator(str(folder), dict(images=0)).Reload().Images('reconstruction')
    assert [event.step for event in events] == [10, 15]
    for event, picture in zip(events, pictures.values(), strict=True):
        stored = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        assert (stored == picture).all()


def test_bfloat16_is_for_devices_that_have_it(monkeypatch):
    assert not supports_bfloat16('cpu')
    assert supports_bfloat16('npu')
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **kwargs: False)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (7, 5))  # before torch 2.5
    assert not supports_bfloat16('cuda')


@pytest.mark.parametrize('native, dtype', [(False, torch.float32), (True, torch.bfloat16)])
def test_wrapper_autocasts_where_bfloat16_is_native(monkeypatch, native, dtype):
    monkeypatch.setattr('mae_plugin.engine.autocast.supports_bfloat16', lambda device: native)
    model = nn.Linear(4, 4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='mae_plugin.BFloat16OptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        )
    )
    assert isinstance(wrapper, BFloat16OptimWrapper)
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert out.dtype == dtype
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32 and model(torch.randn(1, 4)).dtype == torch.float32
