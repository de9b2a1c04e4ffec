"""Writes what a command has made: the video in several formats, a contact sheet, and all settings as JSON."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import stages
from ..utils.errors import UsageError
from ..utils.textfile import shortened, write_text
from .arguments import colour
from .output import FORMATS, own_name, publishing
from .provenance import provenance

if TYPE_CHECKING:
    from ..cascade import Cascade
    from ..cascade_output import CascadeOutput

CLEAR = "transparent"


def add_results(parser: argparse.ArgumentParser, formats: Sequence[str] = ("mp4", "gif")) -> None:
    """Adds the options that say where results go, and in which formats."""
    add = parser.add_argument
    folder = Path(f"outputs/{parser.prog.split()[-1]}")
    add("--out", type=Path, default=folder, metavar="DIR", help="folder (default: %(default)s)")
    add(
        "--formats",
        type=_formats,
        default=[*formats],
        metavar="LIST",
        help=f"some of {','.join(FORMATS)} (default: {','.join(formats)})",
    )
    add(
        "--background",
        type=lambda text: text if text == CLEAR else colour(text),
        metavar="COLOUR",
        help="transparent, or a colour such as white or #00ff80; only for weights whose ground is known",
    )


def _formats(text: str) -> list[str]:
    found = [*dict.fromkeys(part.strip() for part in text.split(",") if part.strip())]
    unknown = [name for name in found if name not in FORMATS]
    if unknown or not found:
        what = f"unknown {unknown[0]!r}" if unknown else "none are named"
        raise argparse.ArgumentTypeError(f"{what}: name some of {','.join(FORMATS)}")
    return found


def check_background(args: argparse.Namespace) -> None:
    """Refuses a transparent background in a format that has none.

    Raises:
        UsageError: If that is asked for.
    """
    if args.background == CLEAR and "mp4" in args.formats:
        others = ",".join(name for name in FORMATS if name != "mp4")
        raise UsageError(
            "--background transparent: mp4 has no transparent ground: add --formats webp,gif, or others "
            f"of {others}"
        )


def check_ground(args: argparse.Namespace, ground: Any) -> None:
    """Refuses ``--background`` where the weights do not say which colour their ground has.

    Raises:
        UsageError: If that is asked for.
    """
    if args.background is not None and ground is None:
        raise UsageError("--background: these weights know no ground of one colour: leave it out")


def endings_of(formats: Sequence[str]) -> list[str]:
    """Returns what the names of a video's files end with, of the sheet and the settings, too."""
    return [*(FORMATS[kind] for kind in formats), ".png", ".json"]


def publish(
    unfinished: Path,
    args: argparse.Namespace,
    output: "CascadeOutput",
    settings: dict[str, Any],
    base: str,
    names: dict[str, Any],
) -> list[Path]:
    """Writes all files of one video into ``unfinished``, then moves them to ``args.out``.

    Args:
        unfinished: Folder for unfinished files.
        args: Options of ``add_results``.
        output: The video; only the first if there are several.
        settings: All that made it, for the JSON file.
        base: Name of its files, see ``own_name``.
        names: Names of the videos of this run, with their paths; the new one is added.

    Returns:
        The paths of its files.

    Raises:
        UsageError: If they cannot be written, or the background cannot be replaced.
    """
    from ..data.export import save_video
    from ..data.matte import on_background

    try:
        video, alpha = on_background(output.video[0], output.ground, args.background)
    except ValueError as error:
        raise UsageError(f"--background: {error}: leave it out") from None
    with publishing(unfinished, args.out, base):
        name = own_name(args.out, base, settings, names)
        for kind in args.formats:
            save_video(unfinished / f"{name}{FORMATS[kind]}", video, output.fps, alpha=alpha)
        _sheet(output, settings).save(unfinished / f"{name}.png")
        write_text(unfinished / f"{name}.json", json.dumps(settings, indent=2) + "\n")
    names[name] = [args.out / f"{name}{ending}" for ending in endings_of(args.formats)]
    return names[name]


def publish_alone(
    unfinished: Path,
    args: argparse.Namespace,
    cascade: "Cascade",
    output: "CascadeOutput",
    settings: dict[str, Any],
    base: str,
    start: float,
) -> None:
    """Publishes the only video of a command, and says where it is and how long it took.

    Args:
        unfinished: See ``publish``, also for what is raised.
        args: Options of ``add_results``.
        cascade: What made the video; its origin is recorded.
        output: The video.
        settings: What was asked for.
        base: See ``publish``.
        start: When the command began, by ``time.perf_counter``.
    """
    made = {"shape": list(output.video.shape[1:]), "fps": output.fps}
    settings = {**settings, **provenance(cascade, "diffusers"), "video": made}
    print(*publish(unfinished, args, output, settings, base, {}), sep="\n")
    print(f"{output.video.shape[2]} frames in {time.perf_counter() - start:.1f} s")


def _sheet(output: "CascadeOutput", settings: dict[str, Any]) -> Any:
    """Draws frames of the video, and below them those of the stages before."""
    from ..data.video import contact_sheet, stack_sheets

    title = f"{shortened(settings['prompt'], 500)}   (seed {settings['seed']})"
    sheets = [contact_sheet(output.video[0], fps=output.fps, title=title)]
    for stage, result in output.stages.items():
        if stage in output.rates and stage != settings["until"]:
            frames, fps = result[0], output.rates[stage]
            label = f"{stage}: {frames.shape[1]} frames of {frames.shape[3]} x {frames.shape[2]}"
            if stages()[stage].adds_frames:  # evenly spaced frames would be those of the previous stage
                frames, label = frames[:, :16], f"{label}, the first 16"
            sheets.append(contact_sheet(frames, fps=fps, title=label, columns=16))
    return stack_sheets(sheets)
