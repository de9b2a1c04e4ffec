"""Pictures of names: the first samples of captioned shards."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils.errors import UsageError, first_line
from ..utils.textfile import decode_caption, shortened
from .codecs.decode import IMAGE_FORMATS, decode_image
from .codecs.pixels import from_uint8
from .shards.reader import Sample, Shards, find_suffix
from .shards.urls import expand_shards


def read_pictures(urls: str, names: Sequence[str], size: int) -> Tensor:
    """Reads pictures of names, ``(N, 3, size, size)`` in [-1, 1]: the first samples of captioned shards.

    Raises:
        UsageError: If one of them is damaged, or its caption is not the name at its place.
    """
    remedy = "name shards that begin with a picture of each name, in their order, captioned by it"
    try:
        shards = Shards(expand_shards(urls, remedy), [*IMAGE_FORMATS, "txt"])
    except ValueError as error:  # what cannot name shards
        raise UsageError(str(error)) from None
    if len(shards) < len(names):
        raise UsageError(f"{urls}: has {len(shards)} pictures for {len(names)} names; {remedy}")

    def make(sample: Sample, number: int) -> Tensor:
        caption = decode_caption(sample.get("txt", b""))
        if caption != names[number]:
            raise UsageError(
                f'{shards.name(number)}: shows "{shortened(caption, 100)}", not "{names[number]}"; {remedy}'
            )
        suffix = find_suffix(sample, IMAGE_FORMATS)
        return decode_image(sample[suffix], suffix, size)

    def refuse(number: int, error: Exception) -> None:
        raise UsageError(f"{shards.name(number)}: is not usable ({first_line(error)}); {remedy}") from error

    return from_uint8(torch.stack(list(shards.make_each(make, range(len(names)), refuse))))
