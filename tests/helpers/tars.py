"""Tar files with chosen members, and headers that are changed and sealed again."""

import io
import tarfile

SAMPLES = [("000.jpg", b"x" * 700), ("000.txt", b"a dog"), ("001.jpg", b"y" * 512), ("001.txt", b"")]


def write_tar(path, files, tar_format=tarfile.USTAR_FORMAT, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            tar.addfile(info, io.BytesIO(data))
    return path


def resealed(header):
    """Gives a header that was changed the checksum that belongs to it."""
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
