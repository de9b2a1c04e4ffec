"""Networks of one's own, most of them broken, as a module that users write."""

import sys

from lightning_mav.nn import Pseudo3DUNet


class Whole(Pseudo3DUNet):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


class OneColour(Whole):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)[:, :1]  # which is broadcast to three


class NoTensor(Whole):
    def forward(self, *args, **kwargs):
        return 3


class Raising(Whole):
    def __init__(self, **kwargs):
        raise KeyError("my key")


class Leaving(Whole):
    def __init__(self, **kwargs):
        sys.exit(0)
