"""What is predicted: each target against its formula, and back to pixels."""

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from tiny_mae import tiny_mae
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mae_plugin.models import PCATarget, PixelTarget, ReconstructionHead, TokenTarget
from mae_plugin.models.patch_embed import patchify


def batch(channels=3, size=(8, 12), seed=0):
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))


IDS = torch.tensor([[5, 0, 3], [1, 2, 4]])


def chosen(images):
    """Patches of 4x4 at IDS, picked one by one."""
    w = images.shape[3] // 4
    rows = []
    for image, ids in zip(images, IDS):
        corners = [(int(i) // w * 4, int(i) % w * 4) for i in ids]
        rows.append(torch.stack([image[:, y : y + 4, x : x + 4] for y, x in corners]))
    return torch.stack(rows).permute(0, 1, 3, 4, 2).flatten(2)


@pytest.mark.parametrize('channels', [1, 3, 12])
def test_pixels(channels):
    images = batch(channels)
    patches = chosen(images)
    plain = PixelTarget(4, channels, norm_pix=False)
    assert plain.dims == 16 * channels
    assert torch.equal(plain(images, IDS), patches)
    assert torch.equal(plain.to_pixels(patches, images, IDS), patches)

    target = PixelTarget(4, channels)
    found = target(images, IDS)
    # models_mae.py, forward_loss
    mean = patches.mean(dim=-1, keepdim=True)
    var = patches.var(dim=-1, keepdim=True)
    torch.testing.assert_close(found, (patches - mean) / (var + 1.0e-6) ** 0.5)
    torch.testing.assert_close(target.to_pixels(found, images, IDS), patches)


def test_a_flat_patch_stays_finite():
    target = PixelTarget(4)(torch.full((1, 3, 4, 4), 0.7), torch.tensor([[0]]))
    assert target.isfinite().all() and target.abs().max() < 1e-2


def fitted_pca(patches, num_components, **kwargs):
    target = PCATarget(num_components=num_components, **kwargs)
    centred = patches.double() - patches.double().mean(0)
    target.fit(patches.double().mean(0), centred.T @ centred / len(patches))
    return target


def test_pca_is_scikit_learns():
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(48, 48, generator=generator) * torch.linspace(2, 0.1, 48)
    patches = torch.randn(48, 48, generator=generator) @ mixing.T + 0.3
    reference = PCA(10, svd_solver='full').fit(patches)
    target = fitted_pca(patches, 10, patch_size=4)
    components = torch.from_numpy(reference.components_).float().T
    signs = (target.components * components).sum(0)
    torch.testing.assert_close(signs.abs(), torch.ones(10), rtol=0, atol=1e-3)

    images = batch()
    coefficients = target(images, IDS)
    assert coefficients.shape == (2, 3, 10)
    flat = chosen(images).flatten(0, 1)
    expected = torch.from_numpy(reference.transform(flat)).float() * signs.sign()
    torch.testing.assert_close(coefficients.flatten(0, 1), expected, rtol=1e-3, atol=1e-3)
    pixels = torch.from_numpy(reference.inverse_transform(reference.transform(flat))).float()
    torch.testing.assert_close(
        target.to_pixels(coefficients, images, IDS).flatten(0, 1), pixels, rtol=1e-3, atol=1e-3
    )


def test_pca_with_all_components_loses_nothing():
    target = fitted_pca(torch.randn(200, 48), 48, patch_size=4)
    images = batch()
    pixels = target.to_pixels(target(images, IDS), images, IDS)
    torch.testing.assert_close(pixels, chosen(images), rtol=1e-4, atol=1e-4)


def test_pca_keeps_the_largest_variances_with_a_sign_that_all_machines_share():
    scale = torch.linspace(3, 0.5, 16)
    patches = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)) * scale
    target = fitted_pca(patches, 4, patch_size=4, in_channels=1)
    assert target.components.abs().argmax(0).tolist() == [0, 1, 2, 3]
    assert (target.components.gather(0, target.components.abs().argmax(0)[None]) > 0).all()


