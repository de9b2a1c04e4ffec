"""The frame structure of a video, as far as it is known without decoding."""

from dataclasses import dataclass, field


class Unforeseen(Exception):  # noqa: N818
    """Only decoding tells which frames a video has."""


@dataclass
class Structure:
    """Which frames come out of which packets; a packet is given by its place in decoding order.

    Attributes:
        shown: Packets that hold a frame to show, in display order.
        starts: Packets at which decoding can start: all frames shown from that one on are then right.
        disposable: Packets that no other frame depends on.
        headers: Packet and bytes of each header; to start at a later packet, the decoder needs it first.
    """

    shown: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    disposable: set[int] = field(default_factory=set)
    headers: list[tuple[int, bytes]] = field(default_factory=list)
