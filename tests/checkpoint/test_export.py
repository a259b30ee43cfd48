"""Exports: the peers' own classes read them and compute the same; round trips."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn

from mae_plugin.checkpoint import LAYOUTS, export_checkpoint, load_pretrained, write_export
from mae_plugin.models import TokenPool, ViTBackbone

from . import peers
from .models import mae, our_run, vit
from .peers import ARCH, DIMS, PATCH, SIZE


def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('to', LAYOUTS)
@torch.no_grad()
def test_round_trip_of_the_encoder(to, suffix, tmp_path):
    source = peers.randomise(vit(layer_scale_init=0.1))
    path = tmp_path / f'out{suffix}'
    write_export(path, export_checkpoint(our_run(source), to), to)
    back = vit()
    report = load_pretrained(back, str(path))
    assert not report.initial and not report.ignored
    check(back(peers.images()), source(peers.images()))


@pytest.mark.parametrize('to', ['official', 'huggingface', 'mmpretrain'])
def test_round_trip_of_the_whole_mae_is_exact(to, tmp_path):
    source, back = peers.randomise(mae()), mae()
    path = tmp_path / 'out.pth'
    write_export(path, export_checkpoint(our_run(source), to, 'full'), to)
    report = load_pretrained(back, str(path))
    assert not report.initial and not report.ignored and not report.changed
    for name, tensor in source.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


def test_official_encoder_is_the_backbone_byte_for_byte():
    source = mae()
    exported = export_checkpoint(our_run(source), 'official')
    assert list(exported) == list(source.backbone.state_dict())
    assert all(torch.equal(source.backbone.state_dict()[k], v) for k, v in exported.items())
    reference = peers.timm_vit(num_classes=0)
    reference.load_state_dict(exported, strict=True)


@torch.no_grad()
def test_timm_reads_it():
    source = peers.randomise(vit(layer_scale_init=0.1))
    peer = peers.timm_vit(num_classes=0, init_values=1.0)
    peer.load_state_dict(export_checkpoint(our_run(source), 'timm'), strict=True)
    check(peer.forward_features(peers.images()), source(peers.images()))


@torch.no_grad()
def test_hugging_face_reads_it(tmp_path):
    """Through ``from_pretrained``, from a folder with the exported file and a config."""
    from transformers import ViTConfig, ViTMAEForPreTraining, ViTModel

    source = peers.randomise(mae())
    expected = source(peers.images())
    config = peers.hf_mae_model().config
    for part in ('encoder', 'full'):
        folder = tmp_path / part
        config.save_pretrained(folder)
        tensors = export_checkpoint(our_run(source), 'huggingface', part)
        write_export(folder / 'model.safetensors', tensors, 'huggingface')
    peer, info = ViTMAEForPreTraining.from_pretrained(tmp_path / 'full', output_loading_info=True)
    assert not info['missing_keys'] and not info['unexpected_keys']
    noise = torch.arange(16.0).expand(2, -1)
    check(peer.eval().vit(peers.images(), noise=noise).last_hidden_state, expected)
    ViTConfig(**peers.hf_config(layer_norm_eps=1e-6)).save_pretrained(tmp_path / 'encoder')
    encoder = ViTModel.from_pretrained(tmp_path / 'encoder', add_pooling_layer=False).eval()
    check(encoder(peers.images()).last_hidden_state, expected)


@torch.no_grad()
def test_mmpretrain_reads_it(tmp_path):
    source = peers.randomise(mae())
    path = tmp_path / 'out.pth'
    write_export(path, export_checkpoint(our_run(source), 'mmpretrain', 'full'), 'mmpretrain')
    peer = peers.mmpretrain_mae_model()
    load_checkpoint(peer, str(path), strict=True)
    check(peer.backbone(peers.images(), None)[0], source(peers.images()))


@torch.no_grad()
def test_mmpretrain_reads_the_encoder_alone(tmp_path):
    """Its VisionTransformer, through ``init_cfg`` with the prefix of its own checkpoints."""
    from mmpretrain.models.backbones import VisionTransformer

    source = peers.randomise(vit(layer_scale_init=0.1))
    path = str(tmp_path / 'out.pth')
    write_export(path, export_checkpoint(our_run(source), 'mmpretrain'), 'mmpretrain')
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    arch = ARCH | dict(feedforward_channels=4 * DIMS)
    own = dict(out_type='raw', layer_scale_init_value=1.0)
    peer = VisionTransformer(arch, SIZE, PATCH, init_cfg=init_cfg, **own)
    peer.init_weights()
    peer.eval()  # returns None
    check(peer(peers.images())[0], source(peers.images()))


@pytest.mark.parametrize('to', ['mmseg', 'mmseg-mae'])
@torch.no_grad()
def test_mmseg_reads_it(to, tmp_path):
    """Through ``init_cfg``, whose prefix these backbones ignore."""
    from mmseg.models.backbones import MAE, VisionTransformer

    # mmseg's MAE has no final norm.
    source = ViTBackbone(ARCH, SIZE, patch_size=PATCH, final_norm=to == 'mmseg')
    peers.randomise(source)
    path = str(tmp_path / 'out.pth')
    write_export(path, export_checkpoint(our_run(source), to), to)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    if to == 'mmseg':
        own = dict(patch_bias=True, final_norm=True)
        peer = VisionTransformer(SIZE, PATCH, init_cfg=init_cfg, **own, **peers.mmseg_arch())
    else:
        peer = MAE((SIZE, SIZE), PATCH, init_cfg=init_cfg, **peers.mmseg_arch())
    peer.init_weights()
    peer.eval()
    check(peer(peers.images())[-1], source(peers.images())[-1])


def classifier(pool='avg', norm='layer'):
    """A trunk with pooling, a norm and a head behind it, as our configs have them."""
    parts = dict(
        backbone=vit(final_norm=norm != 'layer'),
        neck=TokenPool(DIMS, pool, norm),
        head=nn.ModuleDict(dict(fc=nn.Linear(DIMS, 5))),
    )
    model = peers.randomise(nn.ModuleDict(parts))
    if norm == 'batch':
        generator = torch.Generator().manual_seed(4)
        model['neck'].fc_norm.running_mean.normal_(generator=generator)
        model['neck'].fc_norm.running_var.uniform_(0.5, 2, generator=generator)
    return model


def logits(model):
    return model['head']['fc'](model['neck'](model['backbone'](peers.images()))[0])


def with_config(model, pool):
    """As a run of it, whose config says how it pools."""
    run = our_run(model)
    config = dict(model=dict(backbone=dict(type='ViT', arch=ARCH), neck=dict(pool=pool)))
    run['meta']['cfg'] = Config(config).pretty_text
    return run


FINE_TUNED, CLASS_TOKEN, PROBE = ('avg', 'layer'), ('cls', None), ('cls', 'batch')


@pytest.mark.parametrize('kind', [FINE_TUNED, CLASS_TOKEN, PROBE])
@torch.no_grad()
def test_the_official_scripts_read_a_classifier(kind, logged):
    """Strictly: main_finetune.py --eval, and main_linprobe.py's BatchNorm before the head."""
    model = classifier(*kind)
    pool = 'avg' if kind == FINE_TUNED else 'token'
    peer = peers.timm_vit(global_pool=pool, num_classes=5)
    if kind == PROBE:
        norm = nn.BatchNorm1d(DIMS, affine=False, eps=1e-6)
        peer.head = nn.Sequential(norm, peer.head)
    exported = export_checkpoint(with_config(model, kind[0]), 'official')
    peer.eval().load_state_dict(exported, strict=True)
    check(peer(peers.images()), logits(model))
    assert not [record for record in logged if record.levelno == logging.WARNING]


