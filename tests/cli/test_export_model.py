"""``tools/export_model.py``: the files run without us, at any size, or there is no file."""

import onnxruntime
import pytest
import torch
from torch import nn

from mae_plugin.cli import export_model
from mae_plugin.compat import TORCH
from mae_plugin.errors import UserError
from mae_plugin.evaluation import deployment
from mae_plugin.models import ViT, ViTBackbone

SIZES = dict(arch=dict(embed_dims=12, num_layers=2, num_heads=2), patch_size=8)
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
CONFIG = f"""
model = dict(
    type='AnyDetector',
    data_preprocessor=dict(mean={MEAN}, std={STD}),
    backbone=dict(
        type='mae_plugin.ViTBackbone', img_size=32, with_cls_token=False, window_size=3,
        rel_pos_img_size=24, out_indices=(0, 1), global_attn_indexes=(1,),
        init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth'), **{SIZES}
    ),
)
"""


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    vit = ViT(img_size=32, **SIZES)
    vit.init_weights()
    nn.init.normal_(vit.blocks[0].attn.qkv.bias)
    torch.save(vit.state_dict(), tmp_path / 'vit.pth')
    return vit.eval()


def export(monkeypatch, *arguments):
    monkeypatch.setattr('sys.argv', ['export_model.py', *map(str, arguments)])
    export_model.main()


def pixels(*shape):
    return torch.randint(0, 256, shape).float()


def normalised(images, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)):
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_onnx_of_an_encoder_takes_pixels_of_any_size(monkeypatch, tmp_path, encoder):
    out = tmp_path / 'encoder.onnx'
    export(
        monkeypatch, tmp_path / 'vit.pth', '--to', 'onnx', '--num-heads', 2, '--out', out
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(out))
    images = pixels(3, 3, 24, 72)
    (tokens,) = session.run(['tokens'], dict(images=images.numpy()))
    wanted = encoder(normalised(images))
    torch.testing.assert_close(torch.from_numpy(tokens), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(TORCH < (2, 7), reason='older torch has other interfaces for dynamic sizes')
def test_program_of_an_encoder(monkeypatch, tmp_path, encoder):
    out = tmp_path / 'encoder.pt2'
    export(
        monkeypatch, tmp_path / 'vit.pth', '--to', 'torch', '--num-heads', 2, '--out', out
    )  # fmt: skip
    images = pixels(1, 3, 16, 200)
    (tokens,) = torch.export.load(out).module()(images)
    torch.testing.assert_close(tokens, encoder(normalised(images)))


def test_backbone_of_a_config_with_a_detectors_weights(monkeypatch, tmp_path, capsys):
    torch.manual_seed(0)
    backbone = ViTBackbone(
        img_size=32, with_cls_token=False, window_size=3, rel_pos_img_size=24,
        out_indices=(0, 1), global_attn_indexes=(1,), **SIZES,
    )  # fmt: skip
    backbone.init_weights()
    for name, parameter in backbone.named_parameters():
        if 'rel_pos' in name:
            nn.init.normal_(parameter, std=0.3)
    detector = nn.ModuleDict(dict(backbone=backbone.eval(), roi_head=nn.Linear(3, 3)))
    torch.save(dict(state_dict=detector.state_dict()), tmp_path / 'detector.pth')
    (tmp_path / 'config.py').write_text(CONFIG)
    out = tmp_path / 'backbone.onnx'
    arguments = (
        tmp_path / 'detector.pth', '--to', 'onnx', '--num-heads', 2,
        '--config', tmp_path / 'config.py', '--out', out,
    )  # fmt: skip
    if TORCH < (2, 6):
        with pytest.raises(SystemExit):
            export(monkeypatch, *arguments)
        assert 'ONNX of a dense backbone needs torch 2.6' in capsys.readouterr().err
        return
    export(monkeypatch, *arguments)
    images = pixels(2, 3, 37, 51)
    maps = onnxruntime.InferenceSession(str(out)).run(
        ['map0', 'map1'], dict(images=images.numpy())
    )
    for found, wanted in zip(maps, backbone(normalised(images, MEAN, STD)), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-5)


def test_a_file_that_gives_other_features_gets_no_name(monkeypatch, tmp_path, encoder, capsys):
    written = deployment.write_onnx

    def spoiled(deployable, path):
        written(deployable, path)
        deployable.model.norm.weight.mul_(1.01)

    monkeypatch.setattr(deployment, 'write_onnx', spoiled)
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as left:
        export(
            monkeypatch, tmp_path / 'vit.pth', '--to', 'onnx', '--num-heads', 2,
            '--out', tmp_path / 'encoder.onnx',
        )  # fmt: skip
    assert left.value.code == 2 and 'other features than PyTorch' in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_what_cannot_be_exported_is_told(monkeypatch, tmp_path, encoder, capsys):
    with pytest.raises(SystemExit):
        export(monkeypatch, tmp_path / 'vit.pth', '--to', 'onnx', '--out', tmp_path / 'x.pth')
    assert 'ends in .onnx' in capsys.readouterr().err
    (tmp_path / 'other.py').write_text("model = dict(backbone=dict(type='ResNet', depth=50))")
    with pytest.raises(UserError, match='no ViTBackbone'):
        deployment.load_deployable(str(tmp_path / 'vit.pth'), str(tmp_path / 'other.py'))
