"""``mav upscale``: enlarges a video of any length by the super-resolution stages, in bounded memory."""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import ENLARGING, LAST, enlarging
from ..utils.console import plain_warnings, stage_progress
from ..utils.errors import UsageError, first_line, writing
from ..utils.textfile import write_text
from .arguments import CommandParser, add_import, given, number_in
from .options import add_options
from .output import FORMATS, base_name, output_folder, own_name, publishing
from .provenance import provenance
from .results import CLEAR, add_results, check_background, check_ground, endings_of

if TYPE_CHECKING:
    import torch

    from ..data.codecs.film import Film
    from ..data.streamed import StreamedVideo
    from ..models import SuperResolution

MAX_SIDE, MAX_PIXELS = 16384, 139_264 * 256  # of a frame: the most that H.264 allows at its highest level
HELP = """The size of the result is that of the video times the scales of the stages. With the weights emoji,
sr_lt makes it 4 times as large in each direction and sr_h 2 times: 8 times together. --until sr_lt takes the
first stage alone, --from sr_h the second. Shape and frame rate stay, and in mp4 the times of the frames.
Sound is left out. Frames are read, enlarged and written one after the other, so a long video needs more time
but no more memory. If Ctrl-C or a full disk ends it, the finished frames are kept. mp4 and frames can have
any length; GIF and the other formats need a short video, as they are written in one piece."""


@dataclass
class _Loaded:
    """The stages that are used, in order."""

    models: dict[str, "SuperResolution"]
    files: dict[str, Path]
    device: "torch.device"
    ground: Any

    @property
    def scale(self) -> int:
        """How many times as large a frame becomes, in each direction."""
        from ..models.upscaling import scale_of

        return scale_of(self.models.values())


def main(argv: list[str]) -> None:
    """Enlarges a video."""
    args = _parser().parse_args(argv)
    if ENLARGING.index(args.first) > ENLARGING.index(args.until):
        raise UsageError(f"--from {args.first} comes after --until {args.until}: name them in their order")
    check_background(args)
    start = time.perf_counter()
    with output_folder(args.out) as folder, plain_warnings():
        from ..data.media import open_film

        film = open_film(args.file)
        loaded = _load(args)
        _check_size(args, film, loaded)
        paths, num_frames = _upscale(args, film, loaded, folder)
    print(*paths, sep="\n")
    print(f"{num_frames} frames in {time.perf_counter() - start:.1f} s")


def _parser() -> CommandParser:
    parser = CommandParser(prog="mav upscale", description="Make a video larger.", epilog=HELP)
    add = parser.add_argument
    add("file", type=Path, metavar="VIDEO", help="video file, or an animated WebP, PNG or GIF")
    add_options(parser, "seed")
    names = " or ".join(ENLARGING)
    add(
        "--from",
        dest="first",
        choices=ENLARGING,
        default=ENLARGING[0],
        help="first stage (default: %(default)s)",
    )
    add("--until", choices=ENLARGING, default=LAST, help=f"last stage, {names} (default: %(default)s)")
    add_options(parser, "steps")
    tile = "side of the squares in which the result is made, in pixels; smaller ones need less memory"
    add(
        "--tile",
        type=number_in(int, 64, 16384),
        default=384,
        metavar="N",
        help=f"{tile} (default: %(default)s)",
    )
    add_options(parser, "weights", "device")
    add_results(parser, ["mp4"])
    add_import(parser)
    return parser


def _load(args: argparse.Namespace) -> _Loaded:
    import torch

    from ..models import SuperResolution
    from ..prompts import read_known
    from ..utils.precision import usable_device
    from ..weights import load_stage, weights_files

    default = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(default) if args.device is None else usable_device("--device", args.device)
    chosen = enlarging(args.first, args.until)
    files = {name: path for name, path in weights_files(args.weights).items() if name in chosen}
    models: dict[str, SuperResolution] = {}
    for name, path in files.items():
        model = load_stage(name, path)
        assert isinstance(model, SuperResolution)
        models[name] = model.to(device).eval()
    known = read_known(next(iter(files.values())).parent, pictures=False)
    return _Loaded(models, files, device, known.ground)


def _fits_mp4(size: tuple[int, int], scale: int) -> bool:
    height, width = (side * scale for side in size)
    return max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS


