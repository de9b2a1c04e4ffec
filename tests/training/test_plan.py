"""What a run is planned to take is what it takes."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from helpers.runs import UNET
from helpers.stages import build_stage
from lightning_mav.cli import main
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.training.cards import Card, on_card, read_cards
from lightning_mav.training.plan import Sharing, make_plan, step
from lightning_mav.training.plan.build import WithoutContent, batch_of, build
from lightning_mav.training.plan.settings import find_sharing
from lightning_mav.training.plan.sharing import gathered, wire
from lightning_mav.training.plan.step import Ledger, measure
from lightning_mav.training.runs import all_runs, find_run, scales
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.precision import device_type

SMALL = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]
DECODER = [*UNET, "--model.unet.head_channels=8", "--model.unet.attention_levels=[1]"]
BATCHES = ["--data.video.batch_size=1", "--data.image.batch_size=2"]
MIXED_MASKS = "--model.between_prob=0"  # frames are kept at the beginning, at the end, or at both
SLOW, LARGE = pytest.mark.slow, ("decoder", "interpolation")
RUNS = {
    "decoder": ("video", [*DECODER, *BATCHES]),
    "interpolation": ("video", [*DECODER, "--data.batch_size=1", MIXED_MASKS]),
    "prior": ("image", ["--model.net.num_layers=2", "--data.batch_size=2", "--model.cond_drop_prob=0.0"]),
    "sr_lt": (
        "image",
        [*UNET, "--data.batch_size=1", "--data.image_size=32", "--model.unet.checkpoint=true"],
    ),
    "clip": ("image", ["--data.batch_size=2"]),
}


def real_stage(run, overrides):
    """Builds a stage with weights, as ``mav train`` does, and a batch for it."""
    stage, data = build_stage(run, "micro", *overrides)
    batch = batch_of(data)
    if "text" in batch:  # as long as can be, which is planned for
        batch["text"] = ["a large red ball " * 40] * len(batch["text"])
    return stage, batch


@pytest.mark.filterwarnings("ignore:.*caption")
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name in LARGE else ()) for name in RUNS])
def test_operations_and_states_are_those_of_a_real_step(name):
    phase, overrides = RUNS[name]
    run = find_run(name, phase, "micro")
    plan = make_plan(run, "micro", overrides=[*SMALL, *overrides])
    stage, batch = real_stage(run, [*SMALL, *overrides])
    optimizer = stage.configure_optimizers()["optimizer"]
    with FlopCounterMode(display=False) as counter:
        stage.training_step(batch, 0).backward()
    assert plan["flops"]["batch"] == counter.get_total_flops() > 0
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    parameters = [*stage.parameters()]
    assert plan["states"]["parameters"] == bytes_of(parameters)
    assert plan["states"]["gradients"] == bytes_of(p.grad for p in parameters if p.grad is not None)
    assert plan["states"]["optimiser"] == bytes_of(states)
    assert plan["states"]["average"] == bytes_of([*parameters, *stage.buffers()])
    assert plan["parameters"]["total"] == sum(p.numel() for p in parameters)


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_fullest_moment_is_when_most_bytes_are_alive():
    ledger = Ledger({})
    with FakeTensorMode(), ledger:
        a = torch.empty(1000)
        b = a + 1
        view = b[:10]
        ledger.kind = "temporaries"
        c = torch.empty(500)
        del a, c
        d = view + 1
    assert ledger.fullest == {"activations": 8000, "temporaries": 2000}
    assert ledger.now["activations"] == 4000
    assert ledger.now["temporaries"] == bytes_of([d]) == 40


def test_fullest_moment_counts_only_the_share_that_a_device_holds():
    ledger = Ledger({"parameters": 0.1})
    with FakeTensorMode(), ledger:
        ledger.enter([torch.empty(1000)], "parameters")
        assert ledger.most == pytest.approx(4000)  # made as an activation, and already gone
        ledger.enter([kept := torch.empty(1000)])
        ledger.move(kept, "parameters")
    assert ledger.sum == pytest.approx(400)


def sr(*overrides):
    cli = build(find_run("sr_lt", "image", "micro"), "micro", [*UNET, "--data.image_size=32", *overrides])
    return measure(cli.model, cli.datamodule, on_gpu=True)


def test_activations_grow_with_the_batch_and_shrink_when_computed_again():
    one, two = sr("--data.batch_size=1"), sr("--data.batch_size=2")
    assert two.flops == 2 * one.flops
    assert two.fullest["activations"] > 1.8 * one.fullest["activations"]
    again = sr("--data.batch_size=2", "--model.unet.checkpoint=true")
    assert again.fullest["activations"] < 0.6 * two.fullest["activations"]
    assert again.flops > 1.2 * two.flops
    assert device_type(torch.zeros(1)) == "cpu"  # planning is over


def test_one_device_sends_nothing_and_many_send_as_rings_do():
    weights = [torch.empty(10, 5), torch.empty(7)]
    settings = {"accumulate": 1, "num_bytes": 2, "muon": False}
    assert wire(Sharing(), 17, [20, 20], weights, **settings) == {}
    for devices in (2, 4, 64):
        part = (devices - 1) / devices
        sent = wire(Sharing(devices), 17, [20, 20], weights, **settings)
        assert sent == {"all_reduce": 2 * int(part * 4 * 57)}
        sent = wire(Sharing(devices, "fsdp"), 17, [20, 20], weights, **settings)
        assert sent == {
            "all_gather": int(part * (4 * 17 + 2 * (20 + 20 + 20))),
            "reduce_scatter": int(part * 4 * 57),
        }
        twice = wire(Sharing(devices, "fsdp"), 17, [20, 20], weights, **{**settings, "accumulate": 2})
        assert twice == {name: 2 * size for name, size in sent.items()}
        muon = wire(Sharing(devices, "fsdp"), 17, [20, 20], weights, **{**settings, "muon": True})
        assert muon["whole_matrices"] == 2 * int(part * 4 * 50) // devices


def test_groups_of_devices_send_as_rings_of_their_own():
    weights = [torch.empty(10, 5), torch.empty(7)]
    settings = {"accumulate": 2, "num_bytes": 2, "muon": True}
    alone = wire(Sharing(8, "fsdp"), 17, [20, 20], weights, **settings)
    groups = Sharing(32, "fsdp", num_replicas=4)
    sent = wire(groups, 17, [20, 20], weights, **settings)
    assert sent.pop("all_reduce") == 2 * 2 * int(3 / 4 * (4 * 57 // 8))
    assert sent == alone
    assert groups.held(weights) == Sharing(8, "fsdp").held(weights)
    assert groups.share == 1 / 8


@pytest.mark.parametrize(
    ("strategy", "devices", "copies", "words"),
    [
        ("fsdp", 6, 4, "6 devices cannot be divided"),
        ("fsdp", 4, 4, "4 devices cannot be divided"),
        ("ddp", 4, 2, "fsdp alone"),
    ],
)
def test_copies_that_do_not_fit_the_devices_are_refused(strategy, devices, copies, words):
    with pytest.raises(UsageError, match=words):
        find_sharing(None, devices, strategy, copies)
    assert find_sharing(None, 8, "fsdp", 2).parts == 4


@pytest.mark.parametrize("devices", [2, 3, 8, 64])
def test_shards_are_what_torch_divides_a_tensor_into(devices):
    tensors = [torch.empty(512, 512, 3, 3), torch.empty(3, 64), torch.empty(100), torch.empty(())]
    expected = [(tensor.chunk(devices)[0] if tensor.ndim else tensor).numel() for tensor in tensors]
    assert Sharing(devices, "fsdp").held(tensors) == 4 * sum(expected)
    assert Sharing(devices, "ddp").held(tensors) == bytes_of(tensors)


def test_what_is_gathered_is_two_units_and_the_gradient_of_one():
    assert gathered(7, [10, 30, 20], 2) == 4 * 7 + 2 * (50 + 2 * 30) + 4 * 30
    assert gathered(7, [], 2) == 28


def test_a_global_batch_is_reached_by_accumulation():
    run = find_run("sr_lt", "image", "micro")
    small = [*UNET, "--data.image_size=32", "--data.batch_size=2"]
    once = make_plan(run, "micro", devices=2, global_batch=4, overrides=small)
    thrice = make_plan(run, "micro", devices=2, global_batch=12, strategy="fsdp", overrides=small)
    assert (once["accumulate"], thrice["accumulate"], thrice["global_batch"]) == (1, 3, 12)
    assert thrice["flops"]["step"] == pytest.approx(3 * once["flops"]["step"], rel=1e-3)
    assert thrice["memory"]["gradients"] == thrice["states"]["gradients"]  # all of them, all the time
    assert once["memory"]["gathers"] == once["states"]["gradients"]  # DDP's buckets
    assert thrice["states"]["parameters"] == pytest.approx(once["states"]["parameters"] / 2, rel=0.05)
    for plan in (once, thrice):
        assert plan["memory"].pop("peak") == sum(plan["memory"].values())


def test_cards_are_told_by_memory_and_speed():
    card = Card("a card", 10, 100, "its datasheet")
    found = on_card(card, 9_000_000_000, 3e13, 86400, 0.3)
    assert found["fits"]
    assert not found["calibrated"]
    assert found["seconds_per_step"] == pytest.approx(1)
    assert found["days"] == pytest.approx(1)
    measured = on_card(
        Card("a card", 10, 100, "its datasheet", calibration=1.2), 9_000_000_000, 3e13, -1, 0.3
    )
    assert measured["calibrated"]
    assert not measured["fits"]
    assert measured["days"] is None
    assert all(card.source for card in read_cards().values())


@pytest.mark.parametrize(
    "text", ["[]", "a: 3", "a: {name: x}", "a: {name: x, memory: -1, tflops: 1, source: y}"]
)
def test_a_table_of_cards_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "cards.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"cards\.yaml: is no table of cards"):
        read_cards(tmp_path / "cards.yaml")


def test_json_is_printed_and_written(tmp_path, capsys):
    small = [*UNET, "--data.image_size=32", "--data.batch_size=2", "--trainer.max_steps=-1"]
    argv = ["plan", "--stage", "sr_lt", "--scale", "micro", *small, "--out", str(tmp_path / "a/plan.json")]
    main([*argv, "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan == json.loads((tmp_path / "a/plan.json").read_text())
    assert plan["cards"]["h100"]["days"] is None
    main(argv)
    out = capsys.readouterr().out
    assert "not calibrated" in out
    assert "no end" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage", "decodr"], "no STAGE 'decodr'"),
        (["--stage", "decoder", "--scale", "huge"], "no SCALE 'huge'"),
        (["--stage", "decoder", "--phase", "text"], "no PHASE 'text'"),
        (["--stage", "decoder", "--strategy", "zero"], "invalid choice: 'zero'"),
        (["--stage", "decoder", "--trainer.strategy=zero"], "choose ddp or fsdp"),
        (["--stage", "decoder", "--devices", "0"], "--devices: must be a whole number of 1 or more"),
        (["--stage", "decoder", "--strategy", "fsdp"], "give --devices 2 or more"),
        (["--stage", "decoder", "--devices", "3", "--global-batch", "100"], "cannot be shared: 3 devices"),
        (["--stage", "decoder", "--trainer.acceleratr=cpu"], "did you mean 'accelerator'"),
        (["--stage", "decoder", "--model.unet.channels=-1"], "channels must be at least 1"),
        (["--stage", "decoder", "--model.unet.image_embed_dim=7"], "fit each other"),
        (["--stage", "clip", "--phase", "text", "--scale", "emoji"], "leave it out"),
        (["--stage", "decoder", "--mfu", "2"], "--mfu: must be a number from 0.001 to 1"),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as left:
        main(["plan", *arguments])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.count("\n") == 1
    assert words in error


class KarloSized(nn.Module):
    """Trains the network of Karlo's size as benchmarks/karlo.py does, to compare with what was measured."""

    def __init__(self, checkpoint):
        super().__init__()
        sizes = {"channels": 320, "num_blocks": 3, "image_embed_dim": 768, "fps_condition": True}
        self.model = Pseudo3DUNet(**sizes, checkpoint=checkpoint)
        self.trainer = SimpleNamespace(precision="bf16-mixed")

    def setup(self, stage):
        pass

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), fused=True)

    def training_step(self, batch, batch_idx):
        cond = {"image_embed": torch.randn(1, 768), "fps": torch.ones(1)}
        return self.model(batch["video"], torch.zeros(1), **cond).float().square().mean()


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "gigabytes"), [(False, 32.23), (True, 19.83)])
def test_memory_is_what_was_measured_on_an_h200(checkpoint, gigabytes, monkeypatch):
    # docs/benchmarks.md, "Training step at the size of Karlo's decoder": ours, and ours, recomputed.
    monkeypatch.setattr(step, "batch_of", lambda data: {"video": torch.randn(1, 3, 16, 64, 64)})
    with WithoutContent():
        stage = KarloSized(checkpoint)
    found = measure(stage, None, on_gpu=True)
    assert sum(found.fullest.values()) == pytest.approx(gigabytes * 1e9, rel=0.02)
    assert checkpoint or found.flops == pytest.approx(37.7e12, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("scale", scales())
@pytest.mark.parametrize("run", all_runs(), ids=lambda run: run.name)
def test_every_run_of_every_scale_is_planned(run, scale):
    for devices, strategy in ((1, None), (8, "ddp"), (64, "fsdp")):
        plan = make_plan(run, scale, devices=devices, strategy=strategy)
        assert plan["flops"]["step"] > 0
        assert plan["memory"]["peak"] > plan["states"]["parameters"]
