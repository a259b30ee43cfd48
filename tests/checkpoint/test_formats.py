"""Every format into encoder, classifier and dense backbone: outputs equal the peer's."""

import pickle
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from safetensors.torch import save_file

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.models import ViT, ViTBackbone

from . import peers
from .peers import ARCH, DIMS, GRID, PATCH, PEERS, SIZE, Peer


@cache
def make(name: str) -> Peer:
    return PEERS[name]()


def save(peer: Peer, folder: Path) -> str:
    path = folder / f'file{peer.suffix}'
    if peer.suffix == '.safetensors':
        save_file({k: v.contiguous() for k, v in peer.content.items()}, path)
    elif peer.suffix == '.pkl':
        path.write_bytes(pickle.dumps(peer.content))
    else:
        torch.save(peer.content, path)
    return str(path)


def encoder(peer: Peer) -> dict:
    return dict(
        arch=ARCH,
        img_size=SIZE,
        patch_size=PATCH,
        final_norm=peer.final_norm,
        with_cls_token=peer.cls_token,
    )


def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


# Relative positions need the dense backbone; see the refusal below.
DENSE = ('detectron2_vitdet', 'sam', 'hf_sam', 'mmpretrain_sam')
PLAIN = [name for name in PEERS if name not in DENSE]


@pytest.mark.parametrize('name', PLAIN)
@torch.no_grad()
def test_encoder(name, tmp_path):
    peer = make(name)
    vit = ViT(**encoder(peer)).eval()
    report = load_pretrained(vit, save(peer, tmp_path))
    assert not report.initial
    check(vit(peers.images()), peer.tokens(peers.images()))


@pytest.mark.parametrize('name', PLAIN)
@torch.no_grad()
def test_classifier_around_the_encoder(name, tmp_path):
    """A whole model of a host, mmpretrain's classifier."""
    from mmpretrain.models import ImageClassifier

    peer = make(name)
    neck = dict(type='mae_plugin.TokenPool', dims=DIMS, pool='avg')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='mae_plugin.ViT', **encoder(peer)),
            neck=neck | dict(num_prefix_tokens=int(peer.cls_token)),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=DIMS),
        ).eval()
    load_pretrained(model, save(peer, tmp_path))
    (feature,) = model.extract_feat(peers.images())
    check(feature, peer.tokens(peers.images())[:, int(peer.cls_token) :].mean(1))


@pytest.mark.parametrize('name', PEERS)
@torch.no_grad()
def test_dense_backbone_through_init_cfg(name, tmp_path):
    peer = make(name)
    backbone = ViTBackbone(
        **encoder(peer),
        rel_pos_img_size=SIZE if peer.rel_pos else None,
        window_size=peer.windows[0],
        global_attn_indexes=peer.windows[1],
        init_cfg=dict(type='Pretrained', checkpoint=save(peer, tmp_path)),
    )
    backbone.init_weights()
    feature_map = backbone.eval()(peers.images())[-1]
    tokens = peer.tokens(peers.images())[:, int(peer.cls_token) :]
    check(feature_map, tokens.mT.unflatten(2, (GRID, GRID)))


@pytest.mark.parametrize('name', DENSE)
def test_relative_positions_need_the_dense_backbone(name, tmp_path):
    peer = make(name)
    with pytest.raises(ValueError, match=r'relative positions .*use ViTBackbone'):
        load_pretrained(ViT(**encoder(peer)), save(peer, tmp_path))


@torch.no_grad()
def test_untrained_relative_positions_are_no_obstacle(tmp_path):
    peer = peers.detectron2_vitdet(rel_pos=False)
    vit = ViT(**encoder(peer)).eval()
    load_pretrained(vit, save(peer, tmp_path))
    check(vit(peers.images()), peer.tokens(peers.images()))