def test_pca_lives_in_the_state_dict():
    target = fitted_pca(torch.randn(200, 48), 6, patch_size=4)
    other = PCATarget(4, num_components=6)
    with pytest.raises(ValueError, match=r'no components yet: add custom_hooks.*PCAFitHook'):
        other(batch(), IDS)
    other.load_state_dict(target.state_dict())
    assert torch.equal(other(batch(), IDS), target(batch(), IDS))


class Reads(TorchDispatchMode):
    """Operators that wait for the device: values read on the host."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def shared(target, other):
    sources = iter((target.mean, target.components))
    other.share(lambda buffer: buffer.copy_(next(sources)))


WAYS = {
    'loaded': lambda target, other: other.load_state_dict(target.state_dict()),
    'shared': shared,
}


@pytest.mark.parametrize('way', WAYS)
def test_pca_reads_nothing_from_the_device_in_a_step(way):
    target = fitted_pca(torch.randn(200, 48), 6, patch_size=4)
    other = PCATarget(4, num_components=6)
    WAYS[way](target, other)
    with Reads() as reads:
        found = other(batch(), IDS)
    assert reads.count == 0
    assert torch.equal(found, target(batch(), IDS)) and other.fitted


def test_too_many_components_are_named():
    with pytest.raises(ValueError, match=r'num_components=49 exceeds the 48 values of a patch'):
        PCATarget(4, num_components=49)


@MODELS.register_module(force=True)
class NearestColour(nn.Module):
    """Token of each 4x4 block: its channel of the greatest mean."""

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 4)


@MODELS.register_module(force=True)
class CodeBook(nn.Module):
    """BEiT v2's interface: token numbers straight away, here how bright the block is."""

    def get_codebook_indices(self, images):
        return (nn.functional.avg_pool2d(images.mean(1), 4) * 10).clamp(0, 9).long()


def token_target(tokenizer, vocab_size, **kwargs):
    return TokenTarget(
        dict(type=tokenizer), vocab_size, patch_size=4, downsample=4, mean=[10.0, 20.0, 30.0],
        std=[5.0, 50.0, 5.0], **kwargs,
    )  # fmt: skip


def test_tokens_of_the_raw_pixels():
    images = batch()
    target = token_target('NearestColour', 3)
    raw = images * torch.tensor([5.0, 50.0, 5.0])[:, None, None]
    raw = raw + torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    # DALL-E's scale is the same for all channels, so the largest stays the largest.
    expected = chosen(raw).reshape(2, 3, 16, 3).mean(2).argmax(-1)
    assert torch.equal(target(images, IDS), expected)
    assert target.to_pixels(torch.zeros(2, 3, 3), images, IDS) is None


def test_a_code_book_in_its_own_scale():
    images = batch()
    target = token_target('CodeBook', 10, tokenizer_mean=[0.0] * 3, tokenizer_std=[255.0] * 3)
    raw = images * torch.tensor([5.0, 50.0, 5.0])[:, None, None]
    raw = raw + torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    expected = (chosen(raw).mean(-1) / 255 * 10).clamp(0, 9).long()
    assert torch.equal(target(images, IDS), expected)


