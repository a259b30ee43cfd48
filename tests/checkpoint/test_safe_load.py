"""``safe_load``: ordinary files of every kind come back whole, hostile ones run nothing."""

import argparse
import collections
import contextlib
import io
import itertools
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint

from mae_plugin import compat
from mae_plugin.checkpoint import safe_load as safe_load_module
from mae_plugin.checkpoint.safe_load import safe_load, use_safe_loading


@pytest.fixture(autouse=True, params=['own torch', 'torch before 2.5'])
def door(request, monkeypatch):
    """Everything holds through the unpickler for old torch too, which newer ones can run."""
    if request.param == 'torch before 2.5':
        old = compat.load_restricted_before_2_5
        monkeypatch.setattr(safe_load_module, 'load_restricted', old)


class Call:
    """Pickles as ``function(*args)``, as a hostile file would."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Opaque:
    """A class that the reader has never heard of."""


@pytest.mark.parametrize('zipped', [True, False])
def test_official_layout_with_namespace(tmp_path, zipped):
    path = tmp_path / 'mae.pth'
    args = argparse.Namespace(lr=1e-3, output_dir=Path('/runs/mae'))
    model = {'w': torch.arange(6.0).view(2, 3)}
    saved = {'model': model, 'args': args}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    loaded = safe_load(path)
    assert torch.equal(loaded['model']['w'], model['w'])
    assert loaded['args'] == argparse.Namespace(lr=1e-3, output_dir='/runs/mae')


def test_mmengine_checkpoint_with_history_and_numpy(tmp_path):
    hub = MessageHub('safe_load')
    for value in (0.5, 1.5, 2.5):
        hub.update_scalar('train/loss', value)
    hub.update_info('score', np.float64(3.25))
    palette = np.asfortranarray(np.arange(6, dtype='>i2').reshape(2, 3))
    torch.save({'message_hub': hub.state_dict(), 'meta': {'palette': palette}}, tmp_path / 'm.pth')
    loaded = safe_load(tmp_path / 'm.pth')
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer) and buffer.mean() == 1.5
    assert buffer.statistics('max') == 2.5
    assert loaded['message_hub']['runtime_info']['score'] == 3.25
    np.testing.assert_array_equal(loaded['meta']['palette'], palette)


def test_shared_and_nested_stand_ins_are_all_replaced(tmp_path):
    array = np.arange(3.0)
    pair = (array, [array])
    torch.save({'a': pair, 'b': pair, 'c': [pair, np.int64(7)]}, tmp_path / 'n.pth')
    loaded = safe_load(tmp_path / 'n.pth')
    assert loaded['c'][1] == 7
    for found in (loaded['a'], loaded['b'], loaded['c'][0]):
        np.testing.assert_array_equal(found[0], array)
        np.testing.assert_array_equal(found[1][0], array)


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file({'w': torch.ones(3)}, tmp_path / 'w.safetensors')
    assert torch.equal(safe_load(tmp_path / 'w.safetensors')['w'], torch.ones(3))
    cut = (tmp_path / 'w.safetensors').read_bytes()[:-4]
    (tmp_path / 'cut.safetensors').write_bytes(cut)
    with pytest.raises(ValueError, match=r'cut\.safetensors.*again'):
        safe_load(tmp_path / 'cut.safetensors')


def _hostile(marker):
    """(what the refusal must name, object) pairs; each would create ``marker``."""
    command = f'touch {marker}'
    return [
        ('posix.system', Call(os.system, command)),
        ('exec', Call(exec, f'open({str(marker)!r}, "w")')),
        ('eval', Call(eval, f'open({str(marker)!r}, "w")')),
        ('Opaque', Opaque()),
        ('Linear', torch.nn.Linear(1, 1)),
        ('getoutput', Call(__import__('subprocess').getoutput, command)),
    ]


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('index', range(6))
def test_hostile_pickles_are_refused_by_name(tmp_path, index, zipped):
    marker = tmp_path / 'executed'
    name, payload = _hostile(marker)[index]
    path = tmp_path / 'hostile.pth'
    saved = {'state_dict': {'w': torch.ones(1)}, 'meta': payload}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=name) as caught:
        safe_load(path)
    assert str(path) in str(caught.value) and 'trust=True' in str(caught.value)
    assert not marker.exists()


def _getattr_chain(marker) -> bytes:
    """``getattr(HistoryBuffer, 'update').__globals__['__builtins__']['exec'](...)`` by hand.

    Only globals of mmengine's allow-list are named, so that its list alone would let it through.
    """
    code = f'open({str(marker)!r}, "w")'.encode()

    def text(value: bytes) -> bytes:
        return b'X' + struct.pack('<I', len(value)) + value

    look_up = b'c__builtin__\ngetattr\n'
    history = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
    update = look_up + history + text(b'update') + b'\x86R'
    scope = look_up + update + text(b'__globals__') + b'\x86R'
    get = look_up + scope + text(b'get') + b'\x86R'
    builtins = get + text(b'__builtins__') + b'\x85R'
    run = look_up + builtins + text(b'get') + b'\x86R' + text(b'exec') + b'\x85R'
    return b'\x80\x02}' + text(b'a') + run + text(code) + b'\x85Rs.'


def test_getattr_chain_runs_under_pickle_and_not_here(tmp_path):
    marker = tmp_path / 'executed'
    chain = _getattr_chain(marker)
    pickle.loads(chain)
    assert marker.exists(), 'the chain must be a real exploit'
    marker.unlink()
    path = tmp_path / 'chain.pth'
    header = io.BytesIO()
    torch.save({}, header, _use_new_zipfile_serialization=False)
    # The older format is magic, protocol and system pickles, then the object, then the keys.
    prefix = header.getvalue()[: header.getvalue().index(b'\x80\x02}q\x00.')]
    path.write_bytes(prefix + chain + pickle.dumps([], protocol=2))
    with pytest.raises(ValueError, match='refused'):
        safe_load(path)
    assert not marker.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    torch.save({'a': np.array([{}, None], dtype=object)}, tmp_path / 'o.pth')
    with pytest.raises(ValueError, match=r'o\.pth.*objects'):
        safe_load(tmp_path / 'o.pth')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('part', [0.0, 0.1, 0.3, 0.9, 0.999])
def test_truncated_files_name_the_way_out(tmp_path, zipped, part):
    path = tmp_path / 'cut.pth'
    torch.save({'w': torch.randn(2000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ValueError, match=r'cut\.pth.*older one'):
        safe_load(path)


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_bare_pickle_of_arrays(tmp_path, protocol):
    """What detectron2's model zoo holds: no torch in it, numpy arrays under ``model``."""
    weights = {
        'w': np.arange(6, dtype='float32').reshape(2, 3),
        'f': np.asfortranarray(np.arange(6, dtype='float16').reshape(3, 2)),
        'strided': np.arange(12.0)[::2],
        'scalar': np.float32(2.5),
    }
    saved = {'model': collections.OrderedDict(weights), 'args': argparse.Namespace(x=[weights])}
    path = tmp_path / 'model_final.pkl'
    path.write_bytes(pickle.dumps({**saved, '__author__': 'somebody'}, protocol))
    for trust in (False, True):
        loaded = safe_load(path, trust=trust)
        assert loaded['__author__'] == 'somebody'
        for found in (loaded['model'], loaded['args'].x[0]):
            assert list(found) == list(weights)
            for name, array in weights.items():
                np.testing.assert_array_equal(found[name], array)
                assert np.asarray(found[name]).dtype in (array.dtype, np.float64)
    assert type(safe_load(path)['args']) is argparse.Namespace
    found = safe_load(path)['model']['w']
    found += 1  # as a tensor made of it would be


