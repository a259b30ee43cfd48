"""Pictures: four panels of the right pixels, for any channels and number range."""

import numpy as np
import pytest
import torch

from mae_plugin.models import MAE
from mae_plugin.visualization.reconstruction import (
    GAP,
    GREY,
    display_bands,
    enlarge,
    reconstruction_panels,
    stack_pictures,
    to_display,
)


def model_for(channels=3, target=None, pad=1, **options):
    shape = dict(img_size=(8, 16), patch_size=4)
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(
            type='ViT',
            arch=dict(embed_dims=8, num_layers=1, num_heads=2),
            in_channels=channels,
            **shape,
        ),
        decoder=dict(type='MAEDecoder', in_dims=8, embed_dims=8, depth=1, num_heads=2, **shape),
        head=dict(
            type='ReconstructionHead',
            in_dims=8,
            target=target or dict(type='PixelTarget', patch_size=4, in_channels=channels),
        ),
        data_preprocessor=dict(
            type='MAEDataPreprocessor', mean=[100.0] * channels, std=[50.0] * channels,
            pad_size_divisor=pad,
        ),
        **options,
    )  # fmt: skip
    model.init_weights()
    return model


def panels_of(picture, rows, height=8, width=16):
    """(rows, 4, H, W, 3)."""
    assert picture.shape == (rows * (height + GAP) - GAP, 4 * (width + GAP) - GAP, 3)
    return np.stack(
        [
            [picture[r * (height + GAP) :, c * (width + GAP) :][:height, :width] for c in range(4)]
            for r in range(rows)
        ]
    )


def test_four_panels_of_each_image():
    model = model_for().train()
    images = torch.randint(0, 255, (2, 3, 8, 16), dtype=torch.uint8)
    panels = panels_of(reconstruction_panels(model, images, [1, 2]), 2)
    assert model.training
    for index in range(2):
        original, masked, reconstruction, pasted = panels[index].astype(int)
        assert (original == images[index].permute(1, 2, 0).numpy()).all()

        class Key:
            sample_key = index + 1

        model.eval()
        data = model.data_preprocessor(dict(inputs=images[index : index + 1]))['inputs']
        result = model.reconstruct(data, [Key])
        model.train()
        mask = result.mask.reshape(2, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
        removed = mask.numpy().astype(bool)
        pixels = (result.images[0] * 50 + 100).round().clamp(0, 255).permute(1, 2, 0).numpy()
        assert (masked[removed] == GREY).all() and (masked[~removed] == original[~removed]).all()
        assert np.abs(reconstruction[removed] - pixels[removed]).max() <= 1
        assert (reconstruction[~removed] == GREY).all()
        assert (pasted[removed] == reconstruction[removed]).all()
        assert (pasted[~removed] == original[~removed]).all()


def test_images_padded_to_whole_patches_are_shown_without_the_padding():
    model = model_for(pad=4)
    images = torch.randint(0, 255, (2, 3, 7, 14), dtype=torch.uint8)
    panels = panels_of(reconstruction_panels(model, images, [1, 2]), 2, 7, 14)
    padded = torch.nn.functional.pad(images.float() - 100, (0, 2, 0, 1)) + 100  # the mean colour
    whole = panels_of(reconstruction_panels(model, padded, [1, 2]), 2)
    assert (panels == whole[:, :, :7, :14]).all()


def test_a_model_trained_on_all_patches_shows_them_all():
    model = model_for(loss_on='all', masking=dict(type='RandomMasking', mask_ratio=0.0))
    images = torch.randint(0, 255, (1, 3, 8, 16), dtype=torch.uint8)
    original, masked, reconstruction, pasted = panels_of(reconstruction_panels(model, images), 1)[
        0
    ]
    assert (masked == original).all() and (pasted == original).all()
    result = model.reconstruct(model.data_preprocessor(dict(inputs=images))['inputs'])
    pixels = (result.images[0] * 50 + 100).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(reconstruction.astype(int) - pixels).max() <= 1


def test_the_same_keys_give_the_same_picture():
    model = model_for()
    images = torch.randint(0, 255, (1, 3, 8, 16), dtype=torch.uint8)
    one = reconstruction_panels(model, images, [4])
    torch.rand(3)
    assert (reconstruction_panels(model, images, [4]) == one).all()
    assert (reconstruction_panels(model, images, [5]) != one).any()


def test_twelve_bands_show_the_chosen_ones():
    model = model_for(12)
    images = torch.rand(1, 12, 8, 16) * 5000
    picture = panels_of(reconstruction_panels(model, images, [0], bands=[7, 3, 0]), 1)[0]
    red = images[0, 7]
    low, high = torch.quantile(red, torch.tensor([0.02, 0.98]))
    expected = ((red - low) / (high - low) * 255).round().clamp(0, 255)
    assert np.abs(picture[0, ..., 0].astype(float) - expected.numpy()).max() <= 1


def test_a_target_without_pixels_ends_after_two_panels():
    target = dict(
        type='TokenTarget', tokenizer=torch.nn.AvgPool2d(4), vocab_size=3, patch_size=4,
        downsample=4,
    )  # fmt: skip
    picture = reconstruction_panels(
        model_for(target=target), torch.zeros(1, 3, 8, 16, dtype=torch.uint8), [0]
    )
    assert picture.shape == (8, 2 * 16 + GAP, 3)


@pytest.mark.parametrize(
    'channels, bands, expected',
    [
        (3, None, [0, 1, 2]),
        (1, None, [0, 0, 0]),
        (2, None, [0, 0, 0]),
        (12, None, [0, 1, 2]),
        (12, [11], [11, 11, 11]),
        (12, (5, 4, 3), [5, 4, 3]),
    ],
)
def test_bands(channels, bands, expected):
    assert display_bands(channels, bands) == expected


@pytest.mark.parametrize('bands', [[3], [-1, 0, 1], [0, 1], []])
def test_bands_that_are_not_there_are_named(bands):
    with pytest.raises(ValueError, match=r'bands=\[.*one or three channels between 0 and 2'):
        display_bands(3, bands)


def test_eight_bit_pictures_are_shown_as_they_are():
    images = torch.tensor([[0.0, 10.4, 300.0, -3.0]]).reshape(1, 1, 1, 4)
    reference = torch.tensor([[0.0, 10.0, 20.0, 30.0]]).reshape(1, 1, 1, 4)
    assert to_display(images, reference, [0, 0, 0])[0, 0, :, 0].tolist() == [0, 10, 255, 0]


def test_dark_eight_bit_pictures_stay_dark():
    images = torch.tensor([0, 1, 1, 0], dtype=torch.uint8).reshape(1, 1, 1, 4)
    assert to_display(images, images, [0, 0, 0]).max() == 1


def test_pictures_of_different_sizes_stack_on_white():
    one, other = np.zeros((3, 5, 3), np.uint8), np.zeros((2, 9, 3), np.uint8)
    picture = stack_pictures([one, other])
    assert picture.shape == (3 + GAP + 2, 9, 3)
    assert (picture[:3, 5:] == 255).all() and (picture[3 : 3 + GAP] == 255).all()
    assert not picture[3 + GAP :].any()


@pytest.mark.parametrize('width, factor', [(1024, 1), (2000, 1), (500, 3), (1, 1024)])
def test_small_pictures_are_enlarged_by_whole_factors(width, factor):
    assert enlarge(np.zeros((2, width, 3), np.uint8)).shape == (2 * factor, width * factor, 3)
