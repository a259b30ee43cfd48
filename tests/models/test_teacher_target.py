"""Features of a frozen encoder as target: against their formula, and outside the model's state."""

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_mae import tiny_mae
from torch import nn

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.errors import UserError
from mae_plugin.models import MAE, ReconstructionHead, TeacherTarget, ViT

MEAN, STD = (10.0, 20.0, 30.0), (5.0, 50.0, 5.0)
THEIR_MEAN, THEIR_STD = (100.0, 90.0, 80.0), (60.0, 50.0, 40.0)
IDS = torch.tensor([[5, 0, 3], [1, 2, 4]])


def images(size=(8, 12)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def vit(patch_size=4, img_size=8, seed=0, **changes):
    torch.manual_seed(seed)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2)
    model = ViT(arch, img_size=img_size, patch_size=patch_size, **changes)
    model.init_weights()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def target(teacher, **changes):
    options = dict(mean=MEAN, std=STD, teacher_mean=THEIR_MEAN, teacher_std=THEIR_STD)
    return TeacherTarget(teacher, patch_size=4, **options | changes)


def in_the_teachers_scale(pixels):
    columns = [torch.tensor(values)[:, None, None] for values in (MEAN, STD)]
    raw = pixels * columns[1] + columns[0]
    theirs = [torch.tensor(values)[:, None, None] for values in (THEIR_MEAN, THEIR_STD)]
    return (raw - theirs[0]) / theirs[1]


def normalised(features):
    """(B, L, D): each patch's mean 0 and variance 1, at IDS."""
    mean = features.mean(-1, keepdim=True)
    variance = features.var(-1, unbiased=False, keepdim=True)
    found = (features - mean) / (variance + 1e-6).sqrt()
    return torch.stack([row[ids] for row, ids in zip(found, IDS)])


@pytest.mark.parametrize(
    'patch_size, tokens', [(4, {}), (3, {}), (3, dict(num_cls_tokens=2, num_register_tokens=3))]
)
def test_one_of_its_patches_falls_on_each_of_ours(patch_size, tokens):
    teacher, pixels = vit(patch_size, 2 * patch_size, **tokens), images()
    size = (2 * patch_size, 3 * patch_size)
    resized = F.interpolate(pixels, size=size, mode='bicubic', antialias=True)
    with torch.no_grad():
        expected = teacher(in_the_teachers_scale(resized))[:, sum(tokens.values()) or 1 :]
    found = target(copy.deepcopy(teacher))(pixels, IDS)
    torch.testing.assert_close(found, normalised(expected), rtol=1e-4, atol=1e-4)


def test_a_size_of_its_own_has_its_features_resized_to_our_patches():
    teacher, pixels = vit(8, 32), images()
    resized = F.interpolate(pixels, size=(32, 32), mode='bicubic', antialias=True)
    with torch.no_grad():
        tokens = teacher(in_the_teachers_scale(resized))[:, 1:]
    maps = tokens.transpose(1, 2).reshape(2, 16, 4, 4)
    maps = F.interpolate(maps, size=(2, 3), mode='bilinear', align_corners=False)
    expected = normalised(maps.flatten(2).transpose(1, 2))
    found = target(teacher, teacher_size=32)(pixels, IDS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class Maps(nn.Module):
    """Gives a sequence of maps, as backbones of OpenMMLab do."""

    embed_dims = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, 4)

    def forward(self, pixels):
        return (pixels, self.conv(pixels))


def test_a_backbone_that_gives_maps():
    teacher, pixels = Maps(), images()
    with torch.no_grad():
        expected = teacher.conv(in_the_teachers_scale(pixels)).flatten(2).transpose(1, 2)
    found = target(teacher, teacher_size=(8, 12))(pixels, IDS)
    torch.testing.assert_close(found, normalised(expected), rtol=1e-4, atol=1e-4)


