"""Tells the kind of a file by its first bytes, because file names are often wrong."""

# The kinds of files that are read, and the suffixes of each.
SUFFIXES = {
    "PNG": ("png",),
    "JPEG": ("jpg", "jpeg"),
    "WebP": ("webp",),
    "MP4": ("mp4", "mov"),
    "WebM": ("webm", "mkv"),
    "Matroska": ("mkv", "webm"),
    "AVI": ("avi",),
}
HEAD_BYTES = 512  # enough to tell the kind

# Offset, signature and kind; the first match counts.
SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WebP"),
    (8, b"AVI ", "AVI"),
    (8, b"WAVE", "WAV"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\5\x16\7", "AppleDouble"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMV"),
    (0, b"FLV\1", "FLV"),
    (0, b"\0\0\1\xba", "MPEG"),
    (0, b"\0\0\1\xb3", "MPEG"),
    (0, b"OggS", "Ogg"),
    (0, b"fLaC", "FLAC"),
    (0, b"ID3", "MP3"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\3\4", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"#EXTM3U", "playlist"),
    (0, b"ffconcat", "playlist"),
    (257, b"ustar", "tar"),
)
RIFF = {"WebP", "AVI", "WAV"}
# Atoms that a QuickTime or MP4 file may begin with.
ATOMS = {
    *(b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"sidx", b"free", b"skip"),
    *(b"wide", b"pnot", b"junk", b"udta", b"uuid", b"prfl", b"pict", b"PICT"),
}
# Brands of still pictures in the container of MP4.
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "CR3",
}
TS_PACKET = 188  # bytes; each packet begins with a G


def kind_of(head: bytes) -> str:
    """Names the kind of a file, such as ``PNG``, ``MP4`` or ``GIF``; an empty string if unknown.

    Args:
        head: The file, or its first ``HEAD_BYTES``.
    """
    head = head[:HEAD_BYTES]
    for offset, signature, kind in SIGNATURES:
        if head[offset : offset + len(signature)] == signature and (kind not in RIFF or head[:4] == b"RIFF"):
            return kind
    if head[4:8] in ATOMS:
        return BRANDS.get(head[8:12], "MP4") if head[4:8] == b"ftyp" else "MP4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "WebM" if b"webm" in head[:64] else "Matroska"
    if head[:1] == head[TS_PACKET : TS_PACKET + 1] == head[2 * TS_PACKET : 2 * TS_PACKET + 1] == b"G":
        return "MPEG-TS"
    text = head[:64].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<svg", b"<?xml")):
        return "SVG" if b"<svg" in head.lower() else "XML"
    return "HTML" if text.startswith((b"<!doctype html", b"<html")) else ""


def may_be_animated(head: bytes) -> bool:
    """Whether a file is a picture that may have several frames: a GIF, or a WebP or PNG that says so.

    Args:
        head: The file, or its first ``HEAD_BYTES``.
    """
    kind, head = kind_of(head), head[:HEAD_BYTES]
    if kind == "WebP":
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return kind == "GIF" or (kind == "PNG" and b"acTL" in head.partition(b"IDAT")[0])


def suffix_of(head: bytes, suffix: str) -> str:
    """Returns the right suffix for a file: its own if that fits its kind, else the first of its kind.

    Args:
        head: The file, or its first ``HEAD_BYTES``.
        suffix: The suffix that it has, in lower case.

    Returns:
        The suffix; empty if files of this kind are not read.
    """
    known = SUFFIXES.get(kind_of(head), ("",))
    return suffix if suffix in known else known[0]
