"""Every config builds: model, optimizer, schedule, pipelines and hooks, without data or memory.

Models are built on the meta device, where parameters have shapes and no values, so that ViT-H
costs nothing.
"""

import ast
import copy
import functools
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
    DefaultScope,
    Registry,
    init_default_scope,
)

from mae_plugin import registry

ROOT = Path(__file__).resolve().parents[1] / 'configs'
CONFIGS = sorted(path for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
TRANSFER = [p for p in CONFIGS if p.parent.name in ('detection', 'segmentation')]
HOSTED = [*TRANSFER, *(p for p in CONFIGS if p.parent.name == 'classification')]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load(path):
    """A config of its own for the caller; files are parsed once."""
    return copy.deepcopy(_parse(path))


@functools.cache
def _parse(path):
    return Config.fromfile(path)


@pytest.fixture
def scope():
    """Set mmengine's default scope; the one before comes back."""
    before = DefaultScope.get_current_instance()
    yield init_default_scope
    if before is not None:
        init_default_scope(before.scope_name)


def known(registry, name):
    """Whether a registry finds a type, from the default scope on."""
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name) is not None


def datasets(cfg):
    """The innermost dataset configs: those with a pipeline."""
    for loader in LOADERS:
        dataset = (cfg.get(loader) or {}).get('dataset')
        while dataset and 'dataset' in dataset:
            dataset = dataset.dataset
        if dataset:
            yield dataset


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path, scope):
    cfg = load(path)
    scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0

    if cfg.get('optim_wrapper') and cfg.get('train_cfg'):
        # Gradient scalers live on a GPU; the optimizer is the same.
        optim_cfg = dict(type='OptimWrapper', **_without(cfg.optim_wrapper, 'type', 'loss_scale'))
        optim_wrapper = build_optim_wrapper(model, Config(optim_cfg)._cfg_dict)
        trained = sum(len(group['params']) for group in optim_wrapper.optimizer.param_groups)
        assert trained == sum(parameter.requires_grad for parameter in model.parameters())
        schedulers = cfg.get('param_scheduler') or []
        for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
            key = 'max_epochs' if scheduler.get('by_epoch', True) else 'max_iters'
            length = cfg.train_cfg.get(key, float('inf'))
            assert scheduler.get('begin', 0) < length
            assert scheduler.setdefault('end', length) <= length
            defaults = dict(optimizer=optim_wrapper, epoch_length=10)
            PARAM_SCHEDULERS.build(scheduler, default_args=defaults)

    for dataset in datasets(cfg):
        Compose(dataset.pipeline)
        assert known(DATASETS, dataset.type)
    for loader in LOADERS:
        sampler = (cfg.get(loader) or {}).get('sampler')
        assert not sampler or known(DATA_SAMPLERS, sampler.type)
    for loop in ('train_cfg', 'val_cfg', 'test_cfg'):
        kind = (cfg.get(loop) or {}).get('type')
        assert not kind or known(LOOPS, kind)
    for evaluator in ('val_evaluator', 'test_evaluator'):
        found = cfg.get(evaluator) or []
        for metric in found if isinstance(found, list) else [found]:
            assert known(METRICS, metric.type)
    for hook in [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]:
        assert known(HOOKS, hook.type)
    if cfg.get('visualizer'):
        assert known(VISUALIZERS, cfg.visualizer.type)


def _without(cfg, *keys):
    return {key: value for key, value in cfg.items() if key not in keys}


def test_configs_say_what_they_are():
    missing = [path for path in CONFIGS if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not missing


@pytest.mark.parametrize('path', HOSTED, ids=lambda path: path.stem)
def test_config_names_command_cost_and_score(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert path.relative_to(ROOT.parent).as_posix() in text
    for part in ('Run:', 'Cost:', 'Score:'):
        assert part in text, f'{part} is missing'


@pytest.mark.parametrize(
    'name', ['mask-rcnn_vitdet-h_mae_lsj-75e_coco', 'mask-rcnn_vit-b_mae-fpn_lsj-100e_coco']
)
def test_accumulation_keeps_the_schedule(name, monkeypatch):
    """ACCUMULATE=n multiplies whatever counts steps."""
    path = ROOT / 'detection' / f'{name}.py'
    plain = load(path)
    monkeypatch.setenv('ACCUMULATE', '4')
    longer = Config.fromfile(path)
    assert longer.optim_wrapper.accumulative_counts == 4
    assert longer.train_cfg.max_iters == 4 * plain.train_cfg.max_iters
    for a, b in zip(plain.param_scheduler, longer.param_scheduler):
        for key in ('begin', 'end'):
            assert b.get(key, 0) == 4 * a.get(key, 0)
        assert b.get('milestones', []) == [4 * step for step in a.get('milestones', [])]


def test_model_index_lists_what_exists():
    index = yaml.safe_load((ROOT.parent / 'model-index.yml').read_text())
    listed = set()
    for path in index['Import']:
        family = yaml.safe_load((ROOT.parent / path).read_text())
        collections = {collection['Name'] for collection in family['Collections']}
        for model in family['Models']:
            assert model['In Collection'] in collections
            assert (ROOT.parent / model['Config']).is_file()
            assert Path(model['Config']).stem == model['Name']
            listed.add(ROOT.parent / model['Config'])
    assert not set(TRANSFER) - listed


def test_published_schedules():
    """detectron2's ViTDet: 100 epochs of 118,000 images, 75 for H."""
    config = '{}_vitdet-{}_mae_lsj-{}e_coco.py'
    for head in ('mask-rcnn', 'cascade-mask-rcnn'):
        for size, epochs, steps in (('b', 100, 184375), ('l', 100, 184375), ('h', 75, 138281)):
            cfg = load(ROOT / 'detection' / config.format(head, size, epochs))
            assert cfg.train_cfg.max_iters == steps == epochs * 118000 // 64


def test_amp_is_on():
    """mmseg's MAE config only has it in its name."""
    for path in TRANSFER:
        if path.stem.startswith(('upernet_vit', 'linear_vit', 'mask-rcnn_vit', 'cascade')):
            assert load(path).optim_wrapper.type == 'mae_plugin.AmpOptimWrapper', path


def test_our_names_have_their_scope():
    """Under a host's scope `type='MAE'` is the host's, or nothing."""
    ours = _our_names()
    unscoped = []
    for path in CONFIGS:
        cfg = load(path)
        for place, name in _strings(cfg._cfg_dict.to_dict()):
            if name in ours and not _is_the_hosts(name, cfg.default_scope):
                unscoped.append(f'{path.relative_to(ROOT)}: {place}={name}')
    assert not unscoped


def _our_names():
    registries = [value for value in vars(registry).values() if isinstance(value, Registry)]
    ours = [value for value in registries if value.scope == 'mae_plugin']
    for each in ours:
        each.import_from_location()
    return {name for each in ours for name in each.module_dict}


def _is_the_hosts(name, scope):
    """mmpretrain has a ``PackInputs`` of its own, mmengine a ``CheckpointHook``."""
    return scope != 'mae_plugin' and name in ('PackInputs', 'CheckpointHook')


def _strings(value, place=''):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _strings(part, f'{place}.{key}' if place else str(key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _strings(part, f'{place}.{index}')
    elif isinstance(value, str):
        yield place, value
