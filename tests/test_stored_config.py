"""Configs inside checkpoints are read, never run."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.evaluation.stored_model import model_of_checkpoint
from mae_plugin.registry import MODELS

ROOT = Path(__file__).resolve().parents[1] / 'configs'
CONFIGS = sorted(path for path in ROOT.rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_read_as_it_was_written(path):
    cfg = Config.fromfile(path)
    assert literal_config(cfg.pretty_text) == cfg.to_dict()


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = __import__("os").system("true")',
        'a = dict(b=open("x"))',
        'a = dict([("b", 1)])',
        'a = dict(**{"b": 1})',
        'a = {**{"b": 1}}',
        'a = [x for x in (1, 2)]',
        'a = b = 1',
        'a.b = 1',
        'a, b = 1, 2',
        'a = (lambda: 1)()',
        'a = b.dict(c=1)',
        'def f(): pass',
        '1 + 1',
        'a = "x".upper()',
    ],
)
def test_code_is_refused_and_shown(text):
    with pytest.raises(ValueError, match=r'holds code, which is not run: ".+--config'):
        literal_config(text)


def test_text_that_is_no_python_is_refused():
    with pytest.raises(ValueError, match=r'cannot be read: invalid syntax.*line 1.*--config'):
        literal_config('a = = 1')


def test_literals():
    text = "a = -1.5e-3\nb = [(1, 'x'), None, True]\nc = dict(d=dict({'e f': 1, 2: dict()}))"
    assert literal_config(text) == dict(
        a=-1.5e-3, b=[(1, 'x'), None, True], c=dict(d={'e f': 1, 2: {}})
    )


def test_a_file_without_a_config_asks_for_one(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'weights.pth does not say which model.*--config'):
        model_of_checkpoint(tmp_path / 'weights.pth')


def test_a_config_of_another_kind_of_model_is_named(tmp_path):
    torch.save(dict(state_dict={}, meta=dict(cfg='a = 1')), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other.pth.*no model.*--config'):
        model_of_checkpoint(tmp_path / 'other.pth')


PART = """
from mae_plugin.models.decoder import MAEDecoder
from mae_plugin.registry import MODELS


@MODELS.register_module(force=True)
class PartOfMine(MAEDecoder):
    pass
"""


def test_a_part_of_ones_own_is_brought_by_the_config(tmp_path, monkeypatch):
    size = dict(img_size=16, patch_size=8)
    model = dict(
        type='MAE',
        backbone=dict(type='ViT', arch=dict(embed_dims=16, num_layers=1, num_heads=2), **size),
        decoder=dict(type='MAEDecoder', in_dims=16, embed_dims=16, depth=1, num_heads=2, **size),
        head=dict(
            type='ReconstructionHead', in_dims=16, target=dict(type='PixelTarget', patch_size=8)
        ),
        masking=dict(type='RandomMasking'),
    )
    weights = MODELS.build(model).state_dict()
    model['decoder']['type'] = 'PartOfMine'
    cfg = Config(dict(model=model))
    file = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=weights, meta=dict(cfg=cfg.pretty_text)), file)
    with pytest.raises(ValueError, match=r"epoch_1.pth has a part.*'PartOfMine'.*--config FILE"):
        model_of_checkpoint(file)

    cfg.dump(tmp_path / 'mine.py')
    with pytest.raises(ValueError, match=r"mine.py has a part.*'PartOfMine'.*custom_imports"):
        model_of_checkpoint(file, tmp_path / 'mine.py')

    (tmp_path / 'part_of_mine.py').write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    cfg.custom_imports = dict(imports=['part_of_mine'], allow_failed_imports=False)
    cfg.dump(tmp_path / 'mine.py')
    built = model_of_checkpoint(file, tmp_path / 'mine.py')
    assert type(built.decoder).__name__ == 'PartOfMine'
    assert torch.equal(built.decoder.embed.weight, weights['decoder.embed.weight'])
