"""Threads wait briefly for each other, and are as many as the process has processors for."""

import math
import os
import subprocess
import sys

import pytest

from helpers.places import ROOT
from lightning_mav.utils import threads
from lightning_mav.utils.threads import (
    BLOCKTIME,
    SPINS,
    cgroup_cores,
    num_cores,
    set_up_threads,
    share_threads,
)

NAMES = (*threads.WAITING, *threads.THREADS)
# Stops at the first import of torch, and says what OpenMP would read.
SPY = f"""
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print({{name: os.environ[name] for name in {NAMES} if name in os.environ}}, flush=True)
            os._exit(0)
sys.meta_path.insert(0, Spy())
"""
ENTRIES = {
    "generate": "from lightning_mav.cli import main; main(['generate', 'a red ball', '--out', 'OUT'])",
    "train": "from lightning_mav.cli import main; main(['train', 'prior', '--scale', 'nano'])",
    "evaluate": "from lightning_mav.cli import main; main(['evaluate', 'micro'])",
    "ablations": "import lightning_mav.evaluation.ablations.judges",
    "world": "from lightning_mav.cli import main; main(['world', '--out', 'OUT'])",
    "data": "from lightning_mav.cli import main; main(['data', 'check', 'OUT'])",
    "fit": "from lightning_mav.cli import main; main(['fit'])",
    "python -m lightning_mav": "import runpy; sys.argv = ['mav', 'generate', 'a red ball', '--out', 'OUT']; "
    "runpy.run_module('lightning_mav', run_name='__main__')",
    "Cascade": "from lightning_mav import Cascade",
    "stages": "import lightning_mav.stages",
    "worker": "import lightning_mav.datamodules",
    "benchmarks": "from benchmarks.__main__ import main; main(['frechet', '--no-docs'])",
    "tests": f"sys.path.insert(0, {str(ROOT / 'tests')!r}); import conftest; import lightning_mav.cascade",
}


