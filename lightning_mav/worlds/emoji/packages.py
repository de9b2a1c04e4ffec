"""Fetches packages of the npm registry, checks their digests, and unpacks them."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from ...utils.errors import UsageError, writing
from ...utils.textfile import shortened, split_lines

TOP = "package"  # folder within every archive of npm
MINUTES = 30  # for one package


@dataclass
class Package:
    """A package of the npm registry.

    Args:
        name: Its name, such as ``@scope/name``.
        version: Its version.
        sha512: Digest of its archive, in base64, as the registry publishes it.
    """

    name: str
    version: str
    sha512: str

    @property
    def spec(self) -> str:
        """Name and version, as ``npm pack`` takes them."""
        return f"{self.name}@{self.version}"

    @property
    def stem(self) -> str:
        """Name of its archive, as ``npm pack`` writes it, without the suffix."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


def unpack_all(
    packages: Sequence[Package], folder: Path, *, archives: Path | None = None, progress: bool = True
) -> None:
    """Unpacks packages into ``folder/STEM``; those that are there already are left as they are.

    Args:
        packages: What to unpack.
        folder: Where to.
        archives: Folder of archives that ``npm pack`` wrote; None fetches them.
        progress: Whether to show a bar.

    Raises:
        UsageError: If npm is missing or fails, an archive is missing or has another digest, or there is no
            room. Packages that were unpacked before stay.
    """
    missing = [package for package in packages if not (folder / package.stem).is_dir()]
    with writing(folder, "make room there, or choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for package in track(missing, f"Unpacking into {folder}", disable=not (progress and missing)):
            with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
                archive = (archives or Path(temporary)) / f"{package.stem}.tgz"
                if archives is None:
                    _fetch(package, Path(temporary))
                _unpack(package, archive, Path(temporary), folder)


def _fetch(package: Package, folder: Path) -> None:
    by_hand = f"or fetch it elsewhere with 'npm pack {package.spec}' and name its folder with --from"
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(f"npm was not found: install Node.js, {by_hand}")
    command = [npm, "pack", "--silent", package.spec, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"npm did not fetch {package.spec} in {MINUTES} minutes: try again, {by_hand}"
        ) from None
    if done.returncode or not (folder / f"{package.stem}.tgz").is_file():
        said = split_lines(done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")
        why = shortened(said[0], 200)
        raise UsageError(f"npm cannot fetch {package.spec} ({why}): look at the network, {by_hand}")


def _unpack(package: Package, archive: Path, temporary: Path, folder: Path) -> None:
    """Checks an archive, unpacks it below ``temporary``, and moves it into ``folder`` at once."""
    if not archive.is_file():
        raise UsageError(f"there is no {archive}: fetch it with 'npm pack {package.spec}'")
    with archive.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if digest != package.sha512:
        raise UsageError(
            f"{archive.name} is not {package.spec} as it was when this world was made: its SHA-512 is "
            f"{digest[:12]}..., not {package.sha512[:12]}...; fetch it again"
        )
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
    except tarfile.TarError as error:
        raise UsageError(f"{archive} is no archive of npm ({error}): fetch it again") from error
    if not (folder / package.stem).exists():  # another process may have been faster
        (temporary / TOP).rename(folder / package.stem)
