"""A whole run, hooks included, never waits for the device between two log lines."""

import math

from mmengine.hooks import Hook
from tiny_run import build_runner, log_lines, mae_config, tiny_config
from torch.utils._python_dispatch import TorchDispatchMode

READS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero')


class Reads(TorchDispatchMode):
    """Counts the operators that need a value on the host."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in READS
        return func(*args, **(kwargs or {}))


class Watch(Hook):
    """Notes the reads of each iteration, up to the start of the next."""

    priority = 'LOWEST'

    def __init__(self, reads):
        self.reads, self.counts = reads, []

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


def test_no_iteration_waits_but_those_that_log(tmp_path, photos):
    config = as_on_an_accelerator(mae_config(tmp_path, photos, batch_size=8, epochs=2), 3)
    config['optim_wrapper'].update(
        type='BFloat16OptimWrapper', constructor='ViTOptimWrapperConstructor'
    )
    runner = build_runner(config, 'host-sync')
    reads = Reads()
    watch = Watch(reads)
    runner.register_hook(watch)
    with reads:
        runner.train()
    # At the start of each epoch of five the DataLoader draws its seed, on the CPU.
    assert len(watch.counts) == 10
    assert [index for index, count in enumerate(watch.counts) if count] == [0, 5]


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
