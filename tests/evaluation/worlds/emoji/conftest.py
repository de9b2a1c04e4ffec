"""A drawn world of emoji, made once."""

import pytest
import yaml

from helpers.emoji_packages import write_packages
from lightning_mav.cli import main


@pytest.fixture(scope="session")
def make_emoji_world(tmp_path_factory):
    """Returns a function that writes a world with other settings."""

    def make(**settings):
        root = tmp_path_factory.mktemp("emoji")
        config = root / "world.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(write_packages(root / "archives")) | settings))
        main(["world", "emoji", f"--out={root / 'w'}", f"--from={root / 'archives'}", f"--config={config}"])
        return root / "w"

    return make


@pytest.fixture(scope="session")
def emoji_world(make_emoji_world):
    return make_emoji_world()
