"""``inspect_checkpoint`` and ``export_checkpoint`` from the command line."""

import copy
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.models import CrossAttentionDecoder, PixelTarget, ReconstructionHead, ViT

from . import peers
from .models import Shell, mae, our_run, save, vit
from .peers import DIMS, PATCH

TOOLS = Path(__file__).parents[2] / 'tools'


def run_tool(name: str, *args: str) -> int:
    sys.argv = [name, *args]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')
    return stop.value.code


def test_export_tool(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [])
    source = peers.randomise(mae())
    run = save(our_run(source), tmp_path / 'epoch_1.pth')
    assert run_tool('export_checkpoint', run, '--to', 'timm') == 0
    assert 'epoch_1_timm.safetensors' in capsys.readouterr().out
    exported = load_file(tmp_path / 'epoch_1_timm.safetensors')
    assert torch.equal(exported['cls_token'], source.backbone.cls_token)

    args = (run, '--to', 'official', '--part', 'full', '--out', 'o.pth')
    assert run_tool('export_checkpoint', *args) == 0
    assert 'decoder_pred.weight' in safe_load('o.pth')['model']

    assert run_tool('export_checkpoint', run, '--to', 'timm', '--part', 'full') == 1
    assert 'timm has no MAE decoder' in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['inspect_checkpoint', 'export_checkpoint'])
def test_tools_trust_on_demand(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [])
    file = save(our_run(vit()) | dict(x=Shell(tmp_path / 'ran')), tmp_path / 'own.pth')
    arguments = [file] if tool == 'inspect_checkpoint' else [file, '--to', 'official']
    assert run_tool(tool, *arguments) == 1
    assert 'tools/export_checkpoint.py FILE --trust' in capsys.readouterr().err
    assert not (tmp_path / 'ran').exists()
    assert run_tool(tool, *arguments, '--trust') == 0
    assert (tmp_path / 'ran').exists()
    if tool == 'export_checkpoint':
        assert not load_pretrained(vit(), 'own_official.safetensors').initial


@pytest.mark.parametrize('tool', ['inspect_checkpoint', 'export_checkpoint'])
def test_tools_of_a_clone_use_its_package(tool, tmp_path):
    """Which need not be installed, or is installed from another clone."""
    (tmp_path / 'tools').mkdir()
    script = shutil.copy(TOOLS / f'{tool}.py', tmp_path / 'tools')
    (tmp_path / 'mae_plugin').mkdir()
    (tmp_path / 'mae_plugin' / '__init__.py').write_text("raise SystemExit('of the clone')")
    run = subprocess.run([sys.executable, script, '--help'], capture_output=True, text=True)
    assert run.stderr.strip() == 'of the clone'


def test_inspect_tool(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [])
    good = save(peers.official_full().content, tmp_path / 'good.pth')
    bad = save({'conv.weight': torch.ones(2)}, tmp_path / 'bad.pth')
    assert run_tool('inspect_checkpoint', good, bad) == 1
    out, err = capsys.readouterr()
    for text in (
        "MAE, official, with decoder, encoder under 'model.'",
        f'width {DIMS}, depth 2, MLP {4 * DIMS}, patch {PATCH}, 3 channels, 17 positions, '
        'with class token',
        '4x4 grid (images of 32 pixels), learned',
        'MAE decoder of 2 blocks, width 32',
    ):
        assert text in out
    outcome = {line.split(':')[0].strip(): line for line in out.splitlines() if ': ' in line}
    assert 'left at initialisation: nothing; ignored: nothing' in outcome['MAE']
    assert 'ignored: mask_token, decoder_pos_embed' in outcome['ViT']
    assert f'{bad}\n  cannot be used: no ViT encoder' in err


