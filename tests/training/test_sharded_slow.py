"""Sharded training with more processes, of other stages, and gone on with by other numbers of processes."""

import pytest
import torch

from helpers.runs import assert_equal
from helpers.sharded_runs import FSDP, TENSORS, command, difference, lines, saved, train

STEPS = 20
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def assert_same(one, two, limit, parts=TENSORS, floor=1e-30):
    for part in parts:
        error, where = difference(one[part], two[part], floor=floor)
        assert error < limit, f"{part}{where}: {error}"


@pytest.fixture(scope="module")
def places(tmp_path_factory, micro_world):
    """Runs of one process and of four, and runs that go on from their twelfth step with other numbers."""
    place = tmp_path_factory.mktemp("places")
    muon = command("sr_h", STEPS, micro_world, "--model.muon=true", "--data.batch_size=1", "--global_batch=4")
    recomputed = [*muon, FSDP, "--model.unet.checkpoint=true"]
    train(
        place,
        ("one", 1, muon),
        ("four", 4, [*muon, FSDP]),
        ("two copies", 4, [*muon, FSDP, "--num_replicas=2"]),
        ("recomputed", 4, recomputed),
        ("compiled", 4, [*muon, FSDP, "compiled"]),
        ("recomputed and compiled", 4, [*recomputed, "compiled"]),
        ("4 to 4", 4, [*muon, FSDP], ("four", 12)),
        ("4 to 2", 2, [*muon, FSDP], ("four", 12)),
        ("4 to 1", 1, muon, ("four", 12)),
        ("4 to ddp", 2, [*muon, "--trainer.strategy=ddp"], ("four", 12)),
        ("1 to 4", 4, [*muon, FSDP], ("one", 12)),
        ("copies to 4", 4, [*muon, FSDP], ("two copies", 12)),
    )
    return place


OTHERS = ["four", "two copies", "recomputed", "compiled", "recomputed and compiled"]
OTHERS += ["4 to 2", "4 to 1", "4 to ddp", "1 to 4", "copies to 4"]


@pytest.mark.parametrize("name", OTHERS)
def test_any_number_of_processes_computes_what_one_does(name, places):
    assert_same(saved(places / "one", STEPS), saved(places / name, STEPS), 1e-12)
    losses, others = lines(places / "one")[0], lines(places / name)[0]
    assert losses[-len(others) :] == pytest.approx(others, rel=1e-12)


def test_same_number_of_processes_goes_on_bit_by_bit(places):
    for part in (*TENSORS, "lr_schedulers", "MicroImages", "global_step"):
        assert_equal(saved(places / "four", STEPS)[part], saved(places / "4 to 4", STEPS)[part], part)


@pytest.mark.parametrize("muon", [False, True])
def test_single_precision_differs_by_rounding(muon, tmp_path, micro_world):
    own = command("sr_h", STEPS, micro_world, f"--model.muon={str(muon).lower()}", "--data.batch_size=1")
    own += ["--global_batch=4"]
    train(tmp_path, ("one", 1, own), ("four", 4, [*own, FSDP]), double=False)
    one, four = saved(tmp_path / "one", STEPS), saved(tmp_path / "four", STEPS)
    weights = ("state_dict", "current_model_state")
    # Muon makes an update of full size of a gradient that is next to nothing, rounding and all: that leaves
    # some biases and new layers anything but equal, and all weights together as they were.
    if not muon:
        assert_same(one, four, 1e-5, weights)
    for part in weights:
        squares = [(one[part][k] - four[part][k]).square().sum() for k in one[part]]
        norm = sum(tensor.square().sum() for tensor in one[part].values()).sqrt()
        assert sum(squares).sqrt() / norm < (1e-4 if muon else 1e-6)
    assert lines(tmp_path / "one")[0] == pytest.approx(
        lines(tmp_path / "four")[0], rel=1e-5 if muon else 1e-6
    )


@pytest.mark.parametrize("name", ["clip", "prior", "decoder", "sr_lt"])
def test_other_stages_are_sharded_too(name, tmp_path, micro_world):
    """Scalars (CLIP), a frozen CLIP beside the network (prior), images beside videos (decoder)."""
    own = ["--model.init_from=null"] if name in ("decoder", "sr_lt") else []
    own += ["--model.clip=micro/clip", "--model.unet.image_embed_dim=64"] if name == "decoder" else []
    own += (
        ["--model.clip=micro/clip", "--model.net.embed_dim=64", "--model.net.text_width=64"]
        if name == "prior"
        else []
    )
    own = command(name, 4, micro_world, *own)
    train(tmp_path, ("ddp", 2, [*own, "--trainer.strategy=ddp"]), ("fsdp", 2, [*own, FSDP]))
    assert_same(
        saved(tmp_path / "ddp", 4), saved(tmp_path / "fsdp", 4), 1e-9, floor=1e-6
    )  # some gradients are zero


def test_each_process_holds_its_share(tmp_path, micro_world):
    own = command(
        "sr_h", 2, micro_world, "--model.unet.channels=64", "--data.batch_size=1", "--global_batch=4"
    )
    train(tmp_path, ("one", 1, own), ("four", 4, [*own, FSDP]), double=False)
    (whole,), parts = lines(tmp_path / "one")[1], lines(tmp_path / "four")[1]
    assert len(parts) == 4
    assert parts == pytest.approx([whole / 4] * 4, rel=0.05)


def test_bf16_sums_gradients_in_single_precision(tmp_path, micro_world):
    """A half of a sum of two bf16 numbers is often none.

    Blocks have their first gradient at the second step: AdamW's first moment is a tenth of it.
    """
    own = command("sr_h", 2, micro_world, "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=0")
    train(tmp_path, ("two", 2, [*own, "--model.muon=false", FSDP]), double=False)
    found = saved(tmp_path / "two", 2)
    assert all(tensor.dtype == torch.float32 for tensor in found["current_model_state"].values())
    states = found["optimizer_states"][0]["state"].values()
    named = zip(found["current_model_state"], states, strict=True)
    moments = [state["exp_avg"] for name, state in named if "_block" in name]  # what is around is in fp32
    gradients = torch.cat([10 * moment.flatten() for moment in moments])
    gradients = gradients[gradients.abs() > 1e-12]
    is_no_bf16 = (gradients - gradients.bfloat16().float()).abs() > 1e-4 * gradients.abs()
    assert is_no_bf16.float().mean() > 0.2
