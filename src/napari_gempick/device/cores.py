"""How many CPU threads and how much memory this process may use without crowding out others."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def _cgroup_quota() -> int | None:
    """Return the CPU quota of the control group (v2 or v1) in whole cores, None without one."""
    with contextlib.suppress(OSError, ValueError):
        limit, span = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()[:2]
        return None if limit == "max" else max(1, math.ceil(int(limit) / int(span)))
    with contextlib.suppress(OSError, ValueError):
        quota = int((_CGROUP / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((_CGROUP / "cpu/cpu.cfs_period_us").read_text(encoding="ascii"))
        return None if quota <= 0 else max(1, math.ceil(quota / period))
    return None


def usable_cores() -> int:
    """Return the smallest of: CPU affinity, cgroup quota, SLURM_CPUS_PER_TASK and OMP_NUM_THREADS; at least 1."""
    try:
        limits = [len(os.sched_getaffinity(0))]
    except AttributeError:  # not on Linux
        limits = [os.cpu_count() or 1]
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(quota)
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0]
        if text.isdigit() and int(text) > 0:
            limits.append(int(text))
    return max(1, min(limits))


def usable_memory() -> int:
    """Return the smaller of the computer's memory and the cgroup's limit, bytes; 0 where neither is known."""
    limits = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((_CGROUP / name).read_text(encoding="ascii")))
    return max(0, min(limits, default=0))
