"""What a training step costs, in counts that cannot flake: FLOPs, kernels, graphs, host syncs."""

import copy
from collections import Counter

import pytest
import torch
from maskings import KINDS
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mae_plugin import compat
from mae_plugin.errors import UserError
from mae_plugin.models import MAE

SIZE, PATCH, WIDTH, DIMS = 32, 4, 24, 16
PATCHES, KEPT, MASKED, VALUES = 64, 16, 48, 48
aten = torch.ops.aten


def attention_flops(query, key, *_, **__) -> int:
    return 2 * 2 * query[0] * query[1] * query[2] * key[2] * query[3]


def attention_backward_flops(_, query, key, *__, **___) -> int:
    return 2 * attention_flops(query, key)


# The name since torch 2.2; older ones share the GPU's.
ATTENTION = '_scaled_dot_product_flash_attention' + '_for_cpu' * hasattr(
    aten, '_scaled_dot_product_flash_attention_for_cpu'
)
CPU_ATTENTION = {
    getattr(aten, ATTENTION): attention_flops,
    getattr(aten, f'{ATTENTION}_backward'): attention_backward_flops,
}


class Operators(TorchDispatchMode):
    """Every operator that runs, with its arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls.append((func.overloadpacket.__name__, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def kernels(self) -> Counter:
        """Operators that move or compute data; views are free."""
        views = (
            'view',
            't',
            'transpose',
            'expand',
            'slice',
            'split',
            'unsqueeze',
            'detach',
            'permute',
        )
        views += ('_unsafe_view', 'select', 'alias', 'as_strided', 'squeeze', 'unflatten')
        return Counter(name for name, *_ in self.calls if name not in views)


def build_mae(
    depth=2, decoder_depth=2, decoder='MAEDecoder', masking='RandomMasking',
    target='PixelTarget', **kwargs,
):  # fmt: skip
    target = dict(type=target, patch_size=PATCH)
    if target['type'] == 'PCATarget':
        target['num_components'] = 8
    shape = dict(img_size=SIZE, patch_size=PATCH)
    arch = dict(embed_dims=WIDTH, num_layers=depth, num_heads=2)
    decoder = dict(
        type=decoder, in_dims=WIDTH, embed_dims=DIMS, depth=decoder_depth, num_heads=2, **shape
    )
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(type='ViT', arch=arch, **shape),
        decoder=decoder,
        head=dict(type='ReconstructionHead', in_dims=DIMS, target=target),
        masking=dict(type=masking),
        data_preprocessor=dict(type='MAEDataPreprocessor'),
        **kwargs,
    )
    model.init_weights()
    return model


CROSS = dict(decoder='CrossAttentionDecoder', prediction_ratio=0.25)


def block_macs(tokens, width, queries=None):
    """Multiply-adds of a self-attention block that computes ``queries`` of its tokens."""
    queries = tokens if queries is None else queries
    projections = 2 * tokens * width**2 + 10 * queries * width**2
    return projections + 2 * queries * tokens * width


def useful_macs(batch, depth, decoder_depth, cross):
    """Forward: the encoder on the visible patches, the decoder on what the loss needs."""
    macs = KEPT * VALUES * WIDTH + depth * block_macs(KEPT + 1, WIDTH) + (KEPT + 1) * WIDTH * DIMS
    if cross:
        predicted = PATCHES // 4
        per_block = 10 * predicted * DIMS**2 + 2 * (KEPT + 1) * DIMS**2
        macs += decoder_depth * (per_block + 2 * predicted * (KEPT + 1) * DIMS)
    else:
        predicted = MASKED
        macs += (decoder_depth - 1) * block_macs(PATCHES + 1, DIMS)
        macs += block_macs(PATCHES + 1, DIMS, queries=MASKED)
    return batch * (macs + predicted * DIMS * VALUES)


@pytest.mark.parametrize('cross', [False, True])
def test_step_does_the_useful_operations_and_no_others(cross):
    model = build_mae(depth=3, decoder_depth=2, **(CROSS if cross else {}))
    images = torch.randn(2, 3, SIZE, SIZE)
    forward = 2 * useful_macs(2, 3, 2, cross)
    # The backward pass costs twice the forward one, but nobody asks for the images' gradient.
    backward = 2 * forward - 2 * 2 * KEPT * VALUES * WIDTH
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        loss = model.loss(images)['loss']
        assert counter.get_total_flops() == forward
        loss.backward()
        assert counter.get_total_flops() == forward + backward


def test_checkpointing_recomputes_blocks_alone():
    model = build_mae()
    model.backbone.use_checkpoint = model.decoder.use_checkpoint = True
    images = torch.randn(2, 3, SIZE, SIZE)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        model.loss(images)['loss'].backward()
    forward = 2 * useful_macs(2, 2, 2, cross=False)
    outside = 2 * 2 * (KEPT * VALUES * WIDTH + (KEPT + 1) * WIDTH * DIMS + MASKED * DIMS * VALUES)
    # Saved inputs make the last product of a block's branches needless to recompute.
    recomputed = counter.get_total_flops() - (3 * forward - 2 * 2 * KEPT * VALUES * WIDTH)
    assert 0 < recomputed <= forward - outside


def kernels_of_a_step(**sizes) -> tuple[Counter, Counter]:
    model = build_mae(**sizes)
    images = torch.randn(2, 3, SIZE, SIZE)
    ids_keep, ids_masked = model.mask(images)
    with Operators() as forward:
        loss = model.masked_loss(images, ids_keep, ids_masked)
    with Operators() as backward:
        loss.backward()
    return forward.kernels(), backward.kernels()


FORWARD_BLOCK = dict(native_layer_norm=2, addmm=4, gelu=1, add=2, **{ATTENTION: 1})
BACKWARD_BLOCK = dict(
    native_layer_norm_backward=2, mm=8, sum=4, gelu_backward=1, add=2, cat=1,
    **{f'{ATTENTION}_backward': 1},
)  # fmt: skip


@pytest.mark.parametrize('grown', ['depth', 'decoder_depth'])
def test_a_block_runs_these_kernels_and_copies_nothing(grown):
    few, more = kernels_of_a_step(), kernels_of_a_step(**{grown: 3})
    assert more[0] - few[0] == Counter(FORWARD_BLOCK)
    assert more[1] - few[1] == Counter(BACKWARD_BLOCK)


def test_a_cross_attention_block_runs_these_kernels():
    few, more = kernels_of_a_step(**CROSS), kernels_of_a_step(decoder_depth=3, **CROSS)
    assert more[0] - few[0] == Counter(FORWARD_BLOCK | dict(addmm=5))
    # One more product, and one more gradient to add where all blocks read the visible tokens.
    expected = Counter(BACKWARD_BLOCK | dict(mm=10, sum=5)) + Counter(add=1)
    assert more[1] - few[1] == expected


def test_kernels_do_not_grow_with_batch_or_image():
    def count(batch, size):
        model = build_mae()
        images = torch.randn(batch, 3, size, size)
        with Operators() as operators:
            model.loss(images)['loss'].backward()
        return operators.kernels()

    assert count(2, SIZE) == count(5, SIZE)
    assert count(2, 2 * SIZE) == count(2, 3 * SIZE)


def samples(keys):
    return [BaseDataElement(metainfo=dict(sample_key=key)) for key in keys]


@pytest.mark.slow
@pytest.mark.parametrize('target', ['PixelTarget', 'PCATarget'])
@pytest.mark.parametrize('masking', KINDS)
@pytest.mark.parametrize('cross', [False, True])
def test_step_never_waits_for_the_device(masking, target, cross):
    """On the meta device nobody can read values; only keys and pixels come from the host."""
    model = build_mae(masking=masking, target=target, **(CROSS if cross else {}))
    if target == 'PCATarget':
        model.head.target.fit(torch.zeros(VALUES), torch.eye(VALUES))
    model.to('meta')
    batch = dict(
        inputs=[torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)] * 2, data_samples=samples([5, 6])
    )
    with Operators() as operators:
        data = model.data_preprocessor(batch, training=True)
        loss = model(**data, mode='loss')['loss']
        loss.backward()
    names = {name for name, *_ in operators.calls}
    assert not names & {'_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'equal'}
    copies = [
        kwargs
        for name, args, kwargs in operators.calls
        if name == '_to_copy' and args[0].device.type != kwargs.get('device', args[0].device).type
    ]
    assert len(copies) == 2
    assert all(kwargs.get('non_blocking') for kwargs in copies)


@pytest.mark.slow
@pytest.mark.parametrize('cross, autocast', [(False, False), (True, True)])
def test_compiles_to_one_graph_once(cross, autocast):
    if compat.TORCH < (2, 4):
        with pytest.raises(UserError, match=r'compile of a MAE needs torch 2\.4'):
            build_mae(compile=True)
        return
    torch._dynamo.reset()
    counter = CompileCounter()  # counts graphs, and runs them eagerly
    model = build_mae(compile=dict(backend=counter), **(CROSS if cross else {}))
    for step in range(3):
        images = torch.randn(2, 3, SIZE, SIZE)
        keys = samples([step, step + 9])
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            loss = model(images, keys, mode='loss')['loss']
            expected = model.masked_loss(images, *model.mask(images, keys))
        loss.backward()
        torch.testing.assert_close(loss, expected)
    assert counter.frame_count == 1

    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.pred.bias += 1
        assert twin(images, keys, mode='loss')['loss'] != model(images, keys, mode='loss')['loss']


def test_bfloat16_autocast_is_close_and_keeps_the_loss_in_float32():
    model = build_mae()
    images = torch.randn(4, 3, SIZE, SIZE)
    ids = model.mask(images, samples(range(4)))
    exact = model.masked_loss(images, *ids)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.masked_loss(images, *ids)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=2e-2, atol=0)


def test_gradient_accumulation_is_exact():
    images = torch.randn(8, 3, SIZE, SIZE, dtype=torch.float64)
    gradients = []
    for parts in (1, 4):
        model = build_mae().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        wrapper = OptimWrapper(optimizer, accumulative_counts=parts)
        wrapper.initialize_count_status(model, 0, parts)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        for part, keys in zip(images.chunk(parts), torch.arange(8).chunk(parts)):
            loss = model(part, samples(keys.tolist()), mode='loss')['loss']
            wrapper.update_params(loss)
        gradients.append({n: before[n] - p.detach() for n, p in model.named_parameters()})
    for name, whole in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-9, atol=1e-12)
