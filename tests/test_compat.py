"""Parts that newer torch alone has: replaced, or refused in one sentence that says how."""

import pickle
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from mae_plugin import compat
from mae_plugin.engine.optim import ViTOptimWrapperConstructor
from mae_plugin.errors import UserError


@pytest.mark.parametrize('version, refused', [('2.1', False), ('9.0', True), ('2.100', True)])
def test_versions_are_compared_as_numbers(version, refused):
    if not refused:
        compat.require_torch(version, 'a thing')
        return
    with pytest.raises(UserError, match=f'a thing needs torch {version} or newer, and this is'):
        compat.require_torch(version, 'a thing')


def test_sharded_training_on_an_old_torch_is_one_sentence(monkeypatch):
    monkeypatch.setattr(compat, 'TORCH', (2, 1))
    from mae_plugin.engine.fsdp import FSDPStrategy

    with pytest.raises(UserError, match=r'FSDPStrategy needs torch 2\.4 or newer'):
        FSDPStrategy()


def test_fused_optimizers_of_a_config_start_where_there_are_none(monkeypatch):
    monkeypatch.setattr(compat, 'TORCH', (2, 1))
    build = ViTOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.0, fused=True))
    )
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
    optimizer = build(layer).optimizer
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    # The first step of Adam is the learning rate.
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[0.9, 1.9]]))


def test_whole_numbers_of_16_bits_keep_their_values():
    values = torch.tensor([0.0, 255.0, 32768.0, 65535.0])
    kept = compat.as_uint16(values)
    assert kept.dtype == getattr(torch, 'uint16', torch.float32)
    assert torch.equal(kept.float(), values)


@pytest.mark.parametrize('load', [compat.load_restricted, compat.load_restricted_before_2_5])
def test_plain_types_of_any_torch_are_read(tmp_path, load):
    content = dict(
        milestones=Counter({3: 1}), device=torch.device('cpu'), ordered=OrderedDict(a=1),
        dtypes=[torch.bfloat16, torch.bool, torch.uint8, torch.float32], size=torch.Size([2]),
    )  # fmt: skip
    torch.save(content, tmp_path / 'a.pth')
    found = load(tmp_path / 'a.pth', {}, 'cpu', False)
    assert found == content and type(found['milestones']) is Counter


@pytest.mark.parametrize('load', [compat.load_restricted, compat.load_restricted_before_2_5])
def test_a_script_archive_is_not_run(tmp_path, load):
    torch.jit.script(nn.Linear(2, 1)).save(str(tmp_path / 'script.pth'))
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        load(tmp_path / 'script.pth', {}, 'cpu', False)


def test_the_unpickler_for_old_torch_changes_nothing_but_what_it_built(tmp_path):
    # GLOBAL torch.nn.parameter.Parameter, a state of slots, BUILD, STOP.
    state = pickle.dumps((None, dict(changed=True)), protocol=2)[2:-1]
    content = b'\x80\x02ctorch.nn.parameter\nParameter\n' + state + b'b.'
    torch.save({}, tmp_path / 'a.pth')
    with (
        zipfile.ZipFile(tmp_path / 'a.pth') as old,
        zipfile.ZipFile(tmp_path / 'b.pth', 'w') as new,
    ):
        for name in old.namelist():
            new.writestr(name, content if name.endswith('data.pkl') else old.read(name))
    with pytest.raises(pickle.UnpicklingError, match='Can only build'):
        compat.load_restricted_before_2_5(tmp_path / 'b.pth', {}, 'cpu', False)
    assert not hasattr(nn.Parameter, 'changed')
