"""The fixed list of prompts: equally many for each shape, seen in videos and held out of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...worlds.micro.world import BACKGROUNDS, HELD_OUT, SEEN, SHAPES, SIZES, caption

NUM_CLASSES = 2 * len(SHAPES)  # a class is a shape in one split


class Prompts(NamedTuple):
    """Prompts for micro-world videos.

    Attributes:
        appearances: Indices of shape, colour, size and background, ``(N, 4)``.
        held_out: Whether no video shows the combination of shape and colour, ``(N,)``.
    """

    appearances: Tensor
    held_out: Tensor

    @property
    def texts(self) -> list[str]:
        """Full captions."""
        return [caption(appearance) for appearance in self.appearances]

    def first(self, num: int) -> "Prompts":
        """Returns the first ``num``, repeating the list if it is shorter; multiples of 12 are balanced."""
        rows = torch.arange(num) % len(self.appearances)
        return Prompts(self.appearances[rows], self.held_out[rows])


def choose_prompts(num_per_class: int) -> Prompts:
    """Lists prompts so that every prefix is as balanced as possible, also over colour, size and background.

    A class has 36 seen or 12 held-out combinations; they repeat if more prompts are asked for.
    """
    rows = [
        _nth_of(shape, split, rank)
        for rank in range(num_per_class)
        for split in (SEEN, HELD_OUT)
        for shape in range(len(SHAPES))
    ]
    held_out = (torch.arange(len(rows)) // len(SHAPES)) % 2 == 1
    return Prompts(torch.tensor(rows), held_out)


def _nth_of(shape: int, split: Tensor, rank: int) -> list[int]:
    colours = split[split[:, 0] == shape, 1].unique().tolist()
    num, cells = len(colours), len(SIZES) * len(BACKGROUNDS)
    turn, place = divmod(rank, num)
    size, background = divmod((turn + place * (cells // num) + shape) % cells, len(BACKGROUNDS))
    return [shape, colours[(place + shape) % num], size, background]
