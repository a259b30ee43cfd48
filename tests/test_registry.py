"""The type in a config, as a name or as the class itself."""

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mae_plugin.models import MAE
from mae_plugin.registry import MODELS, builds, find_type


class Ours(MAE):
    """Someone's own, registered nowhere."""


@pytest.mark.parametrize(
    'kind, scope',
    [
        ('mae_plugin.MAE', None),
        ('mae_plugin.MAE', 'mmpretrain'),
        ('MAE', 'mae_plugin'),
        ('mae_plugin.models.mae.MAE', 'mmdet'),
        (MAE, 'mmdet'),
    ],
)
def test_every_way_to_name_a_class(kind, scope):
    assert find_type(MODELS, kind, scope) is MAE
    assert builds(MODELS, dict(type=kind), MAE, scope)
    assert DefaultScope.get_current_instance() is None


def test_under_a_hosts_scope_a_name_is_the_hosts():
    assert find_type(MODELS, 'MAE', 'mmpretrain').__module__.startswith('mmpretrain.')
    assert not builds(MODELS, dict(type='MAE'), MAE, 'mmpretrain')


def test_a_subclass_counts_and_what_is_unknown_does_not():
    assert builds(MODELS, dict(type=Ours), MAE)
    assert builds(MODELS, Config(dict(model=dict(type=Ours))).model, MAE)
    for config in (dict(type='Nobody'), dict(type='no.such.module.Class'), dict(), None, [1]):
        assert not builds(MODELS, config, MAE, 'mae_plugin')
    assert find_type(MODELS, 'Nobody', 'mmdet') is None
