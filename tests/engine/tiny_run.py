"""A run small enough to be killed many times: 8 px images, a dropout that needs the RNG."""

import json
import os
import signal
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset, get_worker_info

WIDTH = 32  # of the small MAE's encoder


@DATASETS.register_module(force=True)
class TinyImages(Dataset):
    """Noise images, a function of (pass, index).

    Args:
        length: Number of images.
        faults: Folder in which a file ``<name>-<index>`` makes that sample fail once:
            ``kill`` (the worker dies), ``hang`` or ``raise``.
        deadly: Index of the sample that kills its worker every time.
    """

    metainfo = dict(classes=('noise',))

    def __init__(self, length=21, faults=None, deadly=None, seed=None):
        self.length, self.faults, self.deadly, self.seed = length, faults, deadly, seed
        self.current = torch.full((8,), -1).share_memory_()

    def worker_files(self):
        """The file that each worker is on."""
        return {i: f'img-{int(n)}.png' for i, n in enumerate(self.current) if n >= 0}

    def __len__(self):
        return self.length

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        worker = get_worker_info()
        if worker is not None:
            self.current[worker.id] = index
        if self.faults:
            self._fail(index)
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        image = torch.randint(0, 256, (3, 8, 8), generator=generator, dtype=torch.uint8)
        sample = BaseDataElement(metainfo=dict(img_path=f'img-{index}.png', sample_key=index))
        return dict(inputs=image, data_samples=sample)

    def _fail(self, index):
        for name in ('kill', 'hang', 'raise'):
            fault = Path(self.faults) / f'{name}-{index}'
            if fault.exists():
                fault.unlink()
                if name == 'kill':
                    os.kill(os.getpid(), signal.SIGKILL)
                elif name == 'hang':
                    time.sleep(1000)
                raise OSError(f'cannot read img-{index}.png')


