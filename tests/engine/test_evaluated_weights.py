"""What is evaluated was in the file: a part that was not is named, and nothing is scored."""

import copy

import pytest
import torch
from mmengine.config import Config
from tiny_run import mae_config, tiny_config

from mae_plugin.engine.runner import build_runner
from mae_plugin.evaluation.stored_model import model_of_checkpoint
from mae_plugin.registry import MODELS

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)


def classifier(pool='avg', norm='layer', num_classes=3):
    return dict(
        type='ImageClassifier',
        backbone=dict(type='mae_plugin.ViT', arch=ARCH, img_size=32, final_norm=norm != 'layer'),
        neck=dict(type='mae_plugin.TokenPool', dims=32, pool=pool, norm=norm),
        head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=32),
        _scope_='mmpretrain',
    )


def segmentor(**backbone):
    head = dict(type='FCNHead', in_channels=32, channels=32, num_convs=0, num_classes=2)
    head |= dict(in_index=0, concat_input=False)
    return dict(
        type='EncoderDecoder',
        backbone=dict(type='mae_plugin.ViTBackbone', arch=ARCH, img_size=32, **backbone),
        decode_head=head,
        auxiliary_head=head,
        test_cfg=dict(),
        _scope_='mmseg',
    )


def mae():
    return mae_config('work', 'photos', 8)['model'] | dict(_scope_='mae_plugin')


def stored(model):
    return Config(dict(model=copy.deepcopy(model))).pretty_text


def state_of(model, leave_out=()):
    """A model's weights, all of them drawn anew, less some parts."""
    built = MODELS.build(Config(dict(model=copy.deepcopy(model))).model)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in built.state_dict().items()
    }
    return {name: tensor for name, tensor in state.items() if not name.startswith(leave_out)}


def evaluate(model, state, folder, **meta):
    """Load a file as ``tools/test.py`` does, and give back the model."""
    file = folder / 'file.pth'
    torch.save(dict(state_dict=state, meta=meta), file)
    run = dict(work_dir=str(folder), launcher='none', experiment_name=folder.name)
    cfg = Config(dict(model=copy.deepcopy(model), **run))
    runner = build_runner(cfg, load_from=str(file))
    runner.load_or_resume()
    return runner.model


@pytest.mark.parametrize(
    ('model', 'leave_out', 'named'),
    [
        (classifier(), ('head.', 'neck.'), r'neck\.fc_norm\.weight, .*head\.fc\.weight'),
        (classifier('cls', 'batch'), ('neck.',), r'neck\.fc_norm\.running_mean'),
        (classifier('cls', None), ('backbone.norm.',), r'backbone\.norm\.weight'),
        (mae(), ('decoder.', 'head.'), r'decoder\.\* \('),
        (mae(), ('decoder.norm.',), r'decoder\.\* \('),
        (segmentor(), ('decode_head.',), r'decode_head\.conv_seg\.weight'),
        (segmentor(layer_scale_init=0.1), ('backbone.blocks.0.gamma_1',), r'blocks\.\*\.gamma_1'),
    ],
    ids=['head', 'batch norm', 'final norm', 'decoder', 'part of it', 'segmentation', 'scale'],
)
def test_a_part_that_the_file_lacks_is_named(model, leave_out, named, tmp_path):
    state = state_of(model, leave_out)
    with pytest.raises(ValueError, match=rf'file\.pth does not hold .*{named}.*--pretrained'):
        evaluate(model, state, tmp_path)


@pytest.mark.parametrize(
    'model',
    [classifier(), classifier('cls', 'batch'), mae(), segmentor(), segmentor(rel_pos_img_size=64)],
    ids=['fine-tuned', 'linear probe', 'mae', 'segmentor', 'relative positions'],
)
def test_whole_files_are_evaluated(model, tmp_path):
    state = state_of(model)
    loaded = evaluate(model, state, tmp_path).state_dict()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ('leave_out', 'backbone'),
    [
        ('auxiliary_head.', {}),
        ('backbone.blocks.0.attn.rel_pos', dict(rel_pos_img_size=32)),
        ('backbone.blocks.0.gamma', dict(layer_scale_init=1.0)),
    ],
)
def test_parts_that_change_nothing_may_be_missing(leave_out, backbone, tmp_path):
    model = segmentor(**backbone)
    evaluate(model, state_of(model, leave_out), tmp_path)


def test_a_head_of_another_shape_is_no_head(tmp_path):
    state = state_of(classifier(num_classes=5))
    with pytest.raises(ValueError, match=r'head\.fc\.weight is \(5, 32\) for \(3, 32\)'):
        evaluate(classifier(), state, tmp_path)


def test_a_head_that_was_trained_on_another_feature(tmp_path):
    trained = classifier('cls', None)
    with pytest.raises(ValueError, match=r"trained on pool='cls' .*has pool='avg'.*of no worth"):
        evaluate(classifier('avg', None), state_of(trained), tmp_path, cfg=stored(trained))


def test_an_official_fine_tuned_file_is_evaluated(tmp_path):
    """Under its own names, which no state dict of ours has."""
    state = state_of(classifier())
    official = {
        name.replace('backbone.', '').replace('neck.', '').replace('head.fc', 'head'): tensor
        for name, tensor in state.items()
    }
    loaded = evaluate(classifier(), official, tmp_path).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_models_without_an_encoder_of_ours(tmp_path):
    cfg = Config(tiny_config(tmp_path, 1))
    state = MODELS.build(cfg.model).state_dict()
    lost = next(iter(state))
    torch.save(dict(state_dict={k: v for k, v in state.items() if k != lost}), tmp_path / 'f.pth')
    runner = build_runner(cfg, load_from=str(tmp_path / 'f.pth'))
    with pytest.raises(ValueError, match=f'does not hold {lost}'):
        runner.load_or_resume()


def test_test_time_augmentation_looks_into_its_model(tmp_path):
    model = dict(type='mmpretrain.AverageClsScoreTTA', module=classifier())
    state = state_of(classifier())
    loaded = evaluate(copy.deepcopy(model), state, tmp_path).module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    state = {name: tensor for name, tensor in state.items() if not name.startswith('head.')}
    (tmp_path / 'again').mkdir()
    with pytest.raises(ValueError, match=r'does not hold head\.fc\.weight'):
        evaluate(model, state, tmp_path / 'again')


def test_a_reconstruction_needs_a_decoder(tmp_path):
    state = state_of(mae(), ('decoder.', 'head.'))
    torch.save(dict(state_dict=state, meta=dict(cfg=stored(mae()))), tmp_path / 'f.pth')
    with pytest.raises(ValueError, match=r'does not hold decoder\.\*.*checkpoint of the whole'):
        model_of_checkpoint(tmp_path / 'f.pth')
