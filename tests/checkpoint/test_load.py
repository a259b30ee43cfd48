"""Loading: prefixes, other sizes, whole MAEs, reports."""

import logging

import pytest
import torch
from torch import nn

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.geometry import resize_pos_embed
from mae_plugin.models import MAE, SimpleFeaturePyramid, ViT, ViTBackbone

from . import peers
from .models import mae, save, vit
from .peers import ARCH, DEPTH, DIMS, GRID, PATCH, SIZE


@pytest.mark.parametrize('prefix', ['image', 'image.', 'state_dict.image.'])
@torch.no_grad()
def test_prefix_chooses(prefix, tmp_path):
    chosen = peers.timm_vit(num_classes=0)
    other = peers.randomise(peers.timm_vit(num_classes=0), seed=9)
    state = {f'image.{k}': v for k, v in chosen.state_dict().items()}
    state |= {f'video.{k}': v for k, v in other.state_dict().items()}
    model = vit()
    load_pretrained(model, save({'state_dict': state}, tmp_path / 'f'), prefix=prefix)
    torch.testing.assert_close(
        model(peers.images()), chosen.forward_features(peers.images()), rtol=1e-4, atol=1e-4
    )


def test_wrong_prefix_says_where_the_encoder_is(tmp_path):
    checkpoint = save(peers.host_run().content, tmp_path / 'f')
    with pytest.raises(ValueError, match=r"prefix='encoder'.*'state_dict\.backbone\.'"):
        load_pretrained(vit(), checkpoint, prefix='encoder')