@FUNCTIONS.register_module(force=True)
def tiny_collate(samples):
    """Stack the images; samples stay a list."""
    return dict(
        inputs=torch.stack([sample['inputs'] for sample in samples]),
        data_samples=[sample['data_samples'] for sample in samples],
    )


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Two layers with dropout; predicts its input. Non-finite on demand.

    Args:
        poison: iteration -> 'loss' or 'grad': what becomes NaN there.
        dropout: Probability, so that the result depends on torch's generator.
        delay: Seconds per step.
        poison_rank: The process that is poisoned.
        ballast: Numbers that make the checkpoint larger.
    """

    def __init__(self, poison=None, dropout=0.2, delay=0.0, poison_rank=0, ballast=0):
        super().__init__(data_preprocessor=dict(type='mmengine.BaseDataPreprocessor'))
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 192)
        )
        self.poison = {int(key): value for key, value in (poison or {}).items()}
        self.delay = delay
        self.poison_rank = poison_rank
        self.register_buffer('ballast', torch.zeros(ballast))
        self.calls = 0

    def init_weights(self):
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data.normal_(0, 0.05, generator=generator)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        images = inputs.float() / 255 - 0.5
        output = self.net(images)
        if mode != 'loss':
            return output if mode == 'tensor' else list(output)
        time.sleep(self.delay)
        loss = (output - images.flatten(1)).square().mean()
        poison = self.poison.get(self.calls) if get_rank() == self.poison_rank else None
        self.calls += 1
        if poison == 'loss':
            loss = loss * float('nan')
        elif poison == 'constant':
            loss = loss + float('inf')
        elif poison == 'grad':
            output.register_hook(lambda grad: grad * float('nan'))
        return dict(loss=loss)


def tiny_config(work_dir, epochs=2, workers=0, batch_size=4, **changes):
    """A config dict of :class:`TinyModel`; ``changes`` are merged into it."""
    config = dict(
        default_scope='mae_plugin',
        work_dir=str(work_dir),
        launcher='none',
        model=dict(type='TinyModel'),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=dict(type='TinyImages'),
            sampler=dict(type='StreamSampler', batch_size=batch_size),
            collate_fn=dict(type='tiny_collate'),
        ),
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2)),
        param_scheduler=[
            dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True)
        ],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='ExactResumeHook')],
        randomness=dict(seed=5),
        log_level='WARNING',
        visualizer=dict(type='mmengine.Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
    )
    for key, value in changes.items():
        node = config
        *parents, last = key.split('__')
        for parent in parents:
            node = node[parent]
        node[last] = value
    return config


def mae_config(work_dir, photos, batch_size, epochs=5, **changes):
    """A real MAE, small; ``epochs`` of 5 iterations at a global batch of 8."""
    size = dict(img_size=32, patch_size=8)
    config = tiny_config(work_dir, epochs=epochs, batch_size=batch_size)
    config['model'] = dict(
        type='MAE',
        data_preprocessor=dict(type='MAEDataPreprocessor', mean=[120] * 3, std=[60] * 3),
        masking=dict(type='RandomMasking', mask_ratio=0.75),
        backbone=dict(type='ViT', arch=dict(embed_dims=WIDTH, num_layers=2, num_heads=2), **size),
        decoder=dict(
            type='MAEDecoder', in_dims=WIDTH, embed_dims=16, depth=1, num_heads=2, **size
        ),
        head=dict(
            type='ReconstructionHead', in_dims=16, target=dict(type='PixelTarget', patch_size=8)
        ),
    )
    config['train_dataloader'].update(
        sampler=dict(type='StreamSampler', batch_size=batch_size, repeats=2),
        collate_fn=dict(type='mae_plugin.stack_collate'),
        dataset=dict(
            type='ImageFolder',
            data_root=str(photos),
            labels=False,
            index_cache=False,
            pipeline=[dict(type='LoadRandomResizedCrop', size=32), dict(type='PackInputs')],
        ),
    )
    # A decay large enough to show in weights whether it reached the right ones.
    config['optim_wrapper'].update(
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1.0),
        constructor='ViTOptimWrapperConstructor',
        paramwise_cfg=dict(decay_tokens=True, layer_decay_rate=0.8),
    )
    config['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1)
    config['custom_hooks'] += [dict(type='NonFiniteGuard'), dict(type='PreemptionHook')]
    return dict(config, **changes)


def validating(**changes):
    """Changes that give :func:`tiny_config` a validation that draws random numbers."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='TinyImages', length=6),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='tiny_collate'),
    )
    return dict(
        val_dataloader=loader,
        val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='NoisyMetric'),
        default_hooks__checkpoint=dict(type='CheckpointHook', interval=1),
        **changes,
    )


def build_runner(config, name):
    """A runner of its own name, so that several live in one process."""
    return Runner.from_cfg(Config(dict(config, experiment_name=name)))


def log_lines(work_dir):
    """The scalars of every logged iteration, without wall-clock fields.

    An iteration that was logged again after a crash must have been logged with the same values.
    The validation of epoch e is found under -e.
    """
    lines = {}
    for path in Path(work_dir).glob('*/vis_data/scalars.json'):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            kept = {k: v for k, v in values.items() if k not in ('time', 'data_time')}
            step = kept['step'] if 'lr' in kept else -kept['step']
            assert lines.setdefault(step, kept) == kept
    return lines


@HOOKS.register_module(force=True)
class RecordHook(Hook):
    """Writes which images each iteration trained on, ``seen-<rank>.txt``."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        keys = [str(sample.sample_key) for sample in data_batch['data_samples']]
        with open(f'{runner.work_dir}/seen-{get_rank()}.txt', 'a') as file:
            file.write(' '.join(keys) + '\n')


@METRICS.register_module(force=True)
class NoisyMetric(BaseMetric):
    """Draws from torch's generator, as a probe during training may."""

    def process(self, data_batch, data_samples):
        self.results.append(float(torch.rand(())))

    def compute_metrics(self, results):
        return dict(noise=sum(results))
