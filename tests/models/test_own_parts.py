"""Parts that users write: good ones train with little around them, wrong ones are named."""

import pytest
import torch
from tiny_mae import tiny_mae
from torch import nn

from mae_plugin.models import MAE, MAEDecoder, PixelTarget
from mae_plugin.models.masking import Masking

SIDE, PATCH, LENGTH = 16, 4, 16


class Checkerboard(Masking):
    """Keeps every second patch; which half follows from the noise."""

    def __init__(self):
        super().__init__(mask_ratio=0.5)

    def score(self, noise, grid):
        rows = torch.arange(grid[0])[:, None] + torch.arange(grid[1])[None]
        parity = (rows % 2).flatten().to(noise.device)
        return (parity + (noise[:, :1] > noise[:, 1:2])) % 2


class LowPass(nn.Module):
    """The mean colour of each patch: no more than what a target must say."""

    dims = 3

    def forward(self, images, ids):
        means = nn.functional.avg_pool2d(images, PATCH).flatten(2).transpose(1, 2)
        return means.gather(1, ids[:, :, None].expand(-1, -1, 3))


class MeanDecoder(nn.Module):
    """No attention at all, and nothing but ``forward``."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(LENGTH, 32))
        self.lift = nn.Linear(24, 32)

    def forward(self, tokens, ids_keep, ids_masked, grid, num_predict=None):
        ids = torch.cat([ids_keep, ids_masked], dim=1)
        ids = ids[:, ids.shape[1] - (num_predict or ids.shape[1]) :]
        return self.lift(tokens.mean(1, keepdim=True)) + self.place[ids]


def images():
    return torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_own_masking_target_and_decoder_train():
    torch.manual_seed(0)
    model = MAE(
        tiny_mae(img_size=SIDE).backbone,
        MeanDecoder(),
        dict(type='ReconstructionHead', in_dims=32, target=LowPass()),
        Checkerboard(),
    )
    assert model.mask(images())[0].shape == (4, LENGTH // 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.loss(images())['loss']
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    result = model.reconstruct(images())
    assert result.images is None and result.mask.sum(1).tolist() == [LENGTH // 2] * 4


def broken_masking(change):
    """RandomMasking's choice of 4 of 16 patches, changed."""

    class Broken(nn.Module):
        def forward(self, batch_size, grid, device=None, keys=None):
            ids = torch.rand(batch_size, LENGTH).argsort(1)
            return change(ids[:, :4], ids[:, 4:])

    return Broken()


def restore(keep, masked):
    return keep, torch.cat([keep, masked], 1).argsort(1)


WRONG_MASKS = {
    'not ids_restore': restore,
    'patches twice or not at all': lambda keep, masked: (keep, masked.flip(0)),
    'torch.float32': lambda keep, masked: (keep.float(), masked),
    r'\(1, 4\)': lambda keep, masked: (keep[:1], masked[:1]),
    r'\(2, 11\)': lambda keep, masked: (keep, masked[:, 1:]),
}


@pytest.mark.parametrize('message', WRONG_MASKS)
def test_a_masking_that_breaks_its_contract_is_named(message):
    with pytest.raises(ValueError, match=f'Broken gave.*{message}'):
        tiny_mae(img_size=SIDE, masking=broken_masking(WRONG_MASKS[message]))


def test_scores_of_another_shape_are_named():
    class Half(Masking):
        def score(self, noise, grid):
            return noise[:, :8]

    with pytest.raises(ValueError, match=r'Half.score gave \(2, 8\) for 2 images of 4x4'):
        tiny_mae(img_size=SIDE, masking=Half())


def test_checking_a_masking_draws_nothing_from_the_global_generator():
    class Drawing(nn.Module):
        def forward(self, batch_size, grid, device=None, keys=None):
            ids = torch.rand(batch_size, LENGTH, device=device).argsort(1)
            return ids[:, :4], ids[:, 4:]

    model = tiny_mae(img_size=SIDE)
    torch.manual_seed(3)
    MAE(model.backbone, model.decoder, model.head, Drawing())
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))


@pytest.mark.parametrize(
    'change', [lambda t: t[..., :1], lambda t: t[0], lambda t: t[:1]], ids=['dims', 'flat', 'one']
)
def test_a_target_that_would_be_broadcast_is_named(change):
    class Broken(PixelTarget):
        def forward(self, images, ids):
            return change(super().forward(images, ids))

    model = tiny_mae(img_size=SIDE, target=Broken(PATCH))
    with pytest.raises(ValueError, match='Broken gave a target of shape'):
        model.loss(images())


def test_a_decoder_that_gives_other_patches_is_named():
    class Broken(MAEDecoder):
        def forward(self, *args):
            return super().forward(*args)[:1]

    model = tiny_mae(img_size=SIDE)
    model.decoder = Broken(24, 16, 1, 2, SIDE, PATCH)
    with pytest.raises(
        ValueError, match=r'Broken gave features of shape \(1, 12, 16\).*\(4, 12\)'
    ):
        model.loss(images())


def test_a_target_that_would_be_trained_is_refused():
    class Learned(PixelTarget):
        def __init__(self):
            super().__init__(PATCH)
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match=r'Learned has parameters .* requires_grad_'):
        tiny_mae(img_size=SIDE, target=Learned())


def test_a_target_without_dims_is_refused():
    with pytest.raises(ValueError, match='Identity has no attribute dims'):
        tiny_mae(img_size=SIDE, target=nn.Identity())


MISSPELT = {
    'RandomMasking takes no mask_ratoi: it takes mask_ratio': dict(
        masking=dict(type='RandomMasking', mask_ratoi=0.5)
    ),
    'PixelTarget takes no patch: it takes patch_size, in_channels': dict(
        target=dict(type='mae_plugin.PixelTarget', patch=4)
    ),
}


@pytest.mark.parametrize('message', MISSPELT)
def test_a_misspelt_argument_is_named_beside_those_there_are(message):
    with pytest.raises(ValueError, match=message):
        tiny_mae(img_size=SIDE, **MISSPELT[message])
