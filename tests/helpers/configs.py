"""Parses stacks of configuration layers without building anything."""

from lightning_mav.training.fit import MavCLI
from lightning_mav.training.runs import config_layers


class ParseOnly(MavCLI):
    """Stops before anything is built, so that the sizes of the paper cost nothing."""

    @staticmethod
    def subcommands():
        return {"fit": MavCLI.subcommands()["fit"]}

    def instantiate_classes(self):
        pass

    def after_instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


def parse(run, scale, *overrides):
    return ParseOnly(["fit", *(f"--config={layer}" for layer in config_layers(run, scale)), *overrides])
