"""Memory and cores under the limits of control groups (v1 and v2) and of the shell."""

import resource
import sys
from pathlib import Path

import pytest

from mae_plugin.engine import machine
from mae_plugin.engine.machine import available_memory, usable_cores, used_memory

MIB = 1 << 20


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Make a tree of control groups, and say that this process is in one of them."""
    monkeypatch.setattr(machine, '_GROUPS', tmp_path / 'cgroup')
    monkeypatch.setattr(machine, '_OWN_GROUPS', str(tmp_path / 'own'))

    def make(own, **files):
        (tmp_path / 'own').write_text(own)
        for name, text in files.items():
            path = tmp_path / 'cgroup' / name.replace('__', '/').replace(':', '.')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return make


def test_without_groups_it_is_what_the_machine_has_free(groups):
    groups('')
    with open('/proc/meminfo') as file:
        free = next(int(line.split()[1]) for line in file if line.startswith('MemAvailable'))
    assert available_memory() == pytest.approx(free * 1024, rel=0.2)


def test_version_2_with_a_limit_of_a_parent(groups):
    groups(
        '0::/job/step\n',
        **{
            'job__step__memory:max': 'max\n',
            'job__step__memory:current': f'{40 * MIB}\n',
            'job__memory:max': f'{300 * MIB}\n',
            'job__memory:current': f'{200 * MIB}\n',
            'job__memory:stat': f'anon 5\ninactive_file {50 * MIB}\nactive_file {9 * MIB}\n',
            'job__cpu:max': '150000 100000\n',
        },
    )
    assert available_memory() == 150 * MIB
    assert usable_cores() <= 2


def test_version_1_beside_version_2_in_a_container(groups):
    """The path is that of the host, the tree begins at the container's own group."""
    groups(
        '4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n',
        **{
            'memory__memory:limit_in_bytes': f'{400 * MIB}\n',
            'memory__memory:usage_in_bytes': f'{100 * MIB}\n',
            'memory__memory:stat': f'inactive_file 7\ntotal_inactive_file {20 * MIB}\n',
            'cpu,cpuacct__cpu:cfs_quota_us': '50000\n',
            'cpu,cpuacct__cpu:cfs_period_us': '100000\n',
            'unified__memory:current': '5\n',
        },
    )
    assert available_memory() == 320 * MIB
    assert usable_cores() == 1


def test_no_limit_as_version_1_writes_it(groups):
    groups(
        '4:memory:/\n',
        **{
            'memory__memory:limit_in_bytes': '9223372036854771712\n',
            'memory__memory:usage_in_bytes': f'{100 * MIB}\n',
            'cpu__cpu:cfs_quota_us': '-1\n',
            'cpu__cpu:cfs_period_us': '100000\n',
        },
    )
    assert available_memory() > 320 * MIB


@pytest.fixture
def address_space():
    """Limit this process's address space to so much more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit(more):
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        soft = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_under_ulimit_address_space_counts(address_space):
    resident = used_memory()
    address_space(256 * MIB)
    assert available_memory() == pytest.approx(256 * MIB, abs=32 * MIB)
    assert used_memory() > resident  # what is reserved and not used counts too


def test_without_the_module_resource(monkeypatch):
    monkeypatch.setitem(sys.modules, 'resource', None)
    assert available_memory() > 0 and used_memory() > 0


def test_where_nothing_tells(monkeypatch):
    def fail(name):
        raise ValueError(f'unrecognized configuration name {name}')

    monkeypatch.setattr(machine, '_read', lambda path: None)
    monkeypatch.setattr(machine.os, 'sysconf', fail)
    assert available_memory() is None and used_memory() is None and usable_cores() >= 1