@pytest.mark.parametrize('kind', [FINE_TUNED, CLASS_TOKEN])
@torch.no_grad()
def test_timm_reads_a_classifier(kind):
    model = classifier(*kind)
    peer = peers.timm_vit(global_pool='avg' if kind == FINE_TUNED else 'token')
    peer.load_state_dict(export_checkpoint(our_run(model), 'timm'), strict=True)
    check(peer(peers.images()), logits(model))


@pytest.mark.parametrize('kind', [FINE_TUNED, CLASS_TOKEN, PROBE])
@torch.no_grad()
def test_mmpretrain_reads_a_classifier(kind):
    """Its own fine-tuned, classic and linear-probe classifiers."""
    from mmengine.registry import DefaultScope
    from mmpretrain.models import ImageClassifier

    model = classifier(*kind)
    arch = ARCH | dict(feedforward_channels=4 * DIMS)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=SIZE, patch_size=PATCH)
    if kind == FINE_TUNED:
        backbone |= dict(out_type='avg_featmap', final_norm=False)
    neck = dict(type='ClsBatchNormNeck', input_features=DIMS) if kind == PROBE else None
    head = 'LinearClsHead' if kind == FINE_TUNED else 'VisionTransformerClsHead'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        peer = ImageClassifier(
            backbone, neck, dict(type=head, num_classes=5, in_channels=DIMS)
        ).eval()
    peer.load_state_dict(export_checkpoint(our_run(model), 'mmpretrain'), strict=True)
    check(peer.head(peer.extract_feat(peers.images())), logits(model))


