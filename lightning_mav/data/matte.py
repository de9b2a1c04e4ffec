"""Makes the ground of a video transparent, where its colour is known."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from .codecs.pixels import from_uint8

NEAR = 0.04  # distance from the ground's colour, in units of [-1, 1], that is no more than noise
FAINT = 0.12  # distance up to which a thing is taken for partly transparent at its edge
EDGE = 2  # pixels over which a thing fades into the ground


def on_background(
    video: Tensor, ground: Sequence[int] | None, background: str | Sequence[int] | None
) -> tuple[Tensor, Tensor | None]:
    """Puts what a video shows on another background.

    Args:
        video: ``(3, F, H, W)`` in [-1, 1].
        ground: Colour of the video's ground, three bytes; None if it has none.
        background: ``"transparent"``, a colour as Pillow reads it (``"red"``, ``"#00ff80"``) or three bytes.
            None changes nothing.

    Returns:
        Colours, and the opacity ``(F, H, W)`` in [0, 1] if the background is transparent.

    Raises:
        ValueError: If the colour is none, or the video's ground is not known.
    """
    if background is None:
        return video, None
    colour = None if background == "transparent" else parse_colour(background)
    if ground is None:
        raise ValueError("these weights know no ground of one colour, so none can be put in its place")
    colours, alpha = cut_out(video, from_uint8(torch.tensor(ground)).tolist())
    if colour is None:
        return colours, alpha
    behind = from_uint8(torch.tensor(colour))[:, None, None, None].to(video)
    return torch.lerp(behind.expand_as(colours), colours, alpha), None


def parse_colour(colour: str | Sequence[int]) -> tuple[int, ...]:
    """Returns the three bytes of a colour.

    Raises:
        ValueError: If it is none.
    """
    try:
        found = ImageColor.getrgb(colour) if isinstance(colour, str) else tuple(colour)
    except ValueError:
        found = ()
    if len(found) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in found):
        raise ValueError(f"no colour: {colour!r}; name one, such as white or #00ff80, or three bytes")
    return found


def cut_out(video: Tensor, ground: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Separates what a video shows from a ground of one colour.

    What is like the ground and reaches the border of its frame is transparent. A white eye on a white ground
    stays, because something else surrounds it; so does a hole that is closed all round. At the edge, pixels
    mix both colours: their opacity is how far they are from the ground's colour, compared with the farthest
    pixel near them. The ground's part of the colour is taken out, so that no rim shows on another ground.

    Args:
        video: ``(3, F, H, W)`` in [-1, 1].
        ground: Colour of the ground, in [-1, 1].

    Returns:
        Colours ``(3, F, H, W)`` in [-1, 1] and opacity ``(F, H, W)`` in [0, 1]. Put on the ground again, they
        are the video, up to ``NEAR``.
    """
    colour = video.new_tensor(ground)[:, None, None, None]
    distance = (video - colour).abs().amax(dim=0)
    outside = flood(distance < NEAR)
    at_edge = _largest_near(outside.float()) > 0
    opacity = distance / _largest_near(distance).clamp(min=FAINT)
    alpha = torch.where(at_edge, opacity, 1.0).masked_fill(outside, 0.0)
    shown = (colour + (video - colour) / alpha.clamp(min=1e-3)).clamp(-1, 1)
    shown = torch.where(alpha == 1, video, shown)  # the same without rounding
    return torch.where(alpha > 0, shown, colour), alpha


def _largest_near(values: Tensor) -> Tensor:
    return F.max_pool2d(values[:, None], 2 * EDGE + 1, stride=1, padding=EDGE)[:, 0]


def flood(open_to: Tensor) -> Tensor:
    """Returns where one gets from the border through True pixels of ``(F, H, W)``, by steps to a side."""
    reached = torch.zeros_like(open_to)
    for side in (reached[:, 0], reached[:, -1], reached[:, :, 0], reached[:, :, -1]):
        side.fill_(True)
    reached &= open_to
    count = -1
    while count != (count := int(reached.sum())):
        reached = _spread(reached, open_to)
        reached = _spread(reached.mT, open_to.mT).mT
    return reached


def _spread(reached: Tensor, open_to: Tensor) -> Tensor:
    """Lets each run of True pixels in a row be reached as a whole, if one of its pixels is."""
    runs = (~open_to).flatten().cumsum(0)  # pixels of a run have one number; rows are told apart below
    rows = torch.arange(runs.numel(), device=runs.device) // open_to.shape[-1]
    runs = runs + rows
    found = torch.zeros(int(runs[-1]) + 1, dtype=torch.bool, device=runs.device)
    found[runs[reached.flatten()]] = True
    return found[runs].view_as(open_to) & open_to