def read_by_openmp(program, tmp_path, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | variables
    command = [sys.executable, "-c", program.replace("OUT", str(tmp_path / "out"))]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_sets_up_threads_before_torch_is_imported(entry, tmp_path):
    seen = read_by_openmp(SPY + ENTRIES[entry], tmp_path).stdout
    assert f"'GOMP_SPINCOUNT': '{SPINS}', 'KMP_BLOCKTIME': '{BLOCKTIME}'" in seen


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP elsewhere")
@pytest.mark.parametrize(
    ("variables", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_openmp_itself_reads_it(variables, spins, tmp_path):
    """What the library says of itself when it is loaded; its own default would be 300000."""
    told = read_by_openmp("import lightning_mav.cascade", tmp_path, OMP_DISPLAY_ENV="verbose", **variables)
    assert f"GOMP_SPINCOUNT = '{spins}'" in told.stderr


@pytest.mark.parametrize("name", threads.WAITING)
def test_what_the_user_says_of_waiting_wins(name):
    environment = {name: "1"}
    set_up_threads(environment)
    assert {name: environment[name] for name in threads.WAITING if name in environment} == {name: "1"}


def test_torch_that_is_there_already_is_left_alone(tmp_path):
    program = "import os, torch, lightning_mav; print('GOMP_SPINCOUNT' in os.environ)"
    assert read_by_openmp(program, tmp_path).stdout == "False\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_is_heeded(tmp_path):
    program = """
import os
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
import lightning_mav.cascade, torch
from lightning_mav.utils.threads import num_cores
print(num_cores(), torch.get_num_threads())
"""
    assert read_by_openmp(program, tmp_path).stdout == "1 1\n"


def make_groups(root, mounts, membership, files):
    """A machine's control groups, as files below ``root``."""
    for path, text in {
        "proc/self/mountinfo": "".join(f"{line}\n" for line in mounts),
        "proc/self/cgroup": "".join(f"{line}\n" for line in membership),
        **files,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


DISK = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
V2 = "30 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "32 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
GROUP = "sys/fs/cgroup"
CPU = "sys/fs/cgroup/cpu,cpuacct"
MACHINES = {
    "no files": ([], [], {}, math.inf),
    "no quota": ([DISK, V2], ["0::/a"], {f"{GROUP}/a/cpu.max": "max 100000\n"}, math.inf),
    "quota": ([DISK, V2], ["0::/a"], {f"{GROUP}/a/cpu.max": "150000 100000\n"}, 1.5),
    "the root has no file": ([V2], ["0::/"], {}, math.inf),
    "a container's root": ([V2], ["0::/"], {f"{GROUP}/cpu.max": "200000 100000\n"}, 2),
    "the parent has less": (
        [V2],
        ["0::/a/b/c"],
        {f"{GROUP}/a/cpu.max": "50000 100000", f"{GROUP}/a/b/c/cpu.max": "400000 100000"},
        0.5,
    ),
    "the child has less": (
        [V2],
        ["0::/a/b"],
        {f"{GROUP}/a/cpu.max": "900000 100000", f"{GROUP}/a/b/cpu.max": "300000 100000"},
        3,
    ),
    "another's quota": ([V2], ["0::/a"], {f"{GROUP}/b/cpu.max": "100000 100000"}, math.inf),
    "damaged": ([V2, "1 2", ""], ["0::/a", "x"], {f"{GROUP}/a/cpu.max": "lots\n"}, math.inf),
    "version 1": (
        [MEMORY, V1],
        ["4:memory:/m", "3:cpu,cpuacct:/a/b"],
        {
            f"{CPU}/a/b/cpu.cfs_quota_us": "-1\n",
            f"{CPU}/a/b/cpu.cfs_period_us": "100000\n",
            f"{CPU}/a/cpu.cfs_quota_us": "250000\n",
            f"{CPU}/a/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "version 1, a container that sees the path outside": (
        ["31 22 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"],
        ["3:cpu:/docker/abc/inner"],
        {
            f"{GROUP}/cpu/cpu.cfs_quota_us": "200000",
            f"{GROUP}/cpu/cpu.cfs_period_us": "100000",
            f"{GROUP}/cpu/inner/cpu.cfs_quota_us": "50000",
            f"{GROUP}/cpu/inner/cpu.cfs_period_us": "50000",
        },
        1,
    ),
    "a mount of another group": (
        ["31 22 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"],
        ["3:cpu:/docker/abcdef"],
        {f"{GROUP}/cpu/cpu.cfs_quota_us": "200000", f"{GROUP}/cpu/cpu.cfs_period_us": "100000"},
        2,
    ),
    "both versions": (
        [V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), V1],
        ["3:cpu,cpuacct:/a", "0::/a"],
        {f"{CPU}/a/cpu.cfs_quota_us": "300000", f"{CPU}/a/cpu.cfs_period_us": "100000"},
        3,
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_quota_of_control_groups_is_read(machine, tmp_path):
    mounts, membership, files, cores = MACHINES[machine]
    assert cgroup_cores(make_groups(tmp_path, mounts, membership, files)) == cores


@pytest.mark.parametrize(
    ("quota", "affinity", "cores"),
    [("max", 8, 8), ("100000", 8, 1), ("50000", 8, 1), ("250000", 8, 3), ("9900000", 8, 8), ("400000", 2, 2)],
)
def test_cores_are_what_affinity_and_quota_allow(quota, affinity, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda: affinity)
    root = make_groups(tmp_path, [V2], ["0::/a"], {f"{GROUP}/a/cpu.max": f"{quota} 100000\n"})
    assert num_cores(root) == cores
    environment = {}
    set_up_threads(environment, root)
    # OpenMP counts the affinity by itself.
    assert environment.get("OMP_NUM_THREADS") == (str(cores) if cores < affinity else None)
    threads._chosen.clear()
    for name in threads.THREADS:
        environment = {name: "7"}
        set_up_threads(environment, root)
        assert {name: environment[name] for name in threads.THREADS if name in environment} == {name: "7"}


def test_processes_share_the_cores(monkeypatch):
    """Also those whose number of threads a quota has chosen, and those that inherit theirs."""
    for name in threads.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_chosen", set())
    monkeypatch.setattr(threads, "num_cores", lambda: 8)
    assert share_threads(3) == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert share_threads(100) == 1
    assert share_threads(2, num_threads=3) == 3
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr(threads, "_chosen", set())  # as in a process that inherits it
    assert share_threads(2) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert share_threads(2) is None
    assert share_threads(2, num_threads=3) is None
    assert os.environ["OMP_NUM_THREADS"] == "5"
