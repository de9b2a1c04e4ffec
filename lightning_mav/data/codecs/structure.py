"""What is known of a video's frames before any is decoded."""

from dataclasses import dataclass, field


class Unforeseen(Exception):  # noqa: N818
    """Only decoding tells which frames a video has."""


@dataclass
class Structure:
    """Which frames come out of which packets; packets are known by their places in the order of decoding.

    Attributes:
        shown: Packets that hold a frame to show, in the order of showing.
        starts: Packets at which decoding can start: right from there on is all that is shown no earlier.
        disposable: Packets that no other frame depends on.
        headers: What the decoder needs before it can start anywhere behind, by packet.
    """

    shown: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    disposable: set[int] = field(default_factory=set)
    headers: list[tuple[int, bytes]] = field(default_factory=list)