def test_default_scale_is_dalles():
    target = TokenTarget(nn.Identity())
    images = torch.tensor([0.0, 127.5, 255.0]).reshape(1, 1, 3).expand(3, 3, 3)
    mean, std = ([*triple] for triple in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    normalised = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    mapped = normalised * target.scale + target.shift
    # map_pixels of DALL-E: (1 - 2 · 0.1) · x + 0.1
    torch.testing.assert_close(mapped, 0.8 * images / 255 + 0.1)


def test_a_tokenizer_of_another_stride_is_named():
    target = token_target('NearestColour', 3)
    target.downsample = 8
    with pytest.raises(
        ValueError, match=r'gives 24 tokens for 6 patches: set `downsample` \(now 8\)'
    ):
        target(batch(), IDS)


def test_token_loss_is_cross_entropy_and_leaves_the_tokenizer_alone():
    head = ReconstructionHead(8, token_target('NearestColour', 3))
    head.train()
    assert not head.target.tokenizer.training
    images, features = batch(), torch.randn(2, 3, 8)
    predictions = head(features)
    tokens = head.target(images, IDS)
    log = predictions.log_softmax(-1)
    expected = -torch.stack([log[b, k, tokens[b, k]] for b in range(2) for k in range(3)]).mean()
    torch.testing.assert_close(head.loss(predictions, images, IDS), expected)


@MODELS.register_module(force=True)
class LearntTokenizer(BaseModule):
    """One convolution, whose weights a file brings."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(3, 5, 4, 4)

    def forward(self, images):
        return self.conv(images)


def test_a_tokenizers_weights_are_loaded_from_its_init_cfg(tmp_path):
    source = LearntTokenizer()
    torch.save(source.state_dict(), tmp_path / 'tokenizer.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'tokenizer.pth'))
    tokenizer = dict(type='LearntTokenizer', init_cfg=init_cfg)
    target = dict(
        type='TokenTarget', tokenizer=tokenizer, vocab_size=5, patch_size=4, downsample=4
    )
    model = tiny_mae(target=target)
    loaded = model.head.target.tokenizer
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value) or 'bias' in name
    assert not any(p.requires_grad for p in loaded.parameters())
    model(batch(size=(16, 16)), mode='loss')['loss'].backward()
    assert all(p.grad is None for p in loaded.parameters())
    element = model.eval().predict(batch(size=(16, 16)))[0]
    assert 'reconstruction' not in element and element.reconstruction_loss > 0


def test_mmpretrains_dalle_encoder_is_a_tokenizer():
    tokenizer = dict(type='mmpretrain.DALL-E', n_hid=8, n_blk_per_group=1, vocab_size=50)
    target = dict(type='TokenTarget', tokenizer=tokenizer, vocab_size=50, patch_size=16)
    model = tiny_mae(target=target, patch_size=16, img_size=(48, 32))
    images = batch(size=(48, 32))
    model(images, mode='loss')['loss'].backward()
    encoder = model.head.target.tokenizer
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    # One token for each patch of 16 pixels, whatever the encoder's stride of 8.
    ids = torch.arange(6).expand(2, -1)
    small = nn.functional.interpolate(images, size=(24, 16), mode='bicubic', antialias=True)
    raw = small * 64 + 128  # as the model's preprocessor says
    expected = encoder(0.8 * raw / 255 + 0.1).argmax(1).flatten(1)
    assert torch.equal(model.head.target(images, ids), expected)


@pytest.mark.parametrize('loss', ['l1', 'l2'])
def test_losses_are_means_over_patches_and_values(loss):
    head = ReconstructionHead(8, dict(type='PixelTarget', patch_size=4), loss)
    images, predictions = batch(), torch.randn(2, 3, 48)
    errors = predictions - head.target(images, IDS)
    expected = errors.abs().mean() if loss == 'l1' else errors.square().mean()
    torch.testing.assert_close(head.loss(predictions, images, IDS), expected)


def test_targets_keep_full_precision_under_autocast():
    head = ReconstructionHead(8, fitted_pca(torch.randn(200, 48), 6, patch_size=4))
    images, predictions = batch(), torch.randn(2, 3, 6)
    expected = head.loss(predictions, images, IDS)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(head.loss(predictions, images, IDS), expected)


def test_predictor_starts_xavier():
    torch.manual_seed(0)
    head = ReconstructionHead(64)
    head.init_weights()
    bound = (6 / (64 + 768)) ** 0.5
    assert 0.99 * bound < head.pred.weight.abs().max() <= bound
    assert not head.pred.bias.any() and isinstance(head.target, PixelTarget)


def test_unmasked_patch_order_is_raster():
    images = batch()
    everything = torch.arange(6).expand(2, -1)
    assert torch.equal(PixelTarget(4, norm_pix=False)(images, everything), patchify(images, 4))
