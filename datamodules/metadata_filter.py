"""Chooses captioned images to train on by their metadata (Make-A-Video, section 4.1)."""

import math
from typing import Any

from lightning_mav.utils.numbers import Checked, check_number
from lightning_mav.utils.textfile import parse_json


class Filtered(ValueError):  # noqa: N818 - not an error
    """Raised for a sample that is intact but that a filter refuses."""


class MetadataFilter(Checked):
    """Refuses images by the metadata that LAION's sets carry into the shards of img2dataset.

    The paper keeps English captions, and leaves out images that are not safe for work, those with toxic
    captions and those whose watermark probability is above a half. A limit that is None is not checked.

    Args:
        max_unsafe: Highest probability that an image is not safe for work, ``punsafe``.
        max_watermark: Highest probability of a watermark, ``pwatermark``.
        languages: Languages of the caption, ``LANGUAGE``.
        min_size: Least width and height in pixels, ``width`` and ``height``.
        max_aspect: Highest ratio of the longer to the shorter side.
    """

    def __init__(
        self,
        *,
        max_unsafe: float | None = None,
        max_watermark: float | None = None,
        languages: list[str] | None = None,
        min_size: int | None = None,
        max_aspect: float | None = None,
    ) -> None:
        for name, share in (("max_unsafe", max_unsafe), ("max_watermark", max_watermark)):
            if share is not None:
                check_number(name, share, 0, 1)
        for name, least in (("min_size", min_size), ("max_aspect", max_aspect)):
            if least is not None:
                check_number(name, least, 1)
        self.max_unsafe = max_unsafe
        self.max_watermark = max_watermark
        self.languages = languages
        self.min_size = min_size
        self.max_aspect = max_aspect

    def __call__(self, data: bytes) -> None:
        """Checks the metadata of an image, given as JSON.

        Raises:
            Filtered: If the image is refused, or its metadata lacks a needed entry.
            ValueError: If ``data`` is not a JSON object.
        """
        try:
            meta = parse_json(data)
        except ValueError as error:
            raise ValueError("bad json") from error
        if not isinstance(meta, dict):
            raise ValueError("bad json")
        if self.max_unsafe is not None and _number(meta, "punsafe") > self.max_unsafe:
            raise Filtered("unsafe for work")
        if self.max_watermark is not None and _number(meta, "pwatermark") > self.max_watermark:
            raise Filtered("watermark")
        if self.languages is not None and meta.get("LANGUAGE") not in self.languages:
            raise Filtered("other language")
        if self.min_size is None and self.max_aspect is None:
            return
        short, long = sorted([_number(meta, "width"), _number(meta, "height")])
        if self.min_size is not None and short < self.min_size:
            raise Filtered("too small")
        if self.max_aspect is not None and long > self.max_aspect * short:
            raise Filtered("too elongated")


def _number(meta: dict[str, Any], key: str) -> float:
    try:
        number = float(meta[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):  # pandas writes "unknown" as NaN, which passes every comparison
        raise Filtered(f"no {key} in the metadata")
    return number
