"""What the cascade returns: videos, how they were made, and how to look at them and save them."""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_HTML_BYTES = 16_000_000  # of the videos in a notebook's page


@dataclass(repr=False)
class CascadeOutput:
    """Output of the cascade, on the CPU.

    Args:
        video: ``(B, 3, F, H, W)`` in [-1, 1].
        fps: Frames per second of ``video``.
        stages: Output of each stage: ``prior`` is ``(B, D)``, the others are videos.
        seconds: Time that each stage took, over all prompts.
        rates: Frames per second of each stage's video.
        ground: Colour of the ground that the weights' pictures lie on, three bytes; None if it is not
            known.

    Examples:
        >>> output = CascadeOutput(torch.zeros(1, 3, 16, 32, 32), fps=8.0)
        >>> output
        CascadeOutput(1 video of 16 frames of 32x32, 8 fps)
        >>> output.frames.shape
        (1, 16, 32, 32, 3)
        >>> output.save("grey.webp")
        [PosixPath('grey.webp')]
    """

    video: Tensor
    fps: float
    stages: dict[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    ground: Sequence[int] | None = None

    def __repr__(self) -> str:
        count, _, num_frames, height, width = self.video.shape
        videos = f"{count} video{'s' * (count > 1)} of {num_frames} frames of {width}x{height}"
        return f"{type(self).__name__}({videos}, {self.fps:g} fps)"

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, index: int) -> "CascadeOutput":
        """Returns one of the videos, with what its stages gave."""
        index = range(len(self))[index]
        stages = {name: result[index : index + 1] for name, result in self.stages.items()}
        one = self.video[index : index + 1]
        return CascadeOutput(one, self.fps, stages, self.seconds, self.rates, self.ground)

    @property
    def frames(self) -> Any:
        """The frames as a NumPy array of bytes, ``(B, F, H, W, 3)``."""
        from .data.codecs.pixels import to_frames

        count, _, num_frames, *_ = self.video.shape
        frames = to_frames(self.video.transpose(0, 1).flatten(1, 2))  # of all videos, one after the other
        return frames.unflatten(0, (count, num_frames)).numpy()

    def to_pil(self) -> list[list[Any]]:
        """Returns the frames of each video as Pillow's images."""
        from .data.animated import to_pictures

        return [to_pictures(video) for video in self.video]

    def save(
        self,
        path: str | Path,
        *,
        background: str | Sequence[int] | None = None,
    ) -> list[Path]:
        """Saves the video in the format that the path's ending names, see ``data.export.save_video``.

        Args:
            path: ``x.mp4``, ``x.gif``, ``x.webp``, ``x.apng``, ``x.json`` (sprite sheet), ``x.png`` (contact
                sheet) or ``x`` (a folder of frames). Several videos are numbered: ``x-0.mp4``, ``x-1.mp4``.
            background: ``"transparent"``, or a colour as Pillow knows it, for weights with a known ground.
                None keeps what was drawn.

        Returns:
            The paths.

        Raises:
            ValueError: If the ending is unknown, or the background cannot be changed.
        """
        from .data.export import save_video
        from .data.matte import on_background

        path, several = Path(path), len(self) > 1
        paths = [path.with_stem(f"{path.stem}-{i}") if several else path for i in range(len(self))]
        for target, video in zip(paths, self.video, strict=True):
            shown, alpha = on_background(video, self.ground, background)
            save_video(target, shown, self.fps, alpha=alpha)
        return paths

    def _repr_html_(self) -> str:
        """Shows the videos in a notebook."""
        shown, size = [], 0
        with tempfile.TemporaryDirectory() as folder:
            for path in self.save(Path(folder) / "video.mp4"):
                size += path.stat().st_size
                if size > MAX_HTML_BYTES:
                    shown.append("<p>the others are too large to be shown here: save them</p>")
                    break
                data = base64.b64encode(path.read_bytes()).decode()
                source = f"data:video/mp4;base64,{data}"
                shown.append(f'<video controls autoplay loop muted playsinline src="{source}"></video>')
        return "\n".join(shown)


def join_outputs(outputs: Sequence[CascadeOutput]) -> CascadeOutput:
    """Puts the outputs of several prompts together.

    Raises:
        ValueError: If there are none.
    """
    if not outputs:
        raise ValueError("no prompts: give one or more")
    first = outputs[0]
    if len(outputs) == 1:
        return first
    stages = {name: torch.cat([output.stages[name] for output in outputs]) for name in first.stages}
    seconds = {name: sum(output.seconds[name] for output in outputs) for name in first.seconds}
    video = torch.cat([output.video for output in outputs])
    return CascadeOutput(video, first.fps, stages, seconds, first.rates, first.ground)
