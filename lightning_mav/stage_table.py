"""The table of stages: the one place that lists the stages and their order.

It imports nothing heavy, so that command lines can be read without torch.
"""

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .utils.configured import import_own_modules
from .utils.errors import BadValueError, UsageError

Input = Literal["image_embed", "video", "fps", "frame_skip"]
PHASES = ("image", "video", "text")


@dataclass(frozen=True)
class StageSpec:
    """What a stage is.

    Args:
        name: Name of the stage, of its configuration layers and of its weights file.
        model: Class that its weights file holds, as ``module.Class``.
        phases: Kinds of data that it is trained on, ``image``, ``video`` or ``text``, in order.
        extra_phases: Phases after these that only some scales have: those with a layer for it.
        uses_clip: Whether it is trained with the embeddings of a trained ``clip``.
        starts_from: Stage whose weights it starts from, if it has no image phase of its own.
        makes_video: Whether it is a step from the image embedding to the final video.
        inputs: What its model's ``sample`` is given, by name: ``image_embed`` ``(B, D)``, ``video``
            ``(B, 3, F, H, W)`` of the stage before, ``fps`` ``(B,)`` of the video that it makes, and
            ``frame_skip``, a number.
        adds_frames: Whether it multiplies the frame rate by ``frame_skip``.
        frame_by_frame: Whether it works on single frames, so that only the frames that are kept must be made.

    Raises:
        ValueError: If phases or inputs are others than these, or none where one is needed.
    """

    name: str
    model: str
    phases: tuple[str, ...]
    extra_phases: tuple[str, ...] = ()
    uses_clip: bool = False
    starts_from: str | None = None
    makes_video: bool = False
    inputs: tuple[Input, ...] = ()
    adds_frames: bool = False
    frame_by_frame: bool = False

    def __post_init__(self) -> None:
        for name, known, least in (
            ("phases", PHASES, 1),
            ("extra_phases", PHASES, 0),
            ("inputs", get_args(Input), int(self.makes_video)),
        ):
            given = getattr(self, name)
            if not isinstance(given, tuple) or len(given) < least or not set(given) <= set(known):
                raise ValueError(
                    f"stage {self.name!r}: {name} is a tuple of {', '.join(known)}, got {given!r}"
                )

    def model_class(self) -> type[Any]:
        """Imports and returns the class of its model.

        Raises:
            UsageError: If there is none.
        """
        module, _, name = self.model.rpartition(".")
        try:
            found = getattr(importlib.import_module(module or name), name)
        except (ImportError, AttributeError) as error:
            problem = f"stage {self.name!r}: there is no class {self.model} ({error})"
            raise UsageError(f"{problem}; mend its StageSpec") from error
        return found


# In the order in which they are trained, and in which they make a video (Make-A-Video, equation 1).
_STAGES = {
    spec.name: spec
    for spec in (
        StageSpec("clip", "lightning_mav.clip.Clip", ("image",), extra_phases=("text",)),
        StageSpec("prior", "lightning_mav.models.Prior", ("image",), uses_clip=True),
        StageSpec(
            "decoder",
            "lightning_mav.models.Decoder",
            ("image", "video"),
            uses_clip=True,
            makes_video=True,
            inputs=("image_embed", "fps"),
        ),
        StageSpec(
            "interpolation",
            "lightning_mav.models.Interpolation",
            ("video",),
            uses_clip=True,
            starts_from="decoder",
            makes_video=True,
            inputs=("video", "image_embed", "fps", "frame_skip"),
            adds_frames=True,
        ),
        StageSpec(
            "sr_lt",
            "lightning_mav.models.SRLT",
            ("image", "video"),
            makes_video=True,
            inputs=("video", "fps"),
        ),
        StageSpec(
            "sr_h",
            "lightning_mav.models.SRH",
            ("image",),
            makes_video=True,
            inputs=("video",),
            frame_by_frame=True,
        ),
    )
}
ENLARGING = ("sr_lt", "sr_h")  # super-resolution, in order
KEY_FRAMES = 16  # number of frames that the decoder makes from an embedding
LAST = "sr_h"  # last stage of the paper's cascade, and the default of ``until``
DEFAULT_WEIGHTS = "emoji"  # shipped weights that are meant where none are named


def stages() -> dict[str, StageSpec]:
    """Returns all stages by name, in order: those of the paper, then those of modules of your own.

    Raises:
        UsageError: If a module that ``--import`` or ``MAV_IMPORT`` names cannot be imported.
    """
    import_own_modules()
    return _STAGES


def register_stage(spec: StageSpec) -> None:
    """Adds a stage of your own after the existing ones; adding it again changes nothing.

    Raises:
        ValueError: If there is another stage of that name.

    Examples:
        >>> spec = StageSpec("sr_x", "my_module.SRX", ("image",), makes_video=True, inputs=("video",))
        >>> register_stage(spec)
        >>> list(stages())
        ['clip', 'prior', 'decoder', 'interpolation', 'sr_lt', 'sr_h', 'sr_x']
    """
    if _STAGES.setdefault(spec.name, spec) != spec:
        raise ValueError(f"there is a stage {spec.name!r} already: choose another name")


def video_stages() -> list[str]:
    """Names of the stages that lead from the image embedding to the final video, in order."""
    return [name for name, spec in stages().items() if spec.makes_video]


def stages_until(last: str, first: str | None = None) -> list[str]:
    """Names of all stages up to ``last``, in order.

    Args:
        last: A stage that makes a video.
        first: Stage that is there already, or begins; ``last`` must not come before it.

    Raises:
        ValueError: If no stage of that name makes a video, or it comes too early.
    """
    possible = video_stages()
    possible = possible[0 if first is None else possible.index(first) :]
    if last not in possible:
        raise BadValueError(f"until must be one of {', '.join(possible)}, got {last!r}")
    names = list(stages())
    return names[: names.index(last) + 1]


def video_chain(last: str, made: Collection[str] = ()) -> list[StageSpec]:
    """Returns the stages that make a video after those that are ``made``, up to ``last``.

    Raises:
        ValueError: As ``stages_until``, or if one that is made makes no video.
    """
    possible = video_stages()
    for name in made:
        if name not in possible:
            raise BadValueError(f"made must name some of {', '.join(possible)}, got {name!r}")
    after = max(made, key=possible.index, default=None)
    names = stages_until(last, after)
    begin = 0 if after is None else names.index(after) + 1
    return [stages()[name] for name in names[begin:] if stages()[name].makes_video]


def enlarging(first: str, last: str) -> list[str]:
    """Names of the super-resolution stages from ``first`` to ``last``, in order.

    Raises:
        ValueError: If there are none.
    """
    names = [*ENLARGING]
    if first not in names or last not in names or names.index(first) > names.index(last):
        order = ", ".join(ENLARGING)
        raise BadValueError(f"first and until must be of {order}, in this order, got {first!r} and {last!r}")
    return names[names.index(first) : names.index(last) + 1]
