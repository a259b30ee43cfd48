"""The protocols of the paper from pretraining to their scores, through the command lines."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.registry import MODELS

PLAYGROUND = Path(__file__).resolve().parents[2] / 'configs/playground'


@pytest.mark.parametrize('protocol', ['finetune_classes', 'linear_classes'])
def test_the_labelled_sets_encoder_fits_its_protocols(protocol, tmp_path):
    """Nothing resized, nothing left at initialisation, and the file named is one that is kept."""
    pretraining = Config.fromfile(PLAYGROUND / 'mae_classes.py')
    encoder = MODELS.build(pretraining.model.backbone)
    path = tmp_path / 'epoch.pth'
    torch.save({f'backbone.{key}': value for key, value in encoder.state_dict().items()}, path)

    page = PLAYGROUND / f'{protocol}.py'
    report = load_pretrained(MODELS.build(Config.fromfile(page).model.backbone), str(path))
    assert not report.initial and not report.changed
    epochs = pretraining.train_cfg.max_epochs
    assert re.findall(r'mae_classes/epoch_(\d+)', page.read_text()) == [str(epochs)]
    assert epochs % pretraining.default_hooks.checkpoint.interval == 0
