"""Progress without a terminal: few lines, at once, with the pace of what was done since it began."""

import os
import subprocess
import sys
import time

import pytest
import rich

from lightning_mav.utils.console import stage_progress, track


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


def test_items_are_counted_by_lines_now_and_then_whatever_others_do_to_rich(capsys, monkeypatch):
    now, console = 0.0, rich.get_console()
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(rich, "_console", type(console)(stderr=True, force_terminal=True))
    for _ in track(range(20), "Packing", 20):
        now += 4.0
    assert capsys.readouterr() == ("", "Packing: 8 of 20, 0:00:48 left\nPacking: 16 of 20, 0:00:16 left\n")
    assert [*track(range(20), "Packing", 20, show=False)] == [*range(20)]


def test_a_bar_shows_the_title_as_it_is(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    list(track(range(2), "Packing [red]/[/x]", 2))
    assert "Packing [red]/[/x]" in capsys.readouterr().err
