"""Every stack of configuration layers is one that LightningCLI takes, at every scale."""

import importlib

import pytest
import torch
from lightning import LightningModule

from lightning_mav.commands.fit import MavCLI
from lightning_mav.commands.runs import RUNS, config_folder, config_layers, scales
from lightning_mav.configured import Configured


class ParseOnly(MavCLI):
    """Stops before anything is built, so that the sizes of the paper cost nothing."""

    @staticmethod
    def subcommands():
        return {"fit": MavCLI.subcommands()["fit"]}

    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


def parse(run, scale, *overrides):
    return ParseOnly(["fit", *(f"--config={layer}" for layer in config_layers(run, scale)), *overrides])


@pytest.mark.parametrize("scale", scales())
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_layers_parse(run, scale):
    config = parse(run, scale).config.fit
    assert config.trainer.max_steps > 0
    assert config.trainer.precision in ("bf16-mixed", "32-true")
    stage = run.stage.replace("_", "")
    assert config.model.class_path.lower().startswith("lightning_mav.stages")
    assert stage in config.model.class_path.lower()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_networks_are_built(run):
    cli = parse(run, "micro")
    model = cli.parser.instantiate_classes(cli.config).fit.model
    assert isinstance(model, LightningModule)
    assert isinstance(model.model, Configured)


def test_sizes_of_the_paper():
    # In millions, as published: prior 1,000; SR 700 and 300.
    expected = {"prior": 1223, "decoder": 2894, "sr_lt_image": 694, "sr_h": 268}
    for run in RUNS:
        if run.name in expected:
            init = parse(run, "paper").config.fit.model.init_args
            net = init.get("unet") or init.get("net")
            module, _, name = net.class_path.rpartition(".")
            with torch.device("meta"):
                network = getattr(importlib.import_module(module), name)(**net.init_args.as_dict())
            millions = sum(p.numel() for p in network.parameters()) / 1e6
            assert millions == pytest.approx(expected[run.name], rel=0.02)


def test_every_layer_belongs_to_a_run():
    used = {layer for run in RUNS for scale in scales() for layer in config_layers(run, scale)}
    folders = ("stage", "scale")
    layers = {path for name in folders for path in (config_folder() / name).rglob("*.yaml")}
    assert used == layers | {config_folder() / "base.yaml"}
    assert {"micro", "base", "paper"} <= set(scales())


def test_command_line_wins_over_the_layers():
    run = next(run for run in RUNS if run.name == "decoder")
    config = parse(run, "micro", "--model.unet.channels=48", "--ema.decay=0.5").config.fit
    assert config.model.init_args.unet.init_args.channels == 48
    assert config.ema.decay == 0.5
    assert config.checkpoint.save_last == "link"