@torch.no_grad()
def test_without_class_token_its_row_goes_too(tmp_path):
    peer = peers.timm_vit(num_classes=0)
    model = vit(with_cls_token=False)
    report = load_pretrained(model, save(peer.state_dict(), tmp_path / 'f'))
    assert 'cls_token' in report.ignored
    x = peer.patch_embed(peers.images()) + peer.pos_embed[:, 1:]
    expected = peer.norm(peer.blocks(x))
    torch.testing.assert_close(model(peers.images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('cls', [ViT, ViTBackbone])
@torch.no_grad()
def test_other_image_size_as_timm_at_that_size(cls, tmp_path):
    """A non-square 24x48-pixel model from a 32x32-pixel file, against timm's own resizing."""
    source = peers.timm_vit(num_classes=0)
    reference = peers.timm_vit(num_classes=0)
    model = cls(ARCH, (24, 48), patch_size=PATCH, final_norm=True).eval()
    report = load_pretrained(model, save(source.state_dict(), tmp_path / 'f'))
    assert 'grid of 3x6' in report.changed['pos_embed']
    x = peers.images(size=(24, 48))
    # timm resizes with antialiasing when shrinking: given ours, the rest must agree.
    reference.pos_embed.data = model.pos_embed.data
    reference.patch_embed.grid_size = (3, 6)
    reference.patch_embed.img_size = (24, 48)
    expected = reference.forward_features(x)
    ours = model(x)
    if cls is ViTBackbone:
        ours, expected = ours[-1].flatten(2).mT, expected[:, 1:]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_relative_positions_are_resized_and_absent_ones_reported(tmp_path):
    dense = dict(arch=ARCH, img_size=SIZE, patch_size=PATCH, with_cls_token=False)
    peer = peers.detectron2_vitdet()
    model = ViTBackbone(**dense, rel_pos_img_size=2 * SIZE)
    report = load_pretrained(model, save(peer.content, tmp_path / 'f'))
    name = 'blocks.0.attn.rel_pos_h'
    assert report.changed[name] == f'{2 * GRID - 1} to {4 * GRID - 1} rows, linear'
    assert model.get_parameter(name).any()

    model = ViTBackbone(**dense, rel_pos_img_size=SIZE)
    report = load_pretrained(model, save(peers.timm().content, tmp_path / 'f'))
    assert set(report.initial) == {
        f'blocks.{i}.attn.rel_pos_{axis}' for i in range(DEPTH) for axis in 'hw'
    }
    assert not model.get_parameter(name).any()


@torch.no_grad()
def test_channels_and_patches_through_the_door(tmp_path):
    peer = peers.timm_vit(num_classes=0)
    checkpoint = save(peer.state_dict(), tmp_path / 'f')
    grey = vit(in_channels=1)
    load_pretrained(grey, checkpoint)
    x = peers.images(channels=1)
    expected = peer.forward_features(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey(x), expected, rtol=1e-4, atol=1e-4)

    larger = vit(patch_size=2 * PATCH, img_size=2 * SIZE)
    report = load_pretrained(larger, checkpoint)
    assert 'patch 8 to 16' in report.changed['patch_embed.proj.weight']
    assert 'pos_embed' in report.loaded


@torch.no_grad()
def test_layer_scale_stays_where_the_model_has_one(tmp_path):
    peer = peers.timm_layer_scale()
    model = vit(layer_scale_init=1e-5)
    load_pretrained(model, save(peer.content, tmp_path / 'f'))
    assert torch.equal(model.blocks[0].gamma_1, peer.content['blocks.0.ls1.gamma'])
    torch.testing.assert_close(
        model(peers.images()), peer.tokens(peers.images()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('peer', ['hf', 'mmpretrain'])
@torch.no_grad()
def test_whole_mae_reconstructs_as_its_peer(peer, tmp_path):
    """Everything masked but nothing hidden: predictions for all patches in raster order."""
    images = peers.images()
    ids = torch.arange(GRID**2).expand(2, -1)
    if peer == 'hf':
        source = peers.hf_mae_model()
        expected = source(images, noise=ids.float()).logits
    else:
        source = peers.mmpretrain_mae_model()
        expected = source.neck(source.backbone(images, None)[0], ids)
    model = mae()
    report = load_pretrained(model, save(source.state_dict(), tmp_path / 'f'))
    assert not report.initial
    tokens = model.backbone(images)
    features = model.decoder(tokens, ids, ids[:, :0], (GRID, GRID), GRID**2)
    torch.testing.assert_close(model.head(features), expected, rtol=1e-4, atol=1e-4)


def test_official_decoder_lands_where_it_belongs(tmp_path):
    peer, model = peers.official_full(), mae()
    report = load_pretrained(model, save(peer.content, tmp_path / 'f'))
    assert not report.initial and not report.ignored
    state = peer.content['model']
    assert torch.equal(model.decoder.mask_token, state['mask_token'])
    assert torch.equal(model.head.pred.weight, state['decoder_pred.weight'])
    assert torch.equal(
        model.decoder.blocks[1].mlp.fc1.bias, state['decoder_blocks.1.mlp.fc1.bias']
    )


def test_whole_mae_at_another_size(tmp_path):
    report = load_pretrained(
        mae(size=2 * SIZE), save(peers.official_full().content, tmp_path / 'f')
    )
    assert {'backbone.pos_embed', 'decoder.pos_embed'} == set(report.changed)


def test_decoder_that_does_not_fit_is_reported(tmp_path):
    model = mae(decoder_dims=16)
    report = load_pretrained(model, save(peers.official_full().content, tmp_path / 'f'))
    assert set(report.initial) == {
        name for name in model.state_dict() if name.startswith(('decoder.', 'head.'))
    }
    assert {'decoder_embed.weight', 'decoder_pred.bias'} <= set(report.ignored)


def wide_mae() -> MAE:
    """Trained on images of 16x64 pixels: a grid of 2x8, as many patches as 4x4 has."""
    return mae(size=(16, 64))


def check_wide(report, model, source):
    """The positions of a square model that was loaded from :func:`wide_mae`."""
    expected = resize_pos_embed(source.backbone.pos_embed, (2, 8), (GRID, GRID))
    assert torch.equal(model.backbone.pos_embed, expected)
    expected = resize_pos_embed(source.decoder.pos_embed, (2, 8), (GRID, GRID))
    assert torch.equal(model.decoder.pos_embed, expected)
    for name in ('backbone.pos_embed', 'decoder.pos_embed'):
        assert report.changed[name] == 'a grid of 2x8 to a grid of 4x4, bicubic'


def test_as_many_patches_in_another_shape(tmp_path):
    source, model = wide_mae(), mae()
    report = load_pretrained(model, save(source.state_dict(), tmp_path / 'f'))
    check_wide(report, model, source)


def test_own_run_says_its_grid(tmp_path):
    """Positions without any structure: what the run's config says is believed."""
    source, model = peers.randomise(wide_mae()), mae()
    cfg = f"model = dict(backbone=dict(img_size=(16, 64), patch_size={PATCH}), type='MAE')\n"
    content = dict(state_dict=source.state_dict(), meta=dict(cfg=cfg))
    report = load_pretrained(model, save(content, tmp_path / 'f'))
    check_wide(report, model, source)


@pytest.mark.parametrize(
    'cfg',
    [
        'import os',
        'model = 3',
        "model = dict(backbone=dict(type='ResNet'))",
        "model = dict(backbone=dict(img_size='large'))",
        f'model = dict(backbone=dict(img_size=99, patch_size={PATCH}))',
        f'model = dict(backbone=dict(img_size={2 * SIZE}, patch_size={PATCH}))',
    ],
)
def test_config_that_does_not_fit_the_rows_is_passed_over(cfg, tmp_path):
    source, model = mae(), mae()
    content = dict(state_dict=source.state_dict(), meta=dict(cfg=cfg))
    report = load_pretrained(model, save(content, tmp_path / 'f'))
    assert not report.changed


def test_report_reads_well_and_is_logged(tmp_path, logged):
    state = peers.official_full().content
    model = vit(final_norm=True, img_size=2 * SIZE)
    del state['model']['norm.weight'], state['model']['norm.bias']
    report = load_pretrained(model, save(state, tmp_path / 'f.pth'))
    assert str(report).splitlines() == [
        f'Loaded {tmp_path}/f.pth (MAE, official, with decoder)',
        '  loaded: 27 tensors as they are',
        '  changed: pos_embed: a grid of 4x4 to a grid of 8x8, bicubic',
        '  left at initialisation: norm.weight, norm.bias',
        '  ignored in the file: mask_token, decoder_pos_embed, decoder_embed.* (2), '
        'decoder_norm.* (2), decoder_pred.* (2), decoder_blocks.* (24)',
        '  DOUBTFUL: nothing tells how many attention heads its encoder has (the model has 4), '
        'and a wrong number gives wrong features: if you know it, say it with num_heads=N '
        '(load_pretrained and init_cfg take it)',
    ]
    assert [record.getMessage() for record in logged] == [str(report)]
    assert logged[0].levelno == logging.WARNING


class Detectron2Pyramid(nn.Module):
    """SimpleFeaturePyramid of detectron2 (modeling/backbone/vit.py), its names and arithmetic.

    Its ``Conv2d`` holds a ``norm`` and applies it; its ``LayerNorm`` is over channels.
    """

    class Norm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))
            self.bias = nn.Parameter(torch.zeros(width))

        def forward(self, x):
            mean = x.mean(1, keepdim=True)
            variance = (x - mean).pow(2).mean(1, keepdim=True)
            x = (x - mean) / torch.sqrt(variance + 1e-6)
            return self.weight[:, None, None] * x + self.bias[:, None, None]

    class Conv(nn.Conv2d):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, bias=False, **kwargs)
            self.norm = Detectron2Pyramid.Norm(args[1])

        def forward(self, x):
            return self.norm(super().forward(x))

    def __init__(self, dim, out):
        super().__init__()
        up = {
            4: [
                nn.ConvTranspose2d(dim, dim // 2, 2, 2),
                Detectron2Pyramid.Norm(dim // 2),
                nn.GELU(),
                nn.ConvTranspose2d(dim // 2, dim // 4, 2, 2),
            ],
            2: [nn.ConvTranspose2d(dim, dim // 2, 2, 2)],
            1: [],
            0.5: [nn.MaxPool2d(2, 2)],
        }
        widths = {4: dim // 4, 2: dim // 2}
        for stage, (scale, layers) in enumerate(up.items(), start=2):
            first = Detectron2Pyramid.Conv(widths.get(scale, dim), out, 1)
            second = Detectron2Pyramid.Conv(out, out, 3, padding=1)
            self.add_module(f'simfp_{stage}', nn.Sequential(*layers, first, second))

    def forward(self, x):
        return [stage(x) for stage in self.children()]


class Detector(nn.Module):
    """As much of a detector as a detectron2 file has in our terms."""

    def __init__(self, **neck):
        super().__init__()
        self.backbone = ViTBackbone(
            ARCH, SIZE, patch_size=PATCH, with_cls_token=False, rel_pos_img_size=SIZE
        )
        self.neck = SimpleFeaturePyramid(DIMS, **dict(out_channels=8, num_outs=4) | neck)


@torch.no_grad()
def test_detectron2s_pyramid_is_loaded_with_its_trunk(tmp_path):
    theirs = peers.randomise(Detectron2Pyramid(DIMS, 8))
    content = peers.detectron2_vitdet().content
    del content['model']['backbone.simfp_2.0.weight']
    content['model'] |= {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    content['model']['roi_heads.box_head.fc1.weight'] = torch.ones(2, 2)
    ours = peers.randomise(Detector(), seed=9)
    file = save(content, tmp_path / 'f.pth')
    report = load_pretrained(ours, file)
    assert not report.initial and report.ignored == ['roi_heads.box_head.fc1.weight']
    assert len([name for name in report.loaded if name.startswith('neck.')]) == 32
    x = torch.randn(2, DIMS, 6, 6)
    for ours_out, theirs_out in zip(ours.neck(x), theirs(x), strict=True):
        torch.testing.assert_close(ours_out, theirs_out, rtol=1e-4, atol=1e-4)

    # Norms of its levels would fit those of others.
    fewer = Detector(scales=(2, 1, 0.5), num_outs=3)
    report = load_pretrained(fewer, file)
    assert not [name for name in report.loaded if name.startswith('neck.')]
