"""Training that is sharded among processes computes what one process computes."""

import pytest

from helpers.runs import assert_equal
from helpers.sharded_runs import FSDP, TENSORS, command, difference, lines, saved, train

STEPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory, micro_world):
    """Runs with Muon and the average: of one process, of two, and of two that go on from the fourth step."""
    place = tmp_path_factory.mktemp("sharded")
    muon = command("sr_h", STEPS, micro_world, "--model.muon=true", "--trainer.gradient_clip_val=0.05")
    muon += ["--weights_dtype=fp32"]
    train(
        place,
        ("one", 1, [*muon, "--global_batch=4"]),
        ("two", 2, [*muon, FSDP]),
        ("again", 2, [*muon, FSDP], ("two", 4)),
    )
    return place


def assert_same(place, other, limit=1e-12, step=STEPS):
    one, two = saved(place, step), saved(other, step)
    for part in TENSORS:
        error, where = difference(one[part], two[part])
        assert error < limit, f"{part}{where}: {error}"


@pytest.mark.timeout(300)
def test_two_processes_compute_what_one_does(place):
    for step in (2, 4, STEPS):  # validation, which swaps in the average, lies between
        assert_same(place / "one", place / "two", step=step)
    losses, others = lines(place / "one")[0], lines(place / "two")[0]
    assert losses == pytest.approx(others, rel=1e-12)
    assert len(losses) == STEPS


@pytest.mark.timeout(300)
def test_resumed_sharded_run_ends_as_one_that_was_not_interrupted(place):
    ends = [saved(place / name, STEPS) for name in ("two", "again")]
    for part in (*TENSORS, "lr_schedulers", "MicroImages", "global_step"):
        assert_equal(ends[0][part], ends[1][part], part)


def test_weights_of_a_sharded_run_are_the_average(place):
    from lightning_mav.weights import load_weights

    (path,) = (place / "two").rglob("sr_h.safetensors")
    weights, average = load_weights(path).state_dict(), saved(place / "two", STEPS)["state_dict"]
    error, where = difference({f"model.{name}": tensor for name, tensor in weights.items()}, average)
    assert error < 1e-6, where