def test_bare_pickle_of_python_2(tmp_path):
    """There an array's bytes are a ``str``, and names come from ``__builtin__``."""
    text = struct.pack('<2f', 1.5, -2.0)
    dtype = b'cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xff'
    dtype += b'J\xff\xff\xff\xffK\x00tb'
    array = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR'
    array += b'(K\x01(K\x02t' + dtype + b'\x89U\x08' + text + b'tb'
    path = tmp_path / 'old.pkl'
    path.write_bytes(b'\x80\x02}U\x05model}U\x01w' + array + b'ss.')
    np.testing.assert_array_equal(safe_load(path)['model']['w'], np.float32([1.5, -2.0]))


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('index', range(6))
def test_hostile_bare_pickles_are_refused_by_name(tmp_path, index, protocol):
    marker = tmp_path / 'executed'
    name, payload = _hostile(marker)[index]
    path = tmp_path / 'hostile.pkl'
    path.write_bytes(pickle.dumps({'model': {'w': np.ones(1)}, 'x': payload}, protocol))
    with pytest.raises(ValueError, match=name) as caught:
        safe_load(path)
    assert str(path) in str(caught.value) and 'could run code' in str(caught.value)
    assert not marker.exists()


def test_getattr_chain_in_a_bare_pickle(tmp_path):
    marker = tmp_path / 'executed'
    (tmp_path / 'chain.pkl').write_bytes(_getattr_chain(marker))
    with pytest.raises(ValueError, match=r'chain\.pkl'):
        safe_load(tmp_path / 'chain.pkl')
    assert not marker.exists()