def clip_and_mmpretrains():
    """transformers' CLIP with random weights, and mmpretrain's ViT with the same ones."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    clip = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3,
            image_size=16, patch_size=4,
        )
    ).vision_model.eval()  # fmt: skip
    for parameter in clip.parameters():
        nn.init.normal_(parameter, std=0.3)
    names = [
        ('embeddings.patch_embedding.', 'patch_embed.projection.'),
        ('pre_layrnorm.', 'pre_norm.'), ('post_layernorm.', 'ln1.'),
        ('encoder.layers.', 'layers.'), ('layer_norm1.', 'ln1.'), ('layer_norm2.', 'ln2.'),
        ('mlp.fc1.', 'ffn.layers.0.0.'), ('mlp.fc2.', 'ffn.layers.1.'),
        ('self_attn.out_proj.', 'attn.proj.'),
    ]  # fmt: skip
    state, source = {}, clip.state_dict()
    for key, value in source.items():
        if '.q_proj.' in key:
            value = torch.cat([source[key.replace('.q_', f'.{part}_')] for part in 'qkv'])
            key = key.replace('self_attn.q_proj.', 'attn.qkv.')
        elif '.k_proj.' in key or '.v_proj.' in key or 'position_ids' in key:
            continue
        for theirs, ours in names:
            key = key.replace(theirs, ours)
        state[key] = value
    state['cls_token'] = state.pop('embeddings.class_embedding').reshape(1, 1, -1)
    state['pos_embed'] = state.pop('embeddings.position_embedding.weight')[None]
    arch = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96)
    config = dict(
        type='mmpretrain.VisionTransformer', arch=arch, img_size=16, patch_size=4, pre_norm=True,
        norm_cfg=dict(type='LN', eps=1e-5), out_type='featmap',
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
    )  # fmt: skip
    return clip, config, state


@pytest.mark.parametrize('prefix', ['', 'backbone.'])  # the second is in mmpretrain's files
def test_clip_through_mmpretrains_trunk(prefix, tmp_path):
    import mmpretrain.models  # noqa: F401

    clip, config, state = clip_and_mmpretrains()
    state = {f'{prefix}{name}': value for name, value in state.items()}
    torch.save(dict(state_dict=state), tmp_path / 'clip.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'clip.pth'))
    pixels = images()
    resized = F.interpolate(pixels, size=(16, 16), mode='bicubic', antialias=True)
    with torch.no_grad():
        tokens = clip(in_the_teachers_scale(resized)).last_hidden_state
        tokens = clip.post_layernorm(tokens)[:, 1:]
    maps = tokens.transpose(1, 2).reshape(2, 24, 4, 4)
    maps = F.interpolate(maps, size=(2, 3), mode='bilinear', align_corners=False)
    found = target(config | dict(init_cfg=init_cfg), teacher_size=16)(pixels, IDS)
    expected = normalised(maps.flatten(2).transpose(1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def stored(tmp_path):
    """A MAE's checkpoint, and the config of a teacher that reads it."""
    model = tiny_mae(img_size=16)
    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'teacher.pth'))
    arch = dict(embed_dims=24, num_layers=2, num_heads=3)
    return model, dict(type='ViT', arch=arch, img_size=16, patch_size=4, init_cfg=init_cfg)


def student(teacher):
    return tiny_mae(target=dict(type='TeacherTarget', teacher=teacher))


def test_a_mae_of_ones_own_teaches_and_stays_outside_the_model(stored):
    teacher, config = stored
    model = student(config)
    held = model.head.target.teacher
    for name, value in teacher.backbone.state_dict().items():
        assert torch.equal(held.state_dict()[name], value)
    assert not any('teacher' in name for name in model.state_dict())
    assert held not in list(model.modules())
    mine = {id(parameter) for parameter in model.parameters()}
    assert not mine & {id(parameter) for parameter in held.parameters()}

    before = copy.deepcopy(held.state_dict())
    model.train()
    assert not held.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(images((16, 16)), mode='loss')['loss']
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in held.state_dict().items())
    element = model.eval().predict(images((16, 16)))[0]
    assert 'reconstruction' not in element and element.reconstruction_loss > 0


