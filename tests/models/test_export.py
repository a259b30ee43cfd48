"""Compiled and exported backbones give what they give otherwise, at sizes they have not seen."""

import io

import onnxruntime
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from mae_plugin.compat import TORCH
from mae_plugin.models import ViTBackbone
from mae_plugin.models.dense.window import window_partition, window_unpartition

pytestmark = pytest.mark.skipif(
    TORCH < (2, 7), reason='older torch has other interfaces for dynamic sizes'
)

# Whole patches, no whole patches, and the size that positions are made for; windows of 3 patches
# need padding in all of them.
SIZES = [(40, 56), (37, 51), (32, 32)]
KINDS = {
    'plain': dict(),
    'relative positions': dict(rel_pos_img_size=24),
    'windowed': dict(window_size=3, rel_pos_img_size=24, with_cls_token=False),
    'rotary': dict(positions=dict(type='RotaryPositions'), num_register_tokens=2),
    'antialias': dict(positions=dict(type='LearnedPositions', resize='bicubic-antialias')),
    'offset': dict(positions=dict(type='LearnedPositions', resize='bicubic-offset')),
}


def backbone(kind):
    torch.manual_seed(0)
    model = ViTBackbone(
        dict(embed_dims=16, num_layers=1, num_heads=2), img_size=32, patch_size=8, **KINDS[kind]
    )
    model.init_weights()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or 'rel_pos' in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def images(size, batch=2):
    return torch.randn(batch, 3, *size)


@pytest.mark.slow
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('kind', ['plain', 'windowed'])
def test_compiled_for_sizes_that_it_has_not_seen(kind, training):
    model = backbone(kind).train(training)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend('eager')
    compiled, frames = torch.compile(model, backend=counter, dynamic=True), []
    for size in SIZES:
        x, gradients = images(size), []
        for run in (compiled, model):
            out = run(x)[0]
            if training:
                model.zero_grad()
                out.square().mean().backward()
            gradients.append([p.grad for p in model.parameters() if p.grad is not None] + [out])
        torch.testing.assert_close(*gradients)
        frames.append(counter.frame_count)
    assert frames[0] == frames[1]  # nothing is compiled anew


class Windows(nn.Module):
    """Padding and windows of a backbone without what takes AOTAutograd half a minute."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        grid = x.shape[1:3]
        windows = window_partition(x.flatten(1, 2), 3, grid)
        return window_unpartition(self.linear(windows) * windows.mean(1, True), 3, grid)


@pytest.mark.slow
def test_windows_compile_ahead_of_time_with_their_gradients():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Windows()
    compiled = torch.compile(model, backend='aot_eager', dynamic=True)
    for grid in ((5, 7), (4, 6), (3, 8)):
        x, results = torch.randn(2, *grid, 3), []
        for run in (compiled, model):
            out = run(x)
            results.append([out, *torch.autograd.grad(out.square().mean(), model.parameters())])
        torch.testing.assert_close(*results)


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_exported_program_takes_any_batch_height_and_width(kind):
    model = backbone(kind).eval()
    sides = {dim: torch.export.Dim(name, min=16, max=512) for dim, name in ((2, 'h'), (3, 'w'))}
    shapes = ({0: torch.export.Dim('b', min=1, max=64)} | sides,)
    program = torch.export.export(model, (images(SIZES[1]),), dynamic_shapes=shapes)
    for size in SIZES:
        x = images(size, batch=3)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.filterwarnings('ignore')  # of torch's: tracing, and this exporter's age
def test_onnx_takes_any_batch_height_and_width(kind):
    model, file = backbone(kind).eval(), io.BytesIO()
    torch.onnx.export(
        model, (images(SIZES[1]),), file, dynamo=False, input_names=['images'],
        output_names=['map'],
        dynamic_axes=dict(images={0: 'b', 2: 'h', 3: 'w'}, map={0: 'b', 2: 'y', 3: 'x'}),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file.getvalue())
    for size in SIZES:
        x = images(size, batch=3)
        (found,) = session.run(None, dict(images=x.numpy()))
        torch.testing.assert_close(torch.from_numpy(found), model(x)[0], rtol=1e-4, atol=1e-5)
