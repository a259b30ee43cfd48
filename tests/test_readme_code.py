"""The code that the pages show does what they say, word for word: every block of every page."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/tools'))

from dense_scenes import small_config  # noqa: E402
from front_door import run_tool, tiny_config, train, write_images  # noqa: E402
from pages import PAGES, blocks  # noqa: E402

import mae_plugin  # noqa: E402

TINY = 'dict(embed_dims=16, num_layers=1, num_heads=2)'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder of a tiny pretraining run, whose file is named as the pages name it."""
    folder = tmp_path_factory.mktemp('run')
    with pytest.MonkeyPatch.context() as monkeypatch:
        images = write_images(folder / 'images')
        train(monkeypatch, tiny_config(folder / 'tiny.py'), images, folder)
    (folder / 'epoch_1.pth').rename(folder / 'epoch_800.pth')
    for name, seed in (('photo.jpg', 0), ('a.jpg', 1), ('b.jpg', 2)):
        noise = np.random.default_rng(seed).integers(0, 256, (40, 24, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def execute(block, folder, monkeypatch, **names):
    monkeypatch.chdir(folder)
    exec(block, names)
    return names


def config_of(block, base, folder):
    """The config that a block makes of another."""
    file = folder / 'page.py'
    file.write_text(f'_base_ = {str(ROOT / "configs" / base)!r}\n{block}')
    return Config.fromfile(file)


def encoder_in_python(block, run, tmp_path, monkeypatch):
    names = execute(block, run, monkeypatch)
    # 24 x 40 pixels, the short side shrunk to the 16 of pretraining, whole patches of 4.
    assert names['image'].shape == (1, 3, 24, 16) and names['image'].max() > 1
    assert names['tokens'].shape == (1, 1 + 6 * 4, 16)
    assert names['maps'].shape == (1, 6, 4, 16)
    torch.testing.assert_close(names['tokens'][:, 1:].unflatten(1, (6, 4)), names['maps'])
    assert names['pixels'].shape == names['images'].shape and names['mask'].shape == (1, 24)
    assert names['mask'].sum() == 18 and names['loss'].shape == (1,)


def backbone_in_a_host(block, run, tmp_path, monkeypatch):
    """The backbone holds the run's weights, from a host's scope."""
    file = run / 'epoch_800.pth'
    block = block.replace("'base'", TINY).replace(
        'work_dirs/mae_vit-b_pretrain/epoch_800.pth', str(file)
    )
    backbone = execute(block, tmp_path, monkeypatch)['backbone']
    del backbone['_delete_']
    init_default_scope('mmseg')
    model = MODELS.build(backbone)
    model.init_weights()
    stored = torch.load(file, weights_only=False)['state_dict']
    key = 'blocks.0.attn.qkv.weight'
    assert torch.equal(model.state_dict()[key], stored[f'backbone.{key}'])


def foundation_backbone(block, run, tmp_path, monkeypatch):
    """Its file is in the tests of loading; here the parts that come with the name."""
    backbone = execute(block, tmp_path, monkeypatch)['backbone']
    assert backbone.pop('init_cfg')['checkpoint'].endswith('.pth')
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(backbone)
    (found,) = model(torch.zeros(2, 3, 70, 57, device='meta'))
    assert found.shape == (2, 768, 5, 5) and model.num_prefix_tokens == 5
    assert not any(parameter.requires_grad for parameter in model.parameters())


def windows(block, run, tmp_path, monkeypatch):
    (tmp_path / 'slides').mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (500, 700, 3), np.uint8)
    tifffile.imwrite(tmp_path / 'slides/one.tif', picture, tile=(64, 64), photometric='rgb')
    dataset = DATASETS.build(execute(block, tmp_path, monkeypatch)['dataset'])
    assert len(dataset) == round(500 * 700 / 224**2)
    assert dataset[0]['inputs'].shape == (3, 224, 224)


def own_masking(block, run, tmp_path, monkeypatch):
    """Trains with both blocks of the section, and opens the run with its config."""
    (config,) = [code for code in blocks('configs/pretrain/README.md', 'python') if 'my_p' in code]
    (tmp_path / 'my_parts.py').write_text(block)
    base = tiny_config(tmp_path / 'tiny.py')
    (tmp_path / 'my_config.py').write_text(
        config.replace('configs/mae_vit-b_pretrain.py', str(base))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    train(monkeypatch, tmp_path / 'my_config.py', run / 'images', tmp_path / 'run')
    picture = tmp_path / 'out.png'
    run_tool(
        monkeypatch, 'visualize', tmp_path / 'run/epoch_1.pth', run / 'photo.jpg',
        '--config', tmp_path / 'my_config.py', '--out', picture,
    )  # fmt: skip
    assert picture.is_file()
    from mae_plugin.registry import MODELS

    masking = MODELS.get('CheckerboardMasking')(mask_ratio=0.5)
    ids_keep, _ = masking(1, (4, 4))
    assert ids_keep[0].tolist() == [0, 2, 5, 7, 8, 10, 13, 15]


def own_config(block, run, tmp_path, monkeypatch):
    """Trained with the masking, in the block before it."""
    assert "imports=['my_parts']" in block


def detector(block, run, tmp_path, monkeypatch):
    """On mmdet's own Mask R-CNN: five levels at its strides, and the rates of layer decay."""
    base = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
    (tmp_path / 'page.py').write_text(f'_base_ = {base!r}\n{block}')
    cfg = Config.fromfile(tmp_path / 'page.py')
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    maps = model.extract_feat(torch.zeros(1, 3, 128, 192, device='meta'))
    strides = [4, 8, 16, 32, 64]
    assert [tuple(m.shape) for m in maps] == [(1, 256, 128 // s, 192 // s) for s in strides]
    wrapper = dict(cfg.optim_wrapper, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.0))
    rates = {group['lr'] for group in build_optim_wrapper(model, wrapper).optimizer.param_groups}
    assert min(rates) == pytest.approx(0.7**13) and max(rates) == 1


def segmented_file(block, run, tmp_path, monkeypatch):
    cfg = small_config('segmentation/upernet_vit-b_mae_12band_160k_folder-256x256.py', '', 4)
    cfg.model.backbone.update(
        arch=dict(embed_dims=48, num_layers=4, num_heads=3), out_indices=(0, 1, 2, 3)
    )
    cfg.model.neck.embed_dim = 48
    cfg.model.decode_head.update(in_channels=[48] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=48, channels=16)
    init_default_scope('mmseg')
    file = tmp_path / 'model.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), file)
    scene = np.random.default_rng(0).integers(0, 4000, (12, 70, 90), np.uint16)
    tifffile.imwrite(tmp_path / 'scene.tif', scene, photometric='minisblack')
    names = execute(block, tmp_path, monkeypatch, CONFIG=cfg, CHECKPOINT=str(file))
    assert names['labels'].shape == (70, 90)


def other_encoder(block, run, tmp_path, monkeypatch):
    cfg = config_of(block, 'segmentation/upernet_vit-b_mae_160k_ade20k-512x512.py', tmp_path)
    init_default_scope('mmseg')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    maps = model.extract_feat(torch.zeros(2, 3, 64, 96, device='meta'))
    assert [tuple(m.shape) for m in maps] == [
        (2, 1024, 8, 12), (2, 1024, 4, 6), (2, 1024, 2, 3),
    ]  # fmt: skip
    assert model.decode_head(maps).shape[-2:] == (8, 12)


def features_of_images(block, run, tmp_path, monkeypatch):
    names = execute(block, run, monkeypatch)
    stored = torch.load(run / 'b.jpg.pt', weights_only=True)
    tokens = names['vit'](names['images'])
    torch.testing.assert_close(stored, tokens[:, 1:].mean(1))
    assert (run / 'a.jpg.pt').is_file()


def onnx_of_the_encoder(block, run, tmp_path, monkeypatch):
    run_tool(
        monkeypatch, 'export_model', run / 'epoch_800.pth', '--to', 'onnx',
        '--out', tmp_path / 'epoch_800.onnx',
    )  # fmt: skip
    # The run's patches are of 4 pixels, where the page's are of 16.
    tokens = execute(block, tmp_path, monkeypatch)['tokens']
    assert tokens.shape == (1, 1 + 56 * 80, 16)


def adapters(block, run, tmp_path, monkeypatch):
    base = 'detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'
    cfg = config_of(block, base, tmp_path)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    trained = [name for name, p in model.backbone.named_parameters() if p.requires_grad]
    assert len(trained) == 12 * 2 * 2 and 8e5 < model.backbone.adapter_size < 9e5


# What tries a block: by its page, and by words that are in it alone.
TRIALS = {
    ('README.md', 'load_encoder'): encoder_in_python,
    ('README.md', 'ViTBackbone'): backbone_in_a_host,
    ('docs/checkpoints.md', '_delete_'): backbone_in_a_host,
    ('docs/checkpoints.md', 'dinov2-base-reg'): foundation_backbone,
    ('docs/troubleshooting.md', 'pool_tokens'): features_of_images,
    ('docs/deployment.md', 'onnx'): onnx_of_the_encoder,
    ('configs/pretrain/README.md', 'WindowFolder'): windows,
    ('configs/pretrain/README.md', 'class CheckerboardMasking'): own_masking,
    ('configs/pretrain/README.md', 'my_parts'): own_config,
    ('configs/detection/README.md', 'SimpleFeaturePyramid'): detector,
    ('configs/detection/README.md', 'LoRA'): adapters,
    ('configs/segmentation/README.md', 'inference_model'): segmented_file,
    ('configs/segmentation/README.md', 'BlockGroupPyramid'): other_encoder,
}
BLOCKS = [(page, block) for page in PAGES for block in blocks(page, 'python')]


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of torch's: the exporter's age
@pytest.mark.parametrize('page, block', BLOCKS, ids=[f'{p}-{b.split()[0]}' for p, b in BLOCKS])
def test_every_block_of_python(page, block, run, tmp_path, monkeypatch):
    found = [trial for (where, words), trial in TRIALS.items() if where == page and words in block]
    assert len(found) == 1, f'{page}: what tries this block?\n{block}'
    found[0](block, run, tmp_path, monkeypatch)


def test_importing_the_package_imports_no_torch():
    code = 'import sys, mae_plugin; dir(mae_plugin); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0
    with pytest.raises(AttributeError, match='load_encode'):
        mae_plugin.load_encode  # noqa: B018
