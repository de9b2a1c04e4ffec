"""Make-A-Video, whole: text to video learnt without one text-video pair (arXiv 2209.14792)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cascade import Cascade

__all__ = ["Cascade"]


def __getattr__(name: str) -> Any:
    # Not imported at once: `mav --help` needs no torch.
    if name == "Cascade":
        from .cascade import Cascade

        return Cascade
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
