"""What a training will need, before it starts: parameters, operations, memory, traffic and days."""

from collections import Counter
from typing import Any

from ...utils.errors import UsageError, first_line
from ..cards import on_card, read_cards
from ..runs import Run
from .build import PlanCLI, batch_size_of, build
from .settings import find_accumulation, find_sharing
from .sharing import Sharing, gathered, unit_sizes, wire
from .step import Measured, measure

MFU = 0.3  # what our compiled decoder reaches on an H200, see docs/benchmarks.md

__all__ = ["MFU", "Sharing", "make_plan"]


def make_plan(
    run: Run,
    scale: str,
    *,
    devices: int | None = None,
    strategy: str | None = None,
    global_batch: int | None = None,
    mfu: float = MFU,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Plans a run: returns what ``mav plan`` prints, as plain values; sizes in bytes, operations in FLOP.

    Args:
        run: Stage and phase.
        scale: Scale.
        devices: Number of devices; taken from the configuration if None.
        strategy: ``ddp`` or ``fsdp``; taken from the configuration if None.
        global_batch: Samples in a step, over all devices; taken from the configuration if None.
        mfu: Share of a card's peak speed that the training reaches.
        overrides: Arguments for LightningCLI, which override the configuration layers.

    Raises:
        UsageError: If something in the configuration is wrong, or the numbers do not match each other.
    """
    cli = build(run, scale, overrides or [])
    config, stage, data = cli.config.fit, cli.model, cli.datamodule
    sharing = find_sharing(config.trainer, devices, strategy, config.num_replicas)
    batch = batch_size_of(data)
    accumulate = find_accumulation(config, batch, sharing.devices, global_batch)
    measured = measure_for(cli, sharing, accumulate)
    num_bytes = 4 if config.trainer.precision == "32-true" else 2
    root, units = unit_sizes(stage)
    muon = bool(getattr(stage, "muon", False) and not config.optimizer)
    trained = [p for p in stage.parameters() if p.requires_grad]
    sent = wire(sharing, root, units, trained, accumulate=accumulate, num_bytes=num_bytes, muon=muon)
    held = states_of(cli, measured, sharing)
    memory = memory_of(measured, sharing, held, gathered(root, units, num_bytes))
    flops = flops_of(measured, sharing, batch, accumulate)
    peak, steps = sum(memory.values()), config.trainer.max_steps
    return {
        "run": run.name,
        "scale": scale,
        "devices": sharing.devices,
        "strategy": sharing.strategy if sharing.devices > 1 else None,
        "num_replicas": sharing.num_replicas,
        "precision": config.trainer.precision,
        "batch_size": batch,
        "accumulate": accumulate,
        "global_batch": batch * accumulate * sharing.devices,
        "steps": steps,
        "parameters": parameters_of(stage),
        "flops": flops,
        "states": held,
        "memory": {**memory, "peak": peak},
        "wire": {**sent, "total": sum(sent.values())},
        "mfu": mfu,
        "cards": {
            key: on_card(card, peak, flops["device"], steps, mfu) for key, card in read_cards().items()
        },
    }


def measure_for(cli: PlanCLI, sharing: Sharing, accumulate: int) -> Measured:
    """Measures a step of one device, which holds its share of the weights and the optimizer states.

    Raises:
        UsageError: If the sizes in the configuration do not fit each other.
    """
    shares = dict.fromkeys(("parameters", "gradients", "optimiser", "updates"), sharing.share)
    shares["casts"] = 0 if sharing.is_sharded else 1  # gathered weights have the precision already
    on_gpu = cli.config.fit.trainer.accelerator != "cpu"
    try:
        return measure(cli.model, cli.datamodule, on_gpu=on_gpu, accumulate=accumulate, shares=shares)
    except RuntimeError as error:
        raise UsageError(
            f"a step cannot be computed with these settings ({first_line(error)}): check that the "
            "sizes of network, CLIP and --data fit each other"
        ) from error


def flops_of(measured: Measured, sharing: Sharing, batch: int, accumulate: int) -> dict[str, float]:
    """Returns the operations of a sample, a batch and an update, and of a step on one and on all devices."""
    device = accumulate * measured.flops + measured.update_flops * sharing.share
    return {
        "sample": measured.flops / batch,
        "batch": measured.flops,
        "update": measured.update_flops,
        "device": device,
        "step": device * sharing.devices,
    }


def parameters_of(stage: Any) -> dict[str, int]:
    """Counts the parameters of a stage, and those of the CLIP that it is conditioned on."""
    total = sum(p.numel() for p in stage.parameters())
    find = getattr(getattr(stage.model, "net", None), "temporal_parameters", list)
    temporal = sum(p.numel() for _, p in find())
    clip = stage.__dict__.get("clip")
    return {
        "total": total,
        "spatial": total - temporal,
        "temporal": temporal,
        "trained": sum(p.numel() for p in stage.parameters() if p.requires_grad),
        "frozen_clip": sum(p.numel() for p in clip.parameters()) if clip else 0,
    }


def states_of(cli: PlanCLI, measured: Measured, sharing: Sharing) -> dict[str, int]:
    """Returns the full sizes on a device, by kind: weights, gradients, optimizer, average, frozen CLIP."""
    config, stage = cli.config.fit, cli.model
    held = {kind: sharing.held(measured.states[kind]) for kind in ("parameters", "gradients", "optimiser")}
    on_processor = config.ema.device == "cpu" and config.trainer.accelerator != "cpu"
    average = [] if on_processor else [*stage.parameters(), *stage.buffers()]
    return {**held, "average": sharing.held(average), "frozen": Sharing().held(measured.states["frozen"])}


def memory_of(measured: Measured, sharing: Sharing, held: dict[str, int], gathers: int) -> dict[str, int]:
    """Returns the bytes on a device, by kind, at the moment when it holds the most.

    Args:
        measured: What was measured on one device.
        sharing: How the devices share a step.
        held: Bytes of weights, gradients, optimizer states and average, see ``states_of``.
        gathers: Bytes that FSDP gathers, see ``gathered``.
    """
    fullest = Counter(measured.fullest)
    if not sharing.is_sharded:  # DDP copies gradients into buckets, which it keeps
        gathers = held["gradients"] if sharing.devices > 1 else 0
    whole = Sharing().held(measured.states["gradients"])
    return {
        **held,
        "gradients": fullest["gradients"] * held["gradients"] // whole,
        "activations": fullest["activations"],
        "casts": 0 if sharing.is_sharded else fullest["casts"],
        "temporaries": fullest["temporaries"] + round(fullest["updates"] * sharing.share),
        "gathers": gathers,
    }
