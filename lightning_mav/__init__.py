"""Make-A-Video, whole: text to video learnt without one text-video pair (arXiv 2209.14792)."""

import sys
from typing import TYPE_CHECKING, Any

from .old_modules import find_old_modules
from .utils.threads import set_up_threads

if TYPE_CHECKING:
    from .cascade import Cascade

__all__ = ["Cascade"]

# Here, since every process that computes comes by. With torch there already it would have no effect.
if "torch" not in sys.modules:
    set_up_threads()
find_old_modules()


def __getattr__(name: str) -> Any:
    # Not imported at once: `mav --help` needs no torch.
    if name == "Cascade":
        from .cascade import Cascade

        return Cascade
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