def test_a_model_that_was_only_loaded_has_its_teacher_all_the_same(stored):
    """As evaluation does: built, its checkpoint loaded, never initialised."""
    _, config = stored
    trained = student(config).eval()
    shape = dict(img_size=16, patch_size=4)
    arch = dict(embed_dims=24, num_layers=2, num_heads=3)
    loaded = MAE(
        dict(type='ViT', arch=arch, **shape),
        dict(type='MAEDecoder', embed_dims=16, depth=2, num_heads=2),
        dict(type='ReconstructionHead', target=dict(type='TeacherTarget', teacher=config)),
        data_preprocessor=dict(type='MAEDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3),
    ).eval()
    loaded.load_state_dict(trained.state_dict(), strict=True)
    ids = torch.arange(16).expand(2, -1)
    pixels = images((16, 16))
    assert torch.equal(loaded.head.target(pixels, ids), trained.head.target(pixels, ids))


def test_a_file_for_the_model_does_not_reach_the_teacher(stored, tmp_path):
    _, config = stored
    other = tiny_mae(img_size=16)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2)
    torch.save(other.state_dict(), tmp_path / 'student.pth')
    model = student(config)
    before = copy.deepcopy(model.head.target.teacher.state_dict())
    load_pretrained(model, str(tmp_path / 'student.pth'))
    assert torch.equal(model.backbone.norm.weight, other.backbone.norm.weight)
    after = model.head.target.teacher.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_the_preprocessors_statistics_reach_the_target(stored):
    _, config = stored
    model = student(config)
    scale = torch.tensor([64 / 58.395, 64 / 57.12, 64 / 57.375])
    torch.testing.assert_close(model.head.target.scale.flatten(), scale)


def test_it_goes_where_the_model_goes():
    model = ReconstructionHead(8, target(vit())).to(torch.float64)
    assert model.target.teacher.norm.weight.dtype == torch.float64
    pixels = images().double()
    assert model.target(pixels, IDS).dtype == torch.float64
    assert copy.deepcopy(model).to('meta').target.teacher.norm.weight.is_meta
    assert not model.target.teacher.norm.weight.is_meta


def test_the_teacher_keeps_the_runs_precision_and_the_loss_has_float32():
    head = ReconstructionHead(8, target(vit()))
    seen = []
    head.target.teacher.blocks[0].attn.qkv.register_forward_hook(
        lambda module, args, out: seen.append(out.dtype)
    )
    predictions = torch.randn(2, 3, 16)
    plain = head.loss(predictions, images(), IDS)
    with torch.autocast('cpu', torch.bfloat16):
        loss = head.loss(predictions, images(), IDS)
    assert seen == [torch.float32, torch.bfloat16] and loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=0.05, atol=0)


class Wrong(nn.Module):
    embed_dims = 5

    def forward(self, pixels):
        return pixels.mean((2, 3))


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: target(dict(type='ViT', arch='tiny')), 'random weights.*init_cfg'),
        (lambda: target(nn.Conv2d(3, 4, 4, 4)), 'Conv2d does not say its width: set dims'),
        (lambda: target(nn.Conv2d(3, 4, 4, 4), dims=4), 'patch_size: set teacher_size'),
        (lambda: target(vit(), mean=[1.0], std=[1.0]), 'images have 1 channels, the teacher'),
        (
            lambda: target(Wrong(), teacher_size=8)(images(), IDS),
            r'Wrong gave features of shape \(2, 3\) for images of 8x8',
        ),
    ],
)
def test_what_cannot_teach_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_teacher_of_another_toolbox_is_loaded_whole_or_not_at_all(tmp_path):
    import mmpretrain.models  # noqa: F401

    _, config, state = clip_and_mmpretrains()
    file = tmp_path / 'clip.pth'
    config = config | dict(init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    wider = dict(config, arch=dict(config['arch'], embed_dims=48, feedforward_channels=192))
    lacking = {name: value for name, value in state.items() if not name.startswith('layers.1.')}
    for content, made, message in (
        (lacking, config, r'does not hold layers.*of VisionTransformer, whose random'),
        ({f'vision.{name}': state[name] for name in state}, config, 'give init_cfg the prefix'),
        (state, wider, r'cannot load .*clip\.pth: .*VisionTransformer: size mismatch'),
    ):
        torch.save(content, file)
        with pytest.raises(UserError, match=message):
            target(made, teacher_size=16)(images(), IDS)
    torch.save({f'vision.{name}': state[name] for name in state}, file)
    config['init_cfg']['prefix'] = 'vision'
    assert target(config, teacher_size=16)(images(), IDS).shape == (2, 3, 24)