def _check_size(args: argparse.Namespace, film: "Film", loaded: _Loaded) -> None:
    """Prints the size of the result, and refuses one that mp4 or memory cannot hold.

    Raises:
        UsageError: If the result is too large.
    """
    from ..data.streamed import MAX_KEPT, kept_bytes

    check_ground(args, loaded.ground)
    height, width = (side * loaded.scale for side in film.size)
    stages = ", ".join(f"{name} x{model.scale}" for name, model in loaded.models.items())
    before = f"{args.file}: {len(film)} frames of {film.size[1]}x{film.size[0]}"
    if not _fits_mp4(film.size, loaded.scale):
        remedy = "make it smaller"
        fitting = [name for name, model in loaded.models.items() if _fits_mp4(film.size, model.scale)]
        if fitting and len(loaded.models) > 1:
            alone = " or ".join(f"{'--until' if name == args.first else '--from'} {name}" for name in fitting)
            remedy = f"take one stage, {alone}, or {remedy}"
        raise UsageError(
            f"{before} would become {width}x{height} ({stages}), more than mp4 can hold: {remedy}"
        )
    for kind in args.formats:
        needed = kept_bytes(kind, len(film), (height, width), 4 if args.background == CLEAR else 3)
        if needed > MAX_KEPT:
            raise UsageError(
                f"--formats {kind}: needs all {len(film)} frames of {width}x{height} at once, "
                f"{needed >> 20} MiB, at most {MAX_KEPT >> 20}: leave it out, or choose mp4 or frames"
            )
    print(f"{before} become {width}x{height} ({stages})", file=sys.stderr)


def _upscale(args: argparse.Namespace, film: "Film", loaded: _Loaded, folder: Path) -> tuple[list[Path], int]:
    """Enlarges all frames and publishes the files; if it has to end before, those of the finished frames."""
    import torch

    from ..data.codecs.pixels import from_uint8
    from ..data.streamed import StreamedVideo
    from ..models.sampling import Sampling
    from ..models.upscaling import upscale_frames

    result = StreamedVideo(
        folder,
        args.formats,
        total=len(film),
        rate=film.rate or Fraction(film.fps).limit_denominator(1001),
        times=None if film.rate else film.times,
        ground=loaded.ground,
        background=args.background,
    )
    can_write = partial(writing, f"--out {args.out}", "make room or choose another folder")
    with can_write():
        result.check_room(3 * math.prod(film.size) * loaded.scale**2)
    frames = (from_uint8(torch.from_numpy(pixels.copy()).movedim(-1, 0)) for pixels in film.frames())
    try:
        with stage_progress(f"upscale {args.file.name}") as progress:
            sampling = Sampling(args.seed, "", args.steps, None, progress)
            options: dict[str, Any] = {"num_frames": len(film), "tile": args.tile}
            for frame in upscale_frames(loaded.models, frames, film.fps, sampling=sampling, **options):
                with can_write():
                    result.add(frame)
    except (KeyboardInterrupt, UsageError, OSError, ValueError) as error:
        if result.num_frames:
            print(*_keep(args, film, loaded, result), sep="\n", flush=True)
            print(f"kept the first {result.num_frames} of {len(film)} frames", file=sys.stderr)
        if isinstance(error, OSError | ValueError):
            raise UsageError(f"{args.file}: {first_line(error)}; mend the file or the options") from error
        raise
    return _publish(args, film, loaded, result), result.num_frames


def _keep(args: argparse.Namespace, film: "Film", loaded: _Loaded, result: "StreamedVideo") -> list[Path]:
    """Publishes what is finished; if not all formats can be, the single frames."""
    try:
        return _publish(args, film, loaded, result)
    except UsageError:
        if "frames" not in result.kinds:
            raise
        result.keep_frames_alone()
        return _publish(args, film, loaded, result)


def _publish(args: argparse.Namespace, film: "Film", loaded: _Loaded, result: "StreamedVideo") -> list[Path]:
    """Writes contact sheet and settings, and moves all files to ``args.out``."""
    settings = _settings(args, film, loaded, result)
    base = base_name(f"upscale {args.file.stem}", args.seed)
    with publishing(result.folder, args.out, base):
        name = own_name(args.out, base, settings, {})
        result.save_rest(name, FORMATS)
        result.sheet(f"{settings['prompt']}   (seed {args.seed})").save(result.folder / f"{name}.png")
        write_text(result.folder / f"{name}.json", json.dumps(settings, indent=2) + "\n")
    return [args.out / f"{name}{ending}" for ending in endings_of(result.kinds)]


def _settings(
    args: argparse.Namespace, film: "Film", loaded: _Loaded, result: "StreamedVideo"
) -> dict[str, Any]:
    from ..weights.digest import sha256

    return {
        "prompt": f"upscale {args.file.name}",
        "command": "upscale",
        "files": [str(args.file)],
        "sha256": [sha256(args.file)],
        "seed": args.seed,
        "from": args.first,
        "until": args.until,
        "steps": args.steps,
        "tile": args.tile,
        **given(args, "background"),
        "scales": {name: model.scale for name, model in loaded.models.items()},
        "video": {"shape": [3, result.num_frames, *result.size], "fps": film.fps},
        **({"interrupted": True} if result.num_frames < len(film) else {}),
        **provenance(loaded, "diffusers"),
    }
