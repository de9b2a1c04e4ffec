"""Progress without a terminal: few lines, at once, with the pace of what was done since it began."""

import os
import subprocess
import sys
import time

import pytest

from lightning_mav.utils.console import stage_progress


def test_lines_come_now_and_then_and_count_what_was_done_before_for_no_pace(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    with stage_progress("generating") as progress:
        progress("samples", 900, 1000)  # by a run that was killed
        for done in range(901, 1001):
            now += 4.0
            progress("samples", done, 1000)
        now += 2.0
        progress("judging", 1, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "generating: samples, 908 of 1000, 4.0 s each, 0:06:08 left"
    assert len(lines) == 400 // 32 + 2
    assert lines[-2:] == ["generating: samples, 1000 steps, 400.0 s", "generating: judging, 1 steps, 2.0 s"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_are_written_at_once(unbuffered, tmp_path):
    program = (
        "import os, sys\n"
        "from lightning_mav.utils.console import open_streams\n"
        "open_streams()\n"
        "print('step 1 of 2', file=sys.stderr)\n"
        "os._exit(0)\n"  # drops what is still in a buffer
    )
    with (tmp_path / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        subprocess.run([sys.executable, "-c", program], stderr=log, env=environment, check=True)
    assert (tmp_path / "log").read_text() == "step 1 of 2\n"
