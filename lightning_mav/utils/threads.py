"""How many threads compute, and how they wait for each other.

OpenMP, which torch computes with, lets threads wait for each other in a loop for milliseconds before they
sleep. Where other programs use the processors too, a waiting thread often keeps the one it waits for from
running, and a program takes several times as long. A short loop costs little, whether the machine is idle or
busy. OpenMP reads its settings when it is loaded, so they must be there before torch is imported.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from .textfile import split_lines

# GNU's OpenMP, which torch has on Linux: turns of the loop, by default 300,000. With far fewer, waking the
# threads up slows an idle machine; with more, they slow a busy one. Measured by: make bench BENCH=contended
SPINS = "5000"
# Intel's and LLVM's, which torch has on Windows and macOS: milliseconds, by default 200; 0 means no loop.
BLOCKTIME = "1"

WAITING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")

_chosen: set[str] = set()  # variables that this process has set, not the user


def set_up_threads(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Sets what OpenMP reads when it is loaded, unless the user has set it.

    Threads wait for each other briefly. Their number is left to OpenMP, which knows the affinity of the
    process, unless its control groups allow it less. Called when the package is imported.

    Args:
        environment: Variables to read and to set; processes that are started later inherit them.
        root: As in ``cgroup_cores``.
    """
    if not any(name in environment for name in WAITING):
        environment.update(GOMP_SPINCOUNT=SPINS, KMP_BLOCKTIME=BLOCKTIME)
    if not any(name in environment for name in THREADS) and num_cores(root) < _affinity():
        environment["OMP_NUM_THREADS"] = str(num_cores(root))
        _chosen.add("OMP_NUM_THREADS")


def share_threads(num_processes: int, num_threads: int | None = None) -> int | None:
    """How many threads each of several processes should compute with, or None if the user has set that.

    Processes that are started later inherit the number.

    Args:
        num_processes: How many processes compute.
        num_threads: Threads per process; by default each process gets its share of the cores.
    """
    if any(name in os.environ and name not in _chosen for name in THREADS):
        return None
    num_threads = num_threads or max(1, num_cores() // num_processes)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    _chosen.add("OMP_NUM_THREADS")
    return num_threads


def num_cores(root: Path = Path("/")) -> int:
    """How many processors this process may use, by its affinity and by the quota of its control groups.

    A part of a processor counts as one: three threads use up a quota of 2.5, two do not.

    Args:
        root: As in ``cgroup_cores``.
    """
    return max(1, math.ceil(min(_affinity(), cgroup_cores(root))))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_cores(root: Path = Path("/")) -> float:
    """Processors' worth of time that the control groups of this process grant it; infinite without a quota.

    A group is bound by its parents too, so the least of all counts. Both versions of control groups are read.

    Args:
        root: Where ``proc`` and the folders that ``proc/self/mountinfo`` names are.
    """
    return min((quota for group in _groups(root) if (quota := _quota(group)) is not None), default=math.inf)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups that may have a quota, each with its parents as far as mounted."""
    try:
        memberships = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
        mounts = [line.split() for line in _lines(root / "proc/self/mountinfo")]
    except OSError:  # not Linux, or nothing to read
        return
    for fields in mounts:
        # ID, parent, device, root within the file system, mount point, ... - type, source, options
        if "-" not in fields:
            continue
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        for _, controllers, path in (m for m in memberships if len(m) == 3):
            version_2 = kind == "cgroup2" and controllers == ""
            version_1 = kind == "cgroup" and "cpu" in options and "cpu" in controllers.split(",")
            if not (version_1 or version_2):
                continue
            top = root / fields[4].lstrip("/")
            # In a container the mount may begin at the container's own group, which the path still names.
            inner = path[len(fields[3]) :] if f"{path}/".startswith(f"{fields[3].rstrip('/')}/") else ""
            group = top / inner.strip("/")
            yield from [group, *(parent for parent in group.parents if parent.is_relative_to(top))]


def _quota(group: Path) -> float | None:
    """Processors' worth of time of one group, or None if it has no quota of its own."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_bytes().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_bytes()
            period = (group / "cpu.cfs_period_us").read_bytes()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max", or not there
        return None


def _lines(path: Path) -> list[str]:
    return split_lines(path.read_bytes().decode(errors="replace"))