def test_bare_pickle_leaves_nothing_behind(tmp_path):
    """BUILD may set attributes on whatever a pickle was given: a class must not be shared."""

    def text(value: str) -> bytes:
        return b'X' + struct.pack('<I', len(value)) + value.encode()

    ordinary = tmp_path / 'ordinary.pkl'
    ordinary.write_bytes(pickle.dumps({'a': argparse.Namespace(x=1), 'w': np.ones(2)}, 2))
    names = ('argparse\nNamespace', 'numpy\nndarray', '_codecs\nencode')
    for name, attribute in itertools.product(
        names, ('__new__', 'plain', '__init__', '__setstate__')
    ):
        state = b'N}' + text(attribute) + b'cnumpy\ndtype\ns\x86b'
        given = text('x') + f'c{name}\n'.encode() + state
        (tmp_path / 'p.pkl').write_bytes(b'\x80\x02}' + given + b's.')
        with contextlib.suppress(ValueError):
            safe_load(tmp_path / 'p.pkl')
        assert safe_load(ordinary)['a'] == argparse.Namespace(x=1)
        np.testing.assert_array_equal(safe_load(ordinary)['w'], np.ones(2))


@pytest.mark.parametrize('part', [0.0, 0.1, 0.5, 0.999])
def test_truncated_bare_pickle(tmp_path, part):
    data = pickle.dumps({'model': {'w': np.ones(500)}})
    path = tmp_path / 'cut.pkl'
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ValueError, match=r'cut\.pkl.*older one'):
        safe_load(path)


@pytest.mark.parametrize(
    'content',
    [b'hello world', b'<html>404</html>', b'\x89PNG\r\n\x1a\n', bytes(range(256)), b'\x80junk'],
)
def test_other_files_are_no_checkpoints(tmp_path, content):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.pth is neither a whole torch file nor') as error:
        safe_load(tmp_path / 'x.pth')
    assert 'weights_only' not in str(error.value) and 'PyTorch' not in str(error.value)


def test_missing_file_and_bare_tensor(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        safe_load(tmp_path / 'nowhere.pth')
    torch.save(torch.ones(2), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match='Tensor'):
        safe_load(tmp_path / 'bare.pth')


def test_trust_unpickles_what_its_user_wrote(tmp_path):
    torch.save({'a': torch.nn.Linear(1, 1)}, tmp_path / 'own.pth')
    assert isinstance(safe_load(tmp_path / 'own.pth', trust=True)['a'], torch.nn.Linear)


def test_mmengine_loads_through_the_safe_reader(tmp_path):
    marker = tmp_path / 'executed'
    torch.save({'a': Call(os.system, f'touch {marker}')}, tmp_path / 'hostile.pth')
    schemes = dict(CheckpointLoader._schemes)
    try:
        use_safe_loading()
        with pytest.raises(ValueError, match=r'posix\.system'):
            _load_checkpoint(str(tmp_path / 'hostile.pth'))
        with pytest.raises(ValueError, match=r'posix\.system'):
            _load_checkpoint((tmp_path / 'hostile.pth').as_uri().replace('file://', ''))
    finally:
        CheckpointLoader._schemes = schemes
    assert not marker.exists()
