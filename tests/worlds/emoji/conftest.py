import pytest

from helpers.emoji_packages import write_packages


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """Drawn packages, and the YAML of a world made of them: ``world.yaml``."""
    folder = tmp_path_factory.mktemp("archives")
    (folder / "world.yaml").write_text(write_packages(folder))
    return folder
