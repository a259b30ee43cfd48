"""Loading: refusals that a user can act on, other sizes, whole MAEs, reports."""

import http.server
import logging
import os
import pickle
import threading

import pytest
import torch
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.models import (
    MAE,
    MAEDecoder,
    PixelTarget,
    RandomMasking,
    ReconstructionHead,
    ViT,
    ViTBackbone,
)
from mae_plugin.models.pos_embed import resize_pos_embed

from . import peers
from .peers import ARCH, DEPTH, DIMS, GRID, PATCH, SIZE


def vit(**kwargs) -> ViT:
    return ViT(**(dict(arch=ARCH, img_size=SIZE, patch_size=PATCH) | kwargs)).eval()


def mae(decoder_dims: int = 32, size: int | tuple[int, int] = SIZE) -> MAE:
    shared = dict(img_size=size, patch_size=PATCH)
    return MAE(
        backbone=ViT(ARCH, **shared),
        decoder=MAEDecoder(DIMS, decoder_dims, 2, 4, **shared),
        head=ReconstructionHead(decoder_dims, PixelTarget(PATCH, norm_pix=False)),
        masking=RandomMasking(),
    ).eval()


def save(content, path) -> str:
    torch.save(content, path)
    return str(path)


def weights(module) -> dict:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class Shell:
    """Pickles as a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def foreign_keys(tmp_path):
    return save(
        {'conv1.weight': torch.ones(3), 'layer1.0.bn1.bias': torch.ones(3)}, tmp_path / 'f'
    )


def no_tensors(tmp_path):
    return save({'state_dict': {}, 'meta': {'epoch': 3}}, tmp_path / 'f')


def empty_file(tmp_path):
    (tmp_path / 'f.pth').touch()
    return str(tmp_path / 'f.pth')


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


def malicious(tmp_path):
    return save({'model': peers.timm().content, 'x': Shell(tmp_path / 'ran')}, tmp_path / 'f')


def malicious_bare_pickle(tmp_path):
    content = {'model': peers.detectron2_pkl().content, 'x': Shell(tmp_path / 'ran')}
    (tmp_path / 'f.pkl').write_bytes(pickle.dumps(content))
    return str(tmp_path / 'f.pkl')


REFUSED = {
    foreign_keys: r'no ViT encoder.*conv1\.weight, layer1\.\*\.bn1\.bias',
    no_tensors: r'no ViT encoder.*0 tensors',
    empty_file: r'is empty',
    truncated: r'truncated, damaged',
    truncated_safetensors: r'not a whole safetensors file',
    another_width: r'(?s)file: .*width 64.*model: .*width 48',
    another_depth: r'(?s)file: .*depth 3.*model: .*depth 2',
    half_an_encoder: r'lacks blocks\.\*\.mlp\.fc2\.weight \(2\)',
    no_class_token: r'with_cls_token=False',
    register_tokens: r'plain ViT lacks.*reg_token',
    normalised_queries: r'plain ViT lacks.*attn\.q_norm\.weight',
    mmseg_beit: r'plain ViT cannot represent',
    hugging_face_beit: r'plain ViT cannot represent',
    position_bias: r'plain ViT cannot represent',
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


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_pretrained(vit(), str(tmp_path / 'nowhere.pth'))


def test_module_without_a_vit(tmp_path):
    with pytest.raises(ValueError, match='Linear holds no mae_plugin ViT'):
        load_pretrained(torch.nn.Linear(2, 2), foreign_keys(tmp_path))


def test_trust_reads_the_file_all_the_same(tmp_path):
    load_pretrained(vit(), malicious(tmp_path), trust=True)
    assert (tmp_path / 'ran').exists()


def test_lost_qkv_bias_is_refused(tmp_path):
    checkpoint = save(peers.timm().content, tmp_path / 'f')
    with pytest.raises(ValueError, match='qkv_bias=True'):
        load_pretrained(vit(qkv_bias=False), checkpoint)


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


def test_report_reads_well_and_is_logged(tmp_path):
    state = peers.official_full().content
    model = vit(final_norm=True, img_size=2 * SIZE)
    del state['model']['norm.weight'], state['model']['norm.bias']
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = logged.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    report = load_pretrained(model, save(state, tmp_path / 'f.pth'))
    logger.removeHandler(handler)
    assert str(report).splitlines() == [
        f'Loaded {tmp_path}/f.pth (MAE, official, with decoder)',
        '  loaded: 27 tensors as they are',
        '  changed: pos_embed: a grid of 4x4 to a grid of 8x8, bicubic',
        '  left at initialisation: norm.weight, norm.bias',
        '  ignored in the file: mask_token, decoder_pos_embed, decoder_embed.* (2), '
        'decoder_norm.* (2), decoder_pred.* (2), decoder_blocks.* (24)',
    ]
    assert [record.getMessage() for record in logged] == [str(report)]
    assert logged[0].levelno == logging.WARNING


def test_file_at_an_address(tmp_path, monkeypatch):
    """http(s) addresses, as mmengine's idioms allow; served from this machine."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    save(peers.timm().content, tmp_path / 'vit.pth')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f'http://127.0.0.1:{server.server_port}/vit.pth?download=true'
        try:
            assert not load_pretrained(vit(), address).initial
        finally:
            server.shutdown()
            thread.join()
    assert not load_pretrained(vit(), address).initial  # kept: the server is gone
