"""What this machine has left for a process: memory and cores, under every limit that binds it."""

import os
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS = '/proc/self/cgroup'
_GROUPS = Path('/sys/fs/cgroup')
# A control group without a limit says so with a huge number (v1) or the word "max" (v2).
_UNLIMITED = 1 << 60


def available_memory() -> int | None:
    """Bytes that this process and its children may still take; None where nothing tells.

    The least of what is free on the machine, what its control groups (v1 and v2, those above them
    too) leave, and what ``ulimit -v`` and ``ulimit -d`` leave.
    """
    limits = [_free_on_machine(), *_left_by_groups(), *_left_by_ulimits()]
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


def used_memory() -> int | None:
    """Bytes that this process takes, as its tightest limit counts them; None where nothing tells.

    Memory that is used, or under ``ulimit -v`` address space, used or not.
    """
    pages = _read('/proc/self/statm')
    if pages is None:
        return None
    address_space, resident = map(int, pages.split()[:2])
    limited = _ulimit('RLIMIT_AS') is not None
    return (address_space if limited else resident) * os.sysconf('SC_PAGE_SIZE')


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its control groups."""
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for quota, period in _cpu_quotas():
        if quota > 0 and period > 0:
            cores = min(cores, max(1, round(quota / period)))
    return cores


def _free_on_machine() -> int | None:
    for line in (_read('/proc/meminfo') or '').splitlines():
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2
    except (AttributeError, ValueError, OSError):
        return None


def _left_by_groups() -> Iterator[int]:
    for folder in _groups('memory'):
        for limit, usage, cache in (
            ('memory.max', 'memory.current', 'inactive_file '),
            ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file '),
        ):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is None or used is None or most >= _UNLIMITED:
                continue
            # Files that were read count as used, and are dropped for whoever needs memory.
            for line in (_read(folder / 'memory.stat') or '').splitlines():
                if line.startswith(cache):
                    used -= int(line.split()[1])
            yield most - used


def _cpu_quotas() -> Iterator[tuple[int, int]]:
    for folder in _groups('cpu'):
        words = (_read(folder / 'cpu.max') or '').split()
        if len(words) == 2 and words[0].isdigit():
            yield int(words[0]), int(words[1])
        quota, period = _number(folder / 'cpu.cfs_quota_us'), _number(folder / 'cpu.cfs_period_us')
        if quota is not None and period is not None:
            yield quota, period


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that hold this process, its own first."""
    for line in (_read(_OWN_GROUPS) or '').splitlines():
        _, controllers, path = line.split(':', 2)
        if not controllers:  # version 2, alone or beside version 1
            tops = [_GROUPS, _GROUPS / 'unified']
        elif controller in controllers.split(','):
            tops = [_GROUPS / name for name in dict.fromkeys((controllers, controller))]
        else:
            continue
        for top in tops:
            own = top / path.lstrip('/')
            # In a container the tree's top may be its own group, and the path another.
            for folder in (own, *own.parents):
                if folder.is_dir():
                    yield folder
                if folder == top:
                    break


def _left_by_ulimits() -> Iterator[int]:
    words = (_read('/proc/self/statm') or '').split()
    if len(words) < 6:
        return
    page = os.sysconf('SC_PAGE_SIZE')
    for name, pages in (('RLIMIT_AS', words[0]), ('RLIMIT_DATA', words[5])):
        limit = _ulimit(name)
        if limit is not None:
            yield limit - int(pages) * page


def _ulimit(name: str) -> int | None:
    """A soft limit in bytes; None if there is none, or no such thing on this system."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft


def _number(path: Path) -> int | None:
    text = (_read(path) or '').strip()
    return int(text) if text.lstrip('-').isdigit() else None


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return None
