"""Foundation ViTs: our trunk, backbone and classifier give exactly the families' own features."""

from functools import cache

import pytest
import torch
from mmengine.registry import DefaultScope

from mae_plugin.arch import FAMILY_ARCHS
from mae_plugin.checkpoint import load_pretrained
from mae_plugin.checkpoint.describe import describe
from mae_plugin.checkpoint.recognise import recognise
from mae_plugin.errors import UserError
from mae_plugin.evaluation.encoder import load_encoder
from mae_plugin.models import ViT, ViTBackbone

from .families import FAMILIES, Family
from .models import save
from .peers import DIMS, PATCH, images

SIZES = (32, 48, (32, 72))


@cache
def make(name: str) -> Family:
    return FAMILIES[name]()


def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    error = (ours - theirs).norm() / theirs.norm()
    assert ours.shape == theirs.shape and error < 1e-5, error


@pytest.mark.parametrize('name', FAMILIES)
@torch.no_grad()
def test_features_are_the_familys_own(name, tmp_path):
    family = make(name)
    file = save(family.content, tmp_path / 'file.pth')
    kwargs = family.kwargs | dict(final_norm=family.final_norm)
    backbone = ViTBackbone(**kwargs | (family.dense or {})).eval()
    models = {'backbone': backbone}
    if family.dense is None:
        models['vit'] = ViT(**kwargs).eval()
    for model in models.values():
        report = load_pretrained(model, file)
        assert not report.initial
        assert all(key.endswith('mask_token') or 'neck' in key for key in report.ignored)
    for size in SIZES:
        x = images(size=size)
        tokens = family.tokens(x)
        if 'vit' in models:
            check(models['vit'](x), tokens)
        grid = (x.shape[2] // PATCH, x.shape[3] // PATCH)
        (found,) = backbone(x)
        check(found, tokens[:, family.prefix :].mT.unflatten(2, grid))


@pytest.mark.parametrize('name', ['dinov2, registers', 'dinov3'])
@torch.no_grad()
def test_classifier_around_the_encoder(name, tmp_path):
    from mmpretrain.models import ImageClassifier

    family = make(name)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='mae_plugin.ViT', **family.kwargs),
            neck=dict(type='mae_plugin.TokenPool', dims=DIMS, pool='avg', num_prefix_tokens=5),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=DIMS),
        ).eval()
    load_pretrained(model, save(family.content, tmp_path / 'file.pth'))
    (feature,) = model.extract_feat(images())
    check(feature, family.tokens(images())[:, 5:].mean(1))


@pytest.mark.parametrize(
    ('name', 'words'),
    {
        'dinov2': ['DINOv2,', 'patch 8', 'with class token', '4x4 grid'],
        'dinov2, registers': ['DINOv2 with registers,', '4 register tokens', '4x4 grid'],
        'dinov2 of timm, gated': ['timm ViT with layer scale', 'SwiGLU 128', '4x4 grid'],
        'dinov2 of transformers': ['Hugging Face DINOv2,', 'layer scale'],
        'dinov3': ['DINOv3,', 'rotary, 3 periods', '4 (the number of its rotary periods)'],
        'dinov3 of timm, gated': ['timm DINOv3,', 'SwiGLU 128', 'rotary, of base 100'],
        'dinov3 of transformers': ['Hugging Face DINOv3,', '4 register tokens', 'rotary, of base'],
        'pixio': ['official layout', '8 class tokens', '4x4 grid'],
        'sapiens': ['mmpretrain VisionTransformer', 'with class token', '4x4 grid'],
    }.items(),
)
def test_inspection_tells_the_family_in_one_screen(name, words):
    text = describe(make(name).content, 'file.pth')
    assert all(word in text for word in words), text
    assert 'refused' not in text and text.count('left at initialisation: nothing') >= 2
    assert len(text.splitlines()) < 24


@pytest.mark.parametrize('name', FAMILY_ARCHS)
def test_archs_have_the_published_sizes(name):
    """In millions, of the encoders alone: the papers' and model cards' tables."""
    published = {
        'dinov2-small': 22.1, 'dinov2-base': 86.6, 'dinov2-large': 304.4, 'dinov2-giant': 1136.5,
        'dinov3-small': 21.6, 'dinov3-small-plus': 28.7, 'dinov3-base': 85.7,
        'dinov3-large': 303.1, 'dinov3-huge-plus': 840.5, 'dinov3-7b': 6716.0,
        'pixio-base': 86, 'pixio-large': 303, 'pixio-huge': 631, 'pixio-1b': 1362,
        'pixio-5b': 5441, 'sam-base': 89.7, 'sam-large': 308.3, 'sam-huge': 637.0,
        'sapiens-0.3b': 336, 'sapiens-0.6b': 664, 'sapiens-1b': 1169, 'sapiens-2b': 2163,
    }  # fmt: skip
    with torch.device('meta'):
        vit = ViT(name)
    count = sum(parameter.numel() for parameter in vit.parameters()) / 1e6
    expected = published[name.removesuffix('-reg')]
    assert abs(count / expected - 1) < (0.1 if 'sapiens' in name else 0.02), count


def sapiens2(state):
    return {'blocks.0.attn.wq.weight': state, 'blocks.0.ffn.w12.weight': state}


def eva02(state):
    return {'blocks.0.mlp.norm.weight': state, 'blocks.0.attn.q_proj.weight': state}


def hiera(state):
    return {'pos_embed_window': state, 'blocks.0.attn.qkv.weight': state}


def siglip(state):
    prefix = 'vision_model.'
    return {
        f'{prefix}embeddings.patch_embedding.weight': state,
        f'{prefix}encoder.layers.0.self_attn.q_proj.weight': state,
    }


@pytest.mark.parametrize(
    ('make_keys', 'message'),
    [
        (sapiens2, 'of the family Sapiens2, .* it lacks normalised queries'),
        (eva02, 'of the family EVA-02, .* it lacks rotary positions beside a table'),
        (hiera, 'of the family Hiera, .* it lacks stages'),
        (siglip, 'of the family SigLIP, .* it lacks pooling by attention'),
    ],
)
def test_other_families_are_refused_by_name(make_keys, message):
    keys = make_keys(torch.ones(2, 2)) | {'patch_embed.proj.weight': torch.ones(2, 3, 2, 2)}
    with pytest.raises(UserError, match=message):
        recognise(keys)


def test_rotary_and_table_are_told_apart(tmp_path):
    """No shape tells them apart: DINOv3's file would fit a trunk without positions."""
    rotary, table = make('dinov3'), make('dinov2, registers')
    with pytest.raises(UserError, match=r"RotaryPositions.*arch='dinov3-base'"):
        load_pretrained(ViT(**table.kwargs), save(rotary.content, tmp_path / 'a'))
    with pytest.raises(UserError, match='none of that family'):
        load_pretrained(ViT(**rotary.kwargs), save(table.content, tmp_path / 'b'))
    plain = rotary.kwargs | dict(num_register_tokens=0)
    with pytest.raises(UserError, match='num_register_tokens=4'):
        load_pretrained(ViT(**plain), save(rotary.content, tmp_path / 'c'))


@torch.no_grad()
def test_load_encoder_builds_what_the_file_holds(tmp_path):
    for name in ('dinov2, registers', 'dinov3, gated', 'dinov2 of transformers'):
        family = make(name)
        vit, _ = load_encoder(save(family.content, tmp_path / 'f.pth'), num_heads=4)
        x = images(size=SIZES[2])
        check(vit(x), family.tokens(x))
