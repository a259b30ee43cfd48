"""Benchmarks: light to start, fair in turn, their peers the real algorithm; no timing asserted."""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))

from benchmark import main
from benchmarks.matmul import StepProducts
from benchmarks.memory import peak_bytes
from benchmarks.official_mae import OfficialMAE
from benchmarks.report import Report, Stat, alternate, number, processor, ratio
from benchmarks.scaling import add_arguments, exponent, report_sweep

from mae_plugin.compat import TORCH
from mae_plugin.engine.cpu_tuning import OneDNNLinear
from mae_plugin.models import MAE
from mae_plugin.models.masking import split_by_noise

ROOT = Path(__file__).parents[2]
needs_stances = pytest.mark.skipif(
    TORCH < (2, 6), reason='before torch 2.6 these benchmarks say that they need it'
)


@pytest.mark.parametrize('script', ['train.py', 'test.py', 'dev/benchmark.py', 'dev/gpu_check.py'])
def test_help_imports_no_torch(script):
    code = (
        'import runpy, sys\n'
        f'sys.argv = [{script!r}, "--help"]\n'
        'try:\n'
        f'    runpy.run_path({str(ROOT / "tools" / script)!r}, run_name="__main__")\n'
        'except SystemExit as end:\n'
        '    assert not end.code\n'
        'heavy = {"torch", "mmengine", "mmcv", "numpy", "cv2"} & set(sys.modules)\n'
        'assert not heavy, heavy\n'
    )
    path = str((ROOT / 'tools' / script).parent)  # as for a script that is run by its path
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.path.insert(0, {path!r})\n{code}'],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'usage:' in done.stdout


def test_the_tools_that_it_uses_are_found_from_a_clone(tmp_path):
    script = ROOT / 'tools/dev/benchmark.py'
    code = f'import runpy; runpy.run_path({str(script)!r}); import make_shards'
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, check=True)


def test_contestants_take_turns_and_warm_up_is_not_counted():
    order = []

    def contestant(name):
        return lambda: order.append(name) or len(order)

    values = alternate({name: contestant(name) for name in 'abc'}, rounds=2, warmup=1)
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == ['a', 'b', 'c']
    assert order[3] != order[6]
    assert {name: len(v) for name, v in values.items()} == dict(a=2, b=2, c=2)
    assert min(min(v) for v in values.values()) == 4


def test_report_holds_medians_spread_and_every_measurement(tmp_path):
    assert [number(x) for x in (0, 1234.5, 12.345, 0.012345)] == ['0', '1234', '12.3', '0.0123']
    stat = Stat([5, 1, 3, 2, 4])
    assert (stat.median, stat.quartiles, str(stat)) == (3, (2, 4), '3.00 (2.00 to 4.00)')
    with pytest.raises(ValueError, match='at least one round'):
        Stat([])
    assert ratio([2, 9, 8], [1, 3, 4]).values == [2, 2, 3]  # round by round
    report = Report('My title', dict(batch_size=2))
    report.table('Numbers', [dict(name='x', time=stat), dict(name='y', extra=0.5)])
    report.note('a remark')
    report.plot('Growth', dict(line=([1, 2, 4], [1.0, 2.0, 4.0])), 'size', 's')
    report.finish(str(tmp_path))
    text = (tmp_path / 'my_title.md').read_text()
    assert '| x | 3.00 (2.00 to 4.00) |  |' in text and '| y |  | 0.500 |' in text
    assert 'batch size: 2' in text and '- a remark' in text and '(growth.png)' in text
    saved = json.loads((tmp_path / 'my_title.json').read_text())
    assert saved['tables']['Numbers'][0]['time']['values'] == [1, 2, 3, 4, 5]
    assert (tmp_path / 'growth.png').read_bytes()[:4] == b'\x89PNG'


def test_exponent_is_the_power():
    assert exponent([1, 2, 5, 7], [3 * x**1.7 for x in (1, 2, 5, 7)]) == pytest.approx(1.7)


@needs_stances
def test_peak_memory_counts_what_is_alive_at_once():
    x = torch.zeros(1000, 1000)

    def work():
        a = x + 1  # 4 MB
        b = a + 1  # 8 MB
        del a
        return (b + 1).sum()  # 8 MB

    work()
    assert peak_bytes(work) == pytest.approx(8e6, rel=0.01)


