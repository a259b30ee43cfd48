"""A checkpoint and a config of version 0.1 go on in this one, to the same weights."""

import shutil
from pathlib import Path

import pytest
import torch
from earlier_version import config, write_images
from mmengine.config import Config

import mae_plugin
from mae_plugin.engine.runner import build_runner

STORED = Path(__file__).parents[1] / 'data' / 'run_of_0_1_epoch_1.pth'
# After the second epoch of the uninterrupted run of version 0.1.
NORM = [0.976616, 0.998067, 1.01506, 0.986208, 0.978183, 0.978255, 1.001095, 0.999507]
BIAS = [-0.024443, -0.023763, 0.022185, -0.021411, -0.004049, -0.000116, -0.021773, -0.004291]


@pytest.fixture
def run(tmp_path):
    write_images(tmp_path / 'images')
    (tmp_path / 'run').mkdir()
    shutil.copy(STORED, tmp_path / 'run' / 'epoch_1.pth')
    return tmp_path


def test_it_resumes_to_the_same_weights(run):
    runner = build_runner(Config(config(run)), resume='auto')
    runner.train()
    assert (runner.epoch, runner.iter) == (2, 4)
    state = runner.model.state_dict()
    torch.testing.assert_close(
        state['backbone.norm.weight'], torch.tensor(NORM), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        state['head.pred.bias'][:8], torch.tensor(BIAS), rtol=1e-4, atol=1e-5
    )


def test_its_model_is_built_from_the_stored_config(run):
    model = mae_plugin.model_of_checkpoint(run / 'run' / 'epoch_1.pth')
    stored = torch.load(STORED, map_location='cpu', weights_only=True)['state_dict']
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    encoder, _ = mae_plugin.load_encoder(run / 'run' / 'epoch_1.pth')
    assert encoder.blocks[0].attn.num_heads == 2 and encoder.grid == (2, 2)