@pytest.mark.parametrize('noise', [0.0, 5.0])
def test_inspect_takes_the_grid_from_the_file(noise, tmp_path, capsys, monkeypatch):
    """A run on images of 48x80 pixels; positions that tell nothing need the run's config."""
    monkeypatch.setattr(sys, 'argv', [])
    model = mae(size=(48, 80))
    model.backbone.pos_embed.data += noise * torch.randn_like(model.backbone.pos_embed)
    run = our_run(model)
    if noise:
        run['meta']['cfg'] = f'model = dict(backbone=dict(img_size=(48, 80), patch_size={PATCH}))'
    assert run_tool('inspect_checkpoint', save(run, tmp_path / 'f')) == 0
    out = capsys.readouterr().out
    assert '6x10 grid (images of 48x80 pixels)' in out
    assert ('fixed sin-cos' in out) == (not noise)
    assert 'refused' not in out and out.count('left at initialisation: nothing') == 3


def test_inspect_tells_a_grid_that_cannot_be_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [])
    state = vit(img_size=(48, 80)).state_dict()
    state['pos_embed'] = torch.zeros_like(state['pos_embed'])
    assert run_tool('inspect_checkpoint', save(state, tmp_path / 'f')) == 0
    out = capsys.readouterr().out
    assert '61 rows, of no grid that can be told' in out and 'refused: ' in out


def test_inspect_tells_refusals(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [])
    assert (
        run_tool('inspect_checkpoint', save(peers.detectron2_vitdet().content, tmp_path / 'f'))
        == 0
    )
    out = capsys.readouterr().out
    assert 'detectron2 ViTDet' in out and 'no class token' in out
    assert 'refused: ' in out and 'use ViTBackbone' in out


def test_inspect_names_sizes_and_sincos(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [])
    path = save(ViT('tiny', 64, 16).state_dict(), tmp_path / 'f')
    assert run_tool('inspect_checkpoint', path) == 0
    out = capsys.readouterr().out
    assert 'tiny: width 192, depth 12' in out and 'fixed sin-cos' in out
    assert 'num_heads=3' in out


def inspected(content, tmp_path, capsys, monkeypatch):
    """What is said of a file, and the outcomes by model."""
    monkeypatch.setattr(sys, 'argv', [])
    assert run_tool('inspect_checkpoint', save(content, tmp_path / 'f')) == 0
    out = capsys.readouterr().out
    return out, {line.split(':')[0].strip(): line for line in out.splitlines() if ': ' in line}


@pytest.mark.parametrize('own', ['embed.weight', 'projection.weight'])
def test_inspect_goes_on_beside_a_decoder_of_ones_own(own, tmp_path, capsys, monkeypatch):
    run = our_run(mae())
    state = {k: v for k, v in run['state_dict'].items() if not k.startswith('decoder.')}
    state[f'decoder.{own}'] = torch.ones(32, DIMS)
    state['decoder.layers.0.weight'] = torch.ones(32, 32)
    out, outcome = inspected(dict(state_dict=state), tmp_path, capsys, monkeypatch)
    assert 'decoder of another kind' in out and own in out and 'MAE' not in outcome
    for name in ('ViT', 'ViTBackbone'):
        assert 'left at initialisation: nothing' in outcome[name]


@pytest.mark.parametrize('in_layers', [1, 2])
def test_inspect_tells_a_cross_attention_decoder(in_layers, tmp_path, capsys, monkeypatch):
    model = mae()
    model.decoder = CrossAttentionDecoder(
        DIMS, 24, 3, 4, img_size=32, patch_size=PATCH, mlp_ratio=2, in_layers=in_layers
    )
    model.head = ReconstructionHead(24, PixelTarget(PATCH))
    out, outcome = inspected(our_run(model), tmp_path, capsys, monkeypatch)
    assert 'cross-attention decoder of 3 blocks, width 24' in out and 'also' not in out
    assert 'left at initialisation: nothing; ignored: nothing' in outcome['MAE']
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.zero_()
    report = load_pretrained(other, str(tmp_path / 'f'))
    assert not report.initial and not report.ignored
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