@needs_stances
def test_products_of_a_step_are_counted_forward_and_backward():
    linear = torch.nn.Linear(6, 8)
    x = torch.randn(5, 6)
    counted = StepProducts(lambda: linear(x).sum().backward())
    assert counted.flops == 2 * 2 * 5 * 6 * 8  # no gradient of the input
    assert sorted(sorted(shape) for shape in counted.shapes) == [[5, 6, 8], [5, 6, 8]]
    with OneDNNLinear(least_work=0):
        through_onednn = StepProducts(lambda: linear(x).sum().backward())
    assert through_onednn.flops == counted.flops and len(through_onednn.shapes) == 2
    q = torch.randn(2, 3, 4, 8, requires_grad=True)
    k = torch.randn(2, 3, 7, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    counted = StepProducts(lambda: attention(q, k, k).sum().backward())
    assert counted.flops == 3 * 2 * 2 * (2 * 3 * 4 * 7 * 8)
    conv = torch.nn.Conv2d(3, 10, 4, 4)
    images = torch.randn(2, 3, 8, 8)
    counted = StepProducts(lambda: conv(images).sum().backward())
    assert counted.flops == 2 * 2 * (2 * 4 * 48 * 10)


def test_official_peer_computes_our_loss(monkeypatch):
    torch.manual_seed(0)
    peer = OfficialMAE(48, 2, 4, 32, 8, decoder_embed_dim=32, decoder_depth=2, decoder_num_heads=2)
    # timm 1.x normalises with 1e-6 too; the official code passes it on.
    shape = dict(img_size=32, patch_size=8)
    model = MAE(
        backbone=dict(
            type='ViT', arch=dict(embed_dims=48, num_layers=2, num_heads=4), **shape
        ),
        decoder=dict(
            type='MAEDecoder', in_dims=48, embed_dims=32, depth=2, num_heads=2, **shape
        ),
        head=dict(
            type='ReconstructionHead', in_dims=32, target=dict(type='PixelTarget', patch_size=8)
        ),
    )  # fmt: skip
    names = {
        'decoder_embed.': 'decoder.embed.', 'decoder_pos_embed': 'decoder.pos_embed',
        'decoder_blocks.': 'decoder.blocks.', 'decoder_norm.': 'decoder.norm.',
        'decoder_pred.': 'head.pred.', 'mask_token': 'decoder.mask_token',
    }  # fmt: skip
    state = {}
    for key, value in peer.state_dict().items():
        prefix = next((old for old in names if key.startswith(old)), None)
        state[names[prefix] + key[len(prefix) :] if prefix else f'backbone.{key}'] = value
    model.load_state_dict(state, strict=True)
    noise = torch.rand(3, 16)
    monkeypatch.setattr(torch, 'rand', lambda *args, **kwargs: noise)
    monkeypatch.setattr(
        model.masking, 'forward', lambda *args: split_by_noise(noise, mask_ratio=0.75)
    )
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(model.loss(images)['loss'], peer(images), rtol=1e-5, atol=1e-6)


@needs_stances
@pytest.mark.slow
def test_train_compares_all_that_are_installed(tmp_path):
    size = ['--arch', 'tiny', '--img-size', '32', '--batch-size', '1', '--decoder-depth', '1']
    main(['train', *size, '--decoder', 'cross', '--rounds', '1', '--out', str(tmp_path)])
    saved = json.loads((tmp_path / 'training_step.json').read_text())
    rows = {row['model']: row for row in saved['tables']['Training step']}
    ours, cross = rows.pop('mae_plugin'), rows.pop('mae_plugin, cross decoder')
    assert ours['parameter groups'] == 2 and ours['fused'] == 'True'
    assert cross['GFLOP per image'] < ours['GFLOP per image']
    assert set(rows) == {'mmpretrain MAE', 'HF ViTMAE', 'official on timm'}
    for row in rows.values():
        assert ours['GFLOP per image'] < row['GFLOP per image']
        memory = 'peak activations and gradients (MiB)'
        assert ours[memory] < row[memory]


@needs_stances
@pytest.mark.slow
def test_a_cluster_on_paper(tmp_path):
    sizes = ['--gpus', '8', '512', '--network-gbs', '400', '--out', str(tmp_path)]
    main(['cluster', *sizes, '--tflops', '100', '--inside-gbs', '200'])
    saved = json.loads((tmp_path / 'scaling_on_paper.json').read_text())
    model = saved['tables']['Models, counted'][0]
    torch.manual_seed(0)
    from benchmarks.contestants import Options, ours

    real = ours(Options(batch_size=1))
    trained = sum(p.numel() for p in real.model.parameters() if p.requires_grad)
    assert model['parameters, encoder and decoder (M)'] == pytest.approx(trained / 1e6)
    flops = StepProducts(real.forward_backward).flops
    assert model['GFLOP per image, forward + backward'] == pytest.approx(flops / 1e9, rel=1e-3)
    small, large = saved['tables']['A step, with 400 GB/s between machines'][:2]
    # 512 images each at 100 TFLOP/s; 7/8 of the gradients, twice, at 200 GB/s.
    assert small['computation (ms)'] == pytest.approx(512 * flops / 1e14 * 1e3, rel=1e-3)
    assert small['DDP sends (ms)'] == pytest.approx(2 * 7 / 8 * 4 * trained / 2e11 * 1e3)
    assert small['FSDP sends (ms)'] == pytest.approx(1.5 * small['DDP sends (ms)'])
    assert large['computation (ms)'] == pytest.approx(small['computation (ms)'] / 64)
    between = 2 * 63 / 64 * 4 * trained / 4e11 * 1e3
    assert large['DDP sends (ms)'] == pytest.approx(small['DDP sends (ms)'] + between)
    assert (small['bound by'], large['bound by']) == ('computation', 'network')


@needs_stances
@pytest.mark.slow
def test_scaling_reports_growth():
    parser = ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(
        ['--arch', 'tiny', '--img-size', '32', '--rounds', '1', '--decoder', 'cross']
    )
    report = Report('Growth', {})
    report_sweep(report, 'batch_size', 'batch', [1, 2], args)
    rows = report.tables['Against batch']
    assert [row['patches in the batch'] for row in rows] == [4, 8]
    assert rows[0]['peak activations (MiB)'] < rows[1]['peak activations (MiB)']
    assert len(report.plots) == 2 and 'memory' in report.notes[0]


def test_the_processor_is_told_with_its_generation(tmp_path):
    """Zen 4 and Zen 5 are both 'AMD EPYC' to a virtual machine."""
    info = tmp_path / 'cpuinfo'
    core = 'processor\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n\n'
    for family, model in ((26, 2), (25, 17)):
        info.write_text(''.join(core.format(number, family, model) for number in range(2)))
        assert processor(info) == f'AMD EPYC, family {family} model {model}'
    info.write_text('processor\t: 0\nCPU part\t: 0xd40\n')
    assert processor(info) and 'family' not in processor(info)
    assert processor(tmp_path / 'absent')
