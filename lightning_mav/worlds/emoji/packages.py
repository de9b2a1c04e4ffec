"""Fetches packages of the npm registry, checks their digests, and unpacks them."""

import base64
import gzip
import hashlib
import lzma
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...utils.console import track
from ...utils.errors import UsageError, first_line, writing
from ...utils.paths import remove_stale
from ...utils.textfile import parse_json, shortened, split_lines, write_json

TOP = "package"  # folder within every archive of npm
MARK = ".unpacked.json"  # in an unpacked package: what was unpacked
UNFINISHED = ".unpacking-"  # folders of packages that are being fetched
MINUTES = 30  # for one package
# What readers of an archive raise if it is damaged; other errors of the system are those of the disk.
DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)


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
    """Unpacks packages into ``folder/STEM``; those that are there whole are left as they are.

    Args:
        packages: What to unpack.
        folder: Where to.
        archives: Folder of archives that ``npm pack`` wrote; None fetches them.
        progress: Whether to show a bar.

    Raises:
        UsageError: If npm is missing or fails, an archive is missing or has another digest, or there is no
            room. Packages that were unpacked before stay.
    """
    missing = [package for package in packages if not _is_whole(package, folder / package.stem)]
    with writing(folder, "make room there, or choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder, f"{UNFINISHED}*")
        for package in track(missing, f"Unpacking into {folder}", len(missing), show=progress):
            with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as temporary:
                archive = (archives or Path(temporary)) / f"{package.stem}.tgz"
                if archives is None:
                    _fetch(package, Path(temporary))
                _unpack(package, archive, Path(temporary), folder)


def find_files(folders: Sequence[Path], package: str, files: str) -> list[Path]:
    """Lists files of some of the unpacked packages: both are given as patterns."""
    chosen = [folder for folder in folders if fnmatchcase(folder.name, package)]
    return [path for folder in chosen for path in sorted(folder.glob(files))]


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Says in one line which file of a package cannot be used.

    Raises:
        UsageError: If the block finds it damaged, or not what the package is known to hold.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        known = isinstance(error, OSError | ValueError)
        why = getattr(error, "strerror", None) or (first_line(error) if known else "unexpected content")
        remedy = "remove it and run again, or list another version of its package with --config"
        raise UsageError(f"{path}: is not usable ({shortened(why, 200)}); {remedy}") from error


def _is_whole(package: Package, folder: Path) -> bool:
    """Whether a folder holds a package as it was unpacked: with as many files and bytes."""
    try:
        return bool(parse_json((folder / MARK).read_bytes()) == _mark(package, folder))
    except (OSError, ValueError):
        return False


def _mark(package: Package, folder: Path) -> dict[str, str | int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.name != MARK and path.is_file()]
    return {"sha512": package.sha512, "num_files": len(sizes), "num_bytes": sum(sizes)}


def _fetch(package: Package, folder: Path) -> None:
    by_hand = f"or fetch it elsewhere with 'npm pack {package.spec}' and name its folder with --from"
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(f"npm was not found: install Node.js, {by_hand}")
    command = [npm, "pack", "--loglevel=error", package.spec, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"npm did not fetch {package.spec} in {MINUTES} minutes: try again, {by_hand}"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{npm}: cannot be started ({error.strerror}): install Node.js again, {by_hand}"
        ) from error
    if done.returncode or not (folder / f"{package.stem}.tgz").is_file():
        said = split_lines(done.stderr.strip()) or [f"exit code {done.returncode}"]
        why = shortened("; ".join(said[:4]).replace("; npm error", ";"), 200)
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
        if not (temporary / TOP).is_dir():
            raise ValueError(f"it holds no folder {TOP}")
    except DAMAGED as error:
        raise UsageError(f"{archive} is no archive of npm ({error}): fetch it again") from error
    write_json(temporary / TOP / MARK, _mark(package, temporary / TOP))
    target = folder / package.stem
    if not _is_whole(package, target):  # another process may have been faster
        if target.exists():
            target.rename(temporary / "old")
        (temporary / TOP).rename(target)
