"""Who skips a step that is not finite: the optimizer wrapper, of ours or with our mix-in."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from test_guards import guarded, train_by_hand
from tiny_run import build_runner as mmengine_runner

from mae_plugin import compat
from mae_plugin.engine.autocast import BFloat16OptimWrapper
from mae_plugin.engine.optim_wrappers import AmpOptimWrapper, OptimWrapper, SkipNonFiniteMixin
from mae_plugin.engine.runner import build_runner
from mae_plugin.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class StrictOptimWrapper(MMEngineOptimWrapper):
    """Someone's own, which skips nothing."""


@OPTIM_WRAPPERS.register_module()
class OwnOptimWrapper(SkipNonFiniteMixin, StrictOptimWrapper):
    """Someone's own, with the mix-in."""


NEEDS_2_4 = pytest.mark.skipif(
    compat.TORCH < (2, 4), reason='before torch 2.4 optimizers are fused on CUDA alone'
)


def run(tmp_path, kind, build=mmengine_runner, poison=None, **changes):
    """A run of ten steps, some of them poisoned; its runner."""
    config = guarded(tmp_path, poison or {3: 'loss', 7: 'grad', 8: 'constant'}, **changes)
    config['optim_wrapper']['type'] = kind
    if build is build_runner:
        runner = build_runner(Config(dict(config, experiment_name=f'wrapper-{kind}')))
    else:
        # mmengine 0.10.7 prints no class that stands in a config.
        scope = 'mae_plugin' if kind in OPTIM_WRAPPERS.module_dict.values() else 'mmengine'
        config['optim_wrapper']['type'] = f'{scope}.{kind.__name__}'
        runner = build(config, f'wrapper-{kind.__name__}')
    runner.train()
    return runner


def skipped(tmp_path):
    lines = (tmp_path / 'non_finite_rank0.txt').read_text().splitlines()
    return [int(line.split('\t')[0].removeprefix('iteration ')) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize('fused', [False, pytest.param(True, marks=NEEDS_2_4)])
@pytest.mark.parametrize('kind', [OptimWrapper, BFloat16OptimWrapper, OwnOptimWrapper])
def test_steps_are_left_out_and_counted(tmp_path, kind, fused):
    runner = run(tmp_path, kind, optim_wrapper__optimizer=dict(type='AdamW', lr=1e-2, fused=fused))
    assert isinstance(runner.optim_wrapper, kind)
    # Nothing of the wrapper is replaced while it runs.
    assert not {'step', 'backward'} & set(vars(runner.optim_wrapper))
    for name, value in train_by_hand(skipped={3, 7, 8}).items():
        torch.testing.assert_close(runner.model.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    assert skipped(tmp_path) == [4, 8, 9]


def test_what_the_gradient_scaler_skips_is_counted(tmp_path, amp_on_cpu):
    run(tmp_path, AmpOptimWrapper)
    assert skipped(tmp_path) == [4, 8, 9]


def test_under_mmengines_own_scaler_losses_are_counted(tmp_path, amp_on_cpu):
    """Hosts' tools set it for ``--amp``; it skips by itself, and tells nobody."""
    runner = run(tmp_path, MMEngineAmpOptimWrapper)
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    assert skipped(tmp_path) == [4, 9]
    (log,) = tmp_path.glob('*/*.log')
    assert "optim_wrapper.type='mae_plugin.AmpOptimWrapper' tells all" in log.read_text()


@pytest.mark.parametrize('kind', [MMEngineOptimWrapper, StrictOptimWrapper])
def test_a_wrapper_that_skips_nothing_is_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r'mae_plugin\.OptimWrapper.*SkipNonFiniteMixin'):
        run(tmp_path, kind)


@pytest.mark.parametrize('kind', ['mmengine.OptimWrapper', MMEngineOptimWrapper])
def test_older_configs_get_one_that_skips(tmp_path, kind):
    """Where the hook had replaced the methods of mmengine's own."""
    runner = run(tmp_path, kind, build_runner, poison={3: 'loss'})
    assert type(runner.optim_wrapper) is OptimWrapper
    assert skipped(tmp_path) == [4]
