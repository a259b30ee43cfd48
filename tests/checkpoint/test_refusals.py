"""Files that are refused, with a message that a user can act on; what loads them all the same."""

import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.checkpoint.keys import flatten
from mae_plugin.checkpoint.load import load_init_cfg
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.models import ViT

from . import peers
from .models import Shell, save, unchanged, vit, weights
from .peers import ARCH, DIMS, PATCH, SIZE


def foreign_keys(tmp_path):
    return save(
        {'conv1.weight': torch.ones(3), 'layer1.0.bn1.bias': torch.ones(3)}, tmp_path / 'f'
    )


def no_tensors(tmp_path):
    return save({'state_dict': {}, 'meta': {'epoch': 3}}, tmp_path / 'f')


def empty_file(tmp_path):
    (tmp_path / 'f.pth').touch()
    return str(tmp_path / 'f.pth')


def folder_of_shards(tmp_path):
    (tmp_path / 'f.pth').mkdir()
    save({'shards': 2}, tmp_path / 'f.pth' / 'rank0.pth')
    return str(tmp_path / 'f.pth')


def folder_of_a_run(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        save(peers.timm().content, tmp_path / name)
    return str(tmp_path)


def folder_of_torch(tmp_path):
    (tmp_path / '__0_0.distcp').touch()
    return str(tmp_path)


def empty_folder(tmp_path):
    return str(tmp_path)


def truncated(tmp_path):
    path = tmp_path / 'f.pth'
    torch.save(peers.timm().content, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return str(path)


def truncated_safetensors(tmp_path):
    path = tmp_path / 'f.safetensors'
    save_file(peers.timm().content, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return str(path)


def another_width(tmp_path):
    return save(ViT(ARCH | dict(embed_dims=64), SIZE, PATCH).state_dict(), tmp_path / 'f')


def another_depth(tmp_path):
    return save(ViT(ARCH | dict(num_layers=3), SIZE, PATCH).state_dict(), tmp_path / 'f')


def half_an_encoder(tmp_path):
    state = peers.timm().content
    return save({k: v for k, v in state.items() if 'mlp.fc2' not in k}, tmp_path / 'f')


def no_class_token(tmp_path):
    return save(vit(with_cls_token=False).state_dict(), tmp_path / 'f')


def register_tokens(tmp_path):
    return save(peers.timm_vit(reg_tokens=4).state_dict(), tmp_path / 'f')


def normalised_queries(tmp_path):
    return save(peers.timm_vit(qk_norm=True).state_dict(), tmp_path / 'f')


def timm_state(name, tmp_path, **kwargs):
    import timm

    sizes = dict(img_size=SIZE, patch_size=PATCH, embed_dim=DIMS, depth=2, num_heads=4)
    return save(timm.create_model(name, **sizes | kwargs).state_dict(), tmp_path / 'f')


def rotary_mixed(tmp_path):
    """Beside absolute positions, so that nothing else is amiss."""
    return timm_state('vit_small_patch16_rope_mixed_ape_224', tmp_path, qkv_bias=True)


def rotary_axial(tmp_path):
    """Its rotation is no tensor of the file, which has no positions at all."""
    return timm_state('vit_small_patch16_rope_224', tmp_path)


def rotary_with_split_biases(tmp_path):
    """Without positions and with BEiT's q_bias: not a BEiT, whose bias table would be there."""
    state = peers.beit_without_positions().content['model']
    state = {key: value for key, value in state.items() if 'relative_position' not in key}
    return save({'model': state}, tmp_path / 'f')


def shared_relative_positions(tmp_path):
    return timm_state('vit_srelpos_small_patch16_224', tmp_path)


def positions_of_windows(tmp_path):
    """Hiera has a second table beside the first."""
    state = peers.timm().content
    return save(state | {'pos_embed_win': torch.ones(1, DIMS, 2, 2)}, tmp_path / 'f')


def gated_mlp(tmp_path):
    from timm.layers import SwiGLUPacked

    return save(peers.timm_vit(mlp_layer=SwiGLUPacked).state_dict(), tmp_path / 'f')


def dinov2_with_registers(tmp_path):
    pytest.importorskip('transformers', '4.48', reason=peers.NEWER)
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**peers.hf_config())
    return save(Dinov2WithRegistersModel(config).state_dict(), tmp_path / 'f')


def position_bias(tmp_path):
    state = peers.beit().content['model']
    state['blocks.0.attn.relative_position_bias_table'] = torch.ones(52, 4)
    return save({'model': state}, tmp_path / 'f')


def mmseg_beit(tmp_path):
    from mmseg.models.backbones import BEiT

    model = peers.randomise(BEiT((SIZE, SIZE), PATCH, **peers.mmseg_arch()))
    return save({'state_dict': model.state_dict()}, tmp_path / 'f')


def hugging_face_beit(tmp_path):
    return save(peers.hf_beit_model(use_relative_position_bias=True).state_dict(), tmp_path / 'f')


def two_encoders(tmp_path):
    state = peers.timm_vit(num_classes=0).state_dict()
    both = {f'{name}.{k}': v for name in ('image', 'video') for k, v in state.items()}
    return save(both, tmp_path / 'f')


def video(tmp_path):
    """VideoMAE's patches have a depth in time."""
    state = peers.timm().content
    state['patch_embed.proj.weight'] = torch.ones(DIMS, 3, 2, PATCH, PATCH)
    return save(state, tmp_path / 'f')


def oblong_patches(tmp_path):
    state = peers.timm().content
    state['patch_embed.proj.weight'] = torch.ones(DIMS, 3, PATCH, 2 * PATCH)
    return save(state, tmp_path / 'f')


def malicious(tmp_path):
    return save({'model': peers.timm().content, 'x': Shell(tmp_path / 'ran')}, tmp_path / 'f')


def malicious_bare_pickle(tmp_path):
    content = {'model': peers.detectron2_pkl().content, 'x': Shell(tmp_path / 'ran')}
    (tmp_path / 'f.pkl').write_bytes(pickle.dumps(content))
    return str(tmp_path / 'f.pkl')


REFUSED = {
    foreign_keys: r'no ViT encoder.*conv1\.weight, layer1\.0\.bn1\.bias',
    no_tensors: r'no ViT encoder.*0 tensors',
    empty_file: r'is empty',
    folder_of_shards: r'is a folder of shards.*tools/gather_checkpoint\.py',
    folder_of_a_run: r'folder of 2 checkpoints: name one; the newest is .*epoch_2\.pth',
    folder_of_torch: r'python -m torch\.distributed\.checkpoint\.format_utils dcp_to_torch',
    empty_folder: r'folder without weights: .*model\.safetensors',
    truncated: r'truncated, damaged',
    truncated_safetensors: r'not a whole safetensors file',
    another_width: r'(?s)file: .*width 64.*model: .*width 48',
    another_depth: r'(?s)file: .*depth 3.*model: .*depth 2',
    half_an_encoder: r'lacks blocks\.\*\.mlp\.fc2\.weight \(2\)',
    no_class_token: r'with_cls_token=False',
    register_tokens: r'build the model with num_register_tokens=4',
    normalised_queries: r'plain ViT lacks.*attn\.q_norm\.weight',
    rotary_mixed: r'plain ViT lacks.*: rope\.freqs$',
    rotary_axial: r'no absolute positions .*rotary',
    rotary_with_split_biases: r'no absolute positions .*rotary',
    shared_relative_positions: r'plain ViT lacks.*shared_rel_pos\.mlp\.fc1\.weight',
    positions_of_windows: r'of the family Hiera, .*lacks stages of several widths',
    gated_mlp: r'gated MLPs, and neither its layout nor its names tell what gates them',
    dinov2_with_registers: r'build the model with num_register_tokens=4',
    mmseg_beit: r'plain ViT cannot represent.*drop_relative_position_bias=True',
    hugging_face_beit: r'plain ViT cannot represent.*drop_relative_position_bias=True',
    position_bias: r'plain ViT cannot represent.*drop_relative_position_bias=True',
    video: r'patch projection has the shape \(48, 3, 2, 8, 8\).*square patches of images',
    oblong_patches: r'patch projection has the shape \(48, 3, 8, 16\).*square patches',
    two_encoders: r"choose one with prefix=, of 'image\.', 'video\.'",
    malicious: r'could run code.*trust=True',
    malicious_bare_pickle: r'posix\.system.*could run code.*trust=True',
}


@pytest.mark.parametrize('make', REFUSED, ids=lambda make: make.__name__)
def test_refused_with_a_way_out_and_nothing_changed(make, tmp_path):
    model, checkpoint = vit(), make(tmp_path)
    before = weights(model)
    with pytest.raises(ValueError, match=REFUSED[make]) as caught:
        load_pretrained(model, checkpoint)
    assert checkpoint in str(caught.value)
    assert unchanged(model, before)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    'key',
    [
        'rope.freqs',
        'rope_embed.periods',
        'freqs_cos',
        'rel_pos_bias.mlp.0.weight',
        'temporal_embedding',
        'absolute_pos_embed',
        'dist_token',
        'prompt_tokens',
        'storage_tokens',
        'norm_pre.weight',
        'ln_pre.bias',
    ],
)
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.base_encoder.'])
def test_keys_outside_the_blocks_that_change_the_encoder(key, prefix, tmp_path):
    state = {prefix + name: tensor for name, tensor in peers.timm().content.items()}
    state[prefix + key] = torch.ones(2, 2)
    with pytest.raises(ValueError, match=f'plain ViT lacks.*{prefix + key}$'):
        load_pretrained(vit(), save(state, tmp_path / 'f'))


@pytest.mark.parametrize(
    'key',
    [
        'head_dist.weight',
        'pre_logits.fc.weight',
        'attn_pool.latent',
        'pooler.dense.weight',
        'decoder_query_tokens',
        'decoder_pos_embed2',
        'projector.0.weight',
        'text_model.embeddings.position_embedding.weight',
        'positive_bank',
        'frequency_head.weight',
    ],
)
def test_keys_behind_the_encoder_are_ignored(key, tmp_path):
    state = peers.timm().content | {key: torch.ones(2, 2)}
    assert key in load_pretrained(vit(), save(state, tmp_path / 'f')).ignored


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_pretrained(vit(), str(tmp_path / 'nowhere.pth'))


def test_module_without_a_vit(tmp_path):
    with pytest.raises(ValueError, match='Linear holds no mae_plugin ViT'):
        load_pretrained(torch.nn.Linear(2, 2), foreign_keys(tmp_path))


@pytest.mark.parametrize('make', [malicious, malicious_bare_pickle])
@pytest.mark.parametrize('through_init_cfg', [False, True])
def test_trust_reads_the_file_all_the_same(make, through_init_cfg, tmp_path):
    checkpoint = make(tmp_path)
    with_cls_token = make is malicious
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, trust=True)
    model = vit(init_cfg=init_cfg, with_cls_token=with_cls_token)
    if through_init_cfg:
        model.init_weights()
    else:
        load_pretrained(model, checkpoint, trust=True)
    assert (tmp_path / 'ran').exists()


