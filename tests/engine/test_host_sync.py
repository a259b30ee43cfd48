"""A whole run, hooks included, never waits for the device between two log lines."""

import math
from contextlib import ExitStack

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import build_runner, log_lines, mae_config, tiny_config
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mae_plugin import compat

OPERATORS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero')
# On the CPU these start no operator: they are seen where Python calls them.
METHODS = ('item', 'tolist', 'numpy', '__array__', 'cpu', '__bool__', '__float__', '__int__')


class Reads(TorchFunctionMode):
    """Counts what needs a device's values on the host, called from Python or from C++."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        # What workers and the main process share is the host's anyway.
        if args and isinstance(args[0], torch.Tensor) and args[0].is_shared():
            name = 'of the host'
        # A device in a variable is the model's, which is the CPU only here.
        to_host = name == 'to' and any(isinstance(arg, str) and arg == 'cpu' for arg in args[1:])
        self.count += name in METHODS or to_host
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._stack = ExitStack()
        self._stack.enter_context(_Operators(self))
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._stack.close()


class _Operators(TorchDispatchMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads.count += func.overloadpacket.__name__ in OPERATORS
        return func(*args, **(kwargs or {}))


READERS = dict(
    item=torch.Tensor.item,
    tolist=torch.Tensor.tolist,
    cpu=torch.Tensor.cpu,
    to=lambda tensor: tensor.to('cpu'),
    numpy=torch.Tensor.numpy,
    float=float,
    bool=lambda tensor: bool(tensor > 0),
    index=lambda tensor: tensor[tensor > 0],
    format=lambda tensor: f'{tensor:.2f}',
)


@pytest.mark.parametrize('reader', READERS)
def test_every_way_to_read_a_value_is_counted(reader):
    with Reads() as reads:
        loss = torch.ones(()) * 2
        assert reads.count == 0
        READERS[reader](loss)
    assert reads.count > 0


class Watch(Hook):
    """Notes the reads of each iteration, up to the start of the next."""

    priority = 'LOWEST'

    def __init__(self, reads):
        self.reads, self.counts = reads, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:  # what came before is the start of the run
            self.reads.count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.counts.append(self.reads.count)
        self.reads.count = 0


def as_on_an_accelerator(config, interval):
    """The hooks read values as they do there; the optimizer is the fused one of our configs."""
    config['custom_hooks'] = [
        hook for hook in config['custom_hooks'] if hook['type'] != 'NonFiniteGuard'
    ]
    config['custom_hooks'].append(dict(type='NonFiniteGuard', every_iteration=False))
    config['default_hooks'].update(
        logger=dict(type='LoggerHook', interval=interval),
        checkpoint=dict(type='CheckpointHook', interval=100),
    )
    config['optim_wrapper']['optimizer']['fused'] = True
    return config


@pytest.mark.skipif(
    compat.TORCH < (2, 4), reason='before torch 2.4 optimizers are fused on CUDA alone'
)
def test_no_iteration_waits_but_those_that_log(tmp_path, photos):
    config = as_on_an_accelerator(mae_config(tmp_path, photos, batch_size=8, epochs=3), 3)
    config['optim_wrapper'].update(
        type='BFloat16OptimWrapper', constructor='ViTOptimWrapperConstructor'
    )
    config['custom_hooks'] += [dict(type='BadImagesHook', interval=1)]
    # Decoding is the workers' work: what it reads is no device's.
    config['train_dataloader'].update(num_workers=1, persistent_workers=True)
    runner = build_runner(config, 'host-sync')
    reads = Reads()
    watch = Watch(reads)
    runner.register_hook(watch)
    with reads:
        runner.train()
    assert len(watch.counts) == 15
    # Iterations 3 of each epoch of five log; the last of an epoch reads what is left.
    assert [index % 5 for index, count in enumerate(watch.counts) if count] == [2, 4] * 3


@pytest.mark.skipif(
    compat.TORCH < (2, 4), reason='before torch 2.4 optimizers are fused on CUDA alone'
)
def test_values_read_late_are_the_same(tmp_path):
    """Losses of every iteration, skipped steps, log lines: as when each is read at once."""
    found = []
    for name in ('at_once', 'late'):
        config = tiny_config(tmp_path / name)
        config['model'].update(poison={1: 'loss', 6: 'grad'}, dropout=0.0)
        config['custom_hooks'].append(dict(type='NonFiniteGuard'))
        config = as_on_an_accelerator(config, 3)
        if name == 'at_once':
            config['custom_hooks'][-1]['every_iteration'] = True
        runner = build_runner(config, f'host-sync-{name}')
        runner.train()
        hub = runner.message_hub
        record = (tmp_path / name / 'non_finite_rank0.txt').read_text()
        assert [line.split('\t')[0] for line in record.splitlines()] == [
            'iteration 2',
            'iteration 7',
        ]
        history = hub.get_scalar('train/loss').data
        assert len(history[0]) == 9 and all(map(math.isfinite, history[0]))
        weights = {k: v.tolist() for k, v in runner.model.state_dict().items()}
        found.append((history[0].tolist(), hub.get_info('skipped_steps'), weights))
        found[-1] += (log_lines(tmp_path / name),)
    assert found[0] == found[1]
