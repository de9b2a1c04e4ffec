"""Checksums of weights files: the digest in the header of each, and ``SHA256SUMS`` beside them."""

import hashlib
import json
from pathlib import Path

from ..utils.paths import replacing
from ..utils.textfile import read_lines, write_text

CHECKSUMS = "SHA256SUMS"
NO_DIGEST = "0" * 64  # stands where the digest will be while the digest is computed


def sha256(path: Path) -> str:
    """Returns the checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Sorts the header of a new file, whose order would be random, and puts the file's digest into it."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        content = text.encode().ljust(size)  # the format pads with spaces, too
        assert len(content) == size, "the same JSON in another order must be as long"
        file.seek(8)
        file.write(content)
        file.flush()
        digest = _digest(path, NO_DIGEST)
        file.seek(8)
        file.write(content.replace(_digest_entry(NO_DIGEST), _digest_entry(digest)))


def _digest(path: Path, recorded: str) -> str:
    """Returns the SHA-256 of a file in which zeros stand for the digest that its header records."""
    with path.open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        start = hashlib.sha256(size + header.replace(_digest_entry(recorded), _digest_entry(NO_DIGEST)))
        return hashlib.file_digest(file, lambda: start).hexdigest()


def _digest_entry(digest: str) -> bytes:
    return f'"digest":"{digest}"'.encode()


def check_digest(path: Path, metadata: dict[str, str]) -> None:
    """Compares a file with the digest in its header, unless an earlier version wrote it without one."""
    # A damaged "digest" must not make it a file of an earlier version.
    if unknown := metadata.keys() - {"config", "digest", "training"}:
        raise ValueError(f"its header has an unknown entry {min(unknown)!r}")
    if "digest" in metadata and _digest(path, metadata["digest"]) != metadata["digest"]:
        raise ValueError("it differs from the digest in its header")


def read_checksums(folder: Path) -> dict[str, str]:
    """Returns the checksums in a folder's ``SHA256SUMS`` by name of the file; none without it."""
    path = folder / CHECKSUMS
    lines = read_lines(path, "fetch it again, or remove it") if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def write_checksum(path: Path, digest: str | None) -> None:
    """Enters the checksum of a file into ``SHA256SUMS`` beside it, or removes it if ``digest`` is None.

    The caller has locked the folder.
    """
    checksums = {**read_checksums(path.parent), path.name: digest}
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items()) if digest)
    with replacing(path.parent / CHECKSUMS) as part:
        write_text(part, text)