def test_init_cfg_with_an_unknown_key(tmp_path):
    init_cfg = dict(type='Pretrained', checkpoint=foreign_keys(tmp_path), trsut=True)
    with pytest.raises(ValueError, match=r"takes prefix, trust.*unknown \['trsut'\]"):
        vit(init_cfg=init_cfg).init_weights()
    with pytest.raises(ValueError, match='needs checkpoint'):
        vit(init_cfg=dict(type='Pretrained')).init_weights()


@pytest.mark.parametrize('make', [position_bias, mmseg_beit, hugging_face_beit])
@torch.no_grad()
def test_position_bias_is_left_out_on_demand_and_loudly(make, tmp_path, logged):
    checkpoint = make(tmp_path)
    state = flatten(safe_load(checkpoint))
    biases = [key for key in state if key.endswith('relative_position_bias_table')]
    assert any(state[key].any() for key in biases)
    final_norm = make is position_bias
    model, plain = vit(final_norm=final_norm), vit(final_norm=final_norm)
    init_cfg = dict(checkpoint=checkpoint, drop_relative_position_bias=True)
    report = load_init_cfg(model, dict(type='Pretrained', **init_cfg))
    lost = [key.removeprefix('state_dict.').removeprefix('model.') for key in biases]
    assert report.lost == [name for name, key in zip(lost, biases) if state[key].any()]
    assert 'LEFT OUT' in str(report) and not set(report.lost) & set(report.ignored)
    assert [record.levelno for record in logged if record.levelno > logging.DEBUG] == [
        logging.WARNING
    ]
    # All else is there: the same file with zeros in the place of the biases.
    for key in biases:
        state[key] = torch.zeros_like(state[key])
    load_pretrained(plain, save(state, tmp_path / 'zeros.pth'))
    torch.testing.assert_close(model(peers.images()), plain(peers.images()))


def test_lost_qkv_bias_is_refused(tmp_path):
    checkpoint = save(peers.timm().content, tmp_path / 'f')
    with pytest.raises(ValueError, match='qkv_bias=True'):
        load_pretrained(vit(qkv_bias=False), checkpoint)
