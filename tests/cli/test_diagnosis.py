"""``mae-plugin doctor`` in environments that people break, and in whole ones."""

import re

import pytest

from mae_plugin.cli import doctor
from mae_plugin.cli.diagnosis import Facts, Failure, diagnose

UPSTREAM = {
    'torch': '2.1.2', 'torchvision': '0.16.2', 'numpy': '1.26.4', 'setuptools': '69.5.1',
    'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0', 'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0', 'transformers': '4.40.2',
}  # fmt: skip
FORKS = {
    'torch': '2.13.0+cpu', 'numpy': '2.4.6', 'setuptools': '84.0.0',
    'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1',
}  # fmt: skip
NO_OPERATORS = {'mmcv._ext': Failure('mmcv._ext', "No module named 'mmcv._ext'")}


@pytest.mark.parametrize('versions', [UPSTREAM, FORKS])
def test_whole_environments_have_no_problem(versions):
    assert diagnose(Facts(versions)) == []


@pytest.mark.parametrize(
    'versions, failures, what, command',
    [
        (
            UPSTREAM | {'torchvision': '0.20.1'}, {},
            'torchvision 0.20.1 is not of torch 2.1.2',
            "pip install --no-deps 'torchvision==0.16.*'",
        ),
        (
            FORKS | {'torchvision': '0.28.0'},
            {'torchvision': Failure(None, 'operator torchvision::nms does not exist')},
            'of another build than torch 2.13.0', 'pip uninstall -y torchvision',
        ),
        (
            {k: v for k, v in UPSTREAM.items() if k != 'mmcv'} | {'mmcv-lite': '2.1.0'},
            NO_OPERATORS, 'mmcv-lite has none',
            'pip uninstall -y mmcv-lite && .*build-mmcv mmcv==2.1.0',
        ),
        (
            UPSTREAM | {'mmcv': '2.2.0'}, {}, r'refuse mmcv 2\.2\.0', 'build-mmcv mmcv==2.1.0',
        ),
        (
            UPSTREAM | {'torch': '2.6.0', 'torchvision': '0.21.0', 'mmcv': '2.2.0'}, {},
            r'refuse mmcv 2\.2\.0', 'onedl-mmdetection .*build-mmcv onedl-mmcv==2.3.6',
        ),
        (
            UPSTREAM | {'onedl-mmcv': '2.3.6'}, {},
            'onedl-mmcv and mmcv are installed over each other',
            'pip uninstall -y onedl-mmcv mmcv && .*build-mmcv mmcv==2.1.0',
        ),
        (
            FORKS | {'mmengine': '0.10.7'}, {},
            'onedl-mmengine and mmengine are installed over each other',
            'pip uninstall -y onedl-mmengine mmengine && pip install --no-deps onedl-mmengine',
        ),
        (
            FORKS | {'mmsegmentation': '1.2.2'}, {}, 'mmsegmentation beside the maintained forks',
            'pip uninstall -y mmsegmentation && pip install --no-deps onedl-mmsegmentation',
        ),
        (
            FORKS, NO_OPERATORS, "onedl-mmdetection need mmcv's compiled operators",
            'build-mmcv onedl-mmcv==2.3.6',
        ),
        (
            UPSTREAM, {'mmcv._ext': Failure(None, 'undefined symbol: _ZN3c10')},
            'of another torch', 'build-mmcv mmcv==2.1.0',
        ),
        ({'torch': '2.0.1'}, {}, 'torch 2.0.1 is too old', "pip install 'torch>=2.1'"),
        (
            # Not the newest: upstream's mmcv and mmdet do not go with it.
            UPSTREAM | {'torch': '2.0.1'}, {},
            'torch 2.0.1 is too old', r"pip install 'torch==2\.1\.\*' 'torchvision==0\.16\.\*'",
        ),
        (UPSTREAM | {'numpy': '2.2.0'}, {}, 'built for numpy 1', "pip install 'numpy<2'"),
        (UPSTREAM | {'setuptools': '84.0.0'}, {}, 'pkg_resources', "pip install 'setuptools<70'"),
        (
            UPSTREAM, {'mmseg': Failure('ftfy', "No module named 'ftfy'")},
            'mmseg needs ftfy', 'pip install ftfy',
        ),
        ({}, {}, 'torch is missing', "pip install 'torch>=2.1'"),
    ],
)  # fmt: skip
def test_each_break_is_named_and_has_a_command(versions, failures, what, command):
    (problem,) = diagnose(Facts(versions, failures))
    assert re.search(what, problem.what) and re.search(command, problem.command), problem


def test_with_a_gpu_operators_are_built_for_it():
    (problem,) = diagnose(Facts(FORKS, NO_OPERATORS, gpu=True))
    assert '--no-build-isolation' in problem.command and 'build-mmcv' not in problem.command


def test_pretraining_needs_no_operators():
    versions = {k: v for k, v in FORKS.items() if k != 'onedl-mmdetection'}
    assert diagnose(Facts(versions, NO_OPERATORS)) == []


@pytest.mark.slow
def test_here(monkeypatch, capsys):
    monkeypatch.setattr(doctor, '_TRIED', {'torch': 'import torch', 'mmcv': 'import no_such'})
    facts = doctor.gather()
    assert facts.failures == {'mmcv': Failure('no_such', "No module named 'no_such'")}
    with pytest.raises(SystemExit, match='1'):
        doctor.main([])
    told = capsys.readouterr().out
    assert 'mmcv needs no_such, which is missing\n    pip install no_such' in told