@torch.no_grad()
def test_hugging_face_reads_a_classifier():
    from transformers import ViTConfig, ViTForImageClassification

    model = classifier(*CLASS_TOKEN)
    peer = ViTForImageClassification(ViTConfig(**peers.hf_config(num_labels=5))).eval()
    peer.load_state_dict(export_checkpoint(our_run(model), 'huggingface'), strict=True)
    check(peer(peers.images()).logits, logits(model))


@pytest.mark.parametrize('kind', [FINE_TUNED, CLASS_TOKEN, PROBE])
@pytest.mark.parametrize('to', ['official', 'mmpretrain'])
@torch.no_grad()
def test_round_trip_of_a_classifier(to, kind, tmp_path):
    """So that official linear probes and fine-tuned files are read whole."""
    source, back = classifier(*kind), classifier(*kind)
    for tensor in back.state_dict().values():
        tensor.zero_()
    write_export(tmp_path / 'f.pth', export_checkpoint(our_run(source), to), to)
    report = load_pretrained(back, str(tmp_path / 'f.pth'))
    assert not report.initial and not report.ignored
    for name, tensor in source.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_a_head_that_pools_otherwise_than_the_peer_is_left_out(logged):
    exported = export_checkpoint(with_config(classifier('avg', 'batch'), 'avg'), 'official')
    assert not [key for key in exported if key.startswith('head')]
    (record,) = (record for record in logged if record.levelno == logging.WARNING)
    assert 'no place for neck.fc_norm.running_mean' in record.getMessage()


@pytest.mark.parametrize('to', ['huggingface', 'mmseg', 'mmseg-mae'])
def test_norm_after_pooling_that_has_no_place_is_told(to, logged):
    export_checkpoint(our_run(classifier()), to)
    (record,) = (record for record in logged if record.levelno == logging.WARNING)
    assert 'neck.fc_norm.weight, neck.fc_norm.bias' in record.getMessage()


@pytest.mark.parametrize('part', ['encoder', 'full'])
def test_pretraining_run_leaves_nothing_out_that_was_asked_for(part, logged):
    export_checkpoint(our_run(mae()), 'official', part)
    assert not [record for record in logged if record.levelno == logging.WARNING]


def test_foreign_to_foreign():
    """Any known layout in, any out: mmpretrain's MAE to Hugging Face's."""
    source = peers.mmpretrain_mae_model()
    exported = export_checkpoint(dict(state_dict=source.state_dict()), 'huggingface', 'full')
    peers.hf_mae_model().load_state_dict(exported, strict=True)


@pytest.mark.parametrize(
    ('to', 'part', 'message'),
    [
        ('timm', 'full', r'timm has no MAE decoder'),
        ('official', 'full', r'the file has no MAE decoder'),
        ('keras', 'encoder', r"to='keras'.*choose `to` from official, timm"),
        ('official', 'decoder', r"part='decoder'"),
    ],
)
def test_refused(to, part, message):
    with pytest.raises(ValueError, match=message):
        export_checkpoint(vit().state_dict(), to, part)


def test_relative_positions_are_refused():
    model = peers.randomise(ViTBackbone(ARCH, SIZE, patch_size=PATCH, rel_pos_img_size=SIZE))
    with pytest.raises(ValueError, match='relative positions'):
        export_checkpoint(model.state_dict(), 'timm')


def test_unknown_suffix_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r'must end in \.safetensors or \.pth'):
        write_export(tmp_path / 'out.h5', vit().state_dict(), 'timm')
    assert not list(tmp_path.iterdir())


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fails while writing leaves the old file."""
    path = tmp_path / 'out.pth'
    path.write_bytes(b'old')

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', fail)
    with pytest.raises(OSError, match='No space left'):
        write_export(path, vit().state_dict(), 'timm')
    assert path.read_bytes() == b'old' and len(list(tmp_path.iterdir())) == 1
