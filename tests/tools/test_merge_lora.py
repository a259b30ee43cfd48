"""A segmentor with low-rank adapters: trained, tested, merged, and ordinary again."""

import pytest
import torch
from dense_scenes import small_config, write_ade
from front_door import run_tool
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mae_plugin.models import ViT

NAME = 'segmentation/upernet_vit-b_mae_lora_160k_ade20k-512x512.py'
ARCH = dict(embed_dims=32, num_layers=12, num_heads=2)


def narrower(value):
    """A config of ViT-B with its width of 768, and those of the heads, a few numbers wide."""
    if isinstance(value, dict):
        return {key: ARCH if key == 'arch' else narrower(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(narrower, value))
    return {768: 32, 512: 16, 256: 16, 384: 16}.get(value, value) if type(value) is int else value


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder with the encoder's file, the config and a checkpoint of two iterations."""
    folder = tmp_path_factory.mktemp('lora')
    torch.manual_seed(0)
    vit = ViT(ARCH, 32)
    vit.init_weights()
    torch.save(vit.state_dict(), folder / 'vit.pth')
    cfg = small_config(NAME, write_ade(folder / 'data'), divide=4)
    cfg.model = narrower(cfg.model.to_dict())
    cfg.model.backbone.module.init_cfg = dict(
        type='Pretrained', checkpoint=str(folder / 'vit.pth'), num_heads=2
    )
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=2)
    cfg.default_hooks.logger.interval = 1
    cfg.dump(folder / 'lora.py')
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_tool(
            monkeypatch, 'train', folder / 'lora.py', '--work-dir', folder / 'run',
            '--batch-size', '2', '--cfg-options', 'experiment_name=lora',
        )  # fmt: skip
    return folder


def predict(config, state, images):
    init_default_scope('mmseg')
    model = MODELS.build(config)
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.slow
def test_the_checkpoint_has_no_frozen_weight_and_gives_what_the_merged_one_gives(monkeypatch, run):
    cfg = Config.fromfile(run / 'lora.py')
    stored = torch.load(run / 'run/iter_2.pth', weights_only=False)['state_dict']
    backbone = {key for key in stored if key.startswith('backbone.')}
    assert len(backbone) == 12 * 2 * 2 and all('parametrizations' in key for key in backbone)
    assert any(stored[key].abs().sum() for key in backbone if key.endswith('up'))

    run_tool(monkeypatch, 'merge_lora', run / 'run/iter_2.pth', run / 'merged.pth')
    merged = torch.load(run / 'merged.pth', weights_only=False)
    images = torch.randn(2, 3, 128, 128)
    wanted = predict(cfg.model, stored, images)
    plain = Config.fromstring(merged['meta']['cfg'], '.py').model
    assert plain.backbone.type == 'mae_plugin.ViTBackbone'
    torch.testing.assert_close(predict(plain, merged['state_dict'], images), wanted)


@pytest.mark.slow
def test_it_is_tested_and_resumed(monkeypatch, run, capsys):
    run_tool(
        monkeypatch, 'test', run / 'lora.py', run / 'run/iter_2.pth', '--work-dir', run / 'test',
        '--cfg-options', 'experiment_name=lora-test',
    )  # fmt: skip
    assert 'mIoU' in capsys.readouterr().out
    run_tool(
        monkeypatch, 'train', run / 'lora.py', '--work-dir', run / 'run', '--resume',
        '--cfg-options', 'experiment_name=lora-resumed', 'train_cfg.max_iters=3',
    )  # fmt: skip
    assert 'Iter(train) [3/3]' in ' '.join(capsys.readouterr().out.split())


def test_a_file_without_adapters_is_refused(monkeypatch, run, capsys):
    with pytest.raises(SystemExit) as left:
        run_tool(monkeypatch, 'merge_lora', run / 'vit.pth', run / 'out.pth')
    assert left.value.code == 2 and 'no model.backbone of type LoRA' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_tool(
            monkeypatch,
            'merge_lora',
            run / 'vit.pth',
            run / 'out.pth',
            '--config',
            run / 'lora.py',
        )
    assert 'no adapter' in capsys.readouterr().err
    assert not (run / 'out.pth').exists()
