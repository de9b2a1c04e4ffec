"""A sharded run that is preempted saves its step, leaves with 143, and ends as if undisturbed."""

import pytest
from test_preempted import preempt

from helpers.runs import assert_equal
from helpers.sharded_runs import FSDP, TENSORS, saved


def check(starts, steps, place):
    whole, *others = starts
    assert set(whole["statuses"]) == {0}
    for found in others:
        last = f"step={steps:07}.ckpt" in found["checkpoints"]
        statuses = set(found["statuses"])
        assert statuses == {143 if found["sent"] else 0} or (last and statuses <= {0, 143}), found
        assert found["weights"] == (found["statuses"][0] == 0), found
        assert len(found["checkpoints"]) <= 2, found
    for folder in {found["folder"] for found in others}:
        ends = [saved(place / name, steps) for name in (folder, "whole")]
        for part in (*TENSORS, "lr_schedulers", "MicroImages", "global_step"):
            assert_equal(ends[0][part], ends[1][part], f"{folder}: {part}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_signals_change_nothing(tmp_path, micro_world):
    starts = preempt(2, 20, 7, 8, micro_world, tmp_path, FSDP)
    assert sum(found["sent"] for found in starts) == 20
    check(starts, 8, tmp_path)
    assert len({(found.get("signal"), found.get("within")) for found in starts if found["sent"]}) == 4
