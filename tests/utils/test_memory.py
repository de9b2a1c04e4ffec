"""The allocator keeps what is freed, so that the next large tensor starts without page faults."""

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys, torch
from lightning_mav.utils.memory import keep_freed_memory
understood = keep_freed_memory() if sys.argv[1] == "keep" else False
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
before = faults()
for _ in range(5):
    torch.ones(2**24)
print(json.dumps([understood, faults() - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing happens without glibc")
def test_freed_memory_is_used_again_without_page_faults():
    def run(mode):
        command = [sys.executable, "-c", PROGRAM, mode]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    understood, kept = run("keep")
    _, usual = run("usual")
    assert understood
    assert kept < usual / 10
