"""``mav evaluate`` of a protocol or of prompts: generates, resumes after a kill, measures, reports."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..stage_table import DEFAULT_WEIGHTS
from ..training.runs import config_folder
from ..utils.console import plain_warnings, print_table, stage_progress
from ..utils.errors import UsageError
from ..utils.textfile import shortened
from .arguments import CommandParser, add_evaluation, given, number_in
from .output import output_folder, publishing
from .provenance import provenance, sign

if TYPE_CHECKING:
    from ..evaluation.protocols import Item, ProtocolSettings
    from ..evaluation.report import Report

REAL = Path("outputs/evaluate/real")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
EXAMPLE = """examples:
  mav evaluate ucf101 --weights outputs/paper/weights --data data/ucf101 --devices 8
  mav evaluate prompts --prompts my.txt --clip micro/clip --set num_resamples=200

The same command goes on where a run was killed. The folder receives samples/ (shards), features/, videos/ and
the report: report.json, report.md and index.html."""


def main(bench: str, argv: list[str]) -> None:
    """Runs one protocol."""
    args = _parser(bench).parse_args(argv)
    out, start = args.out or Path("outputs/evaluate") / bench, time.perf_counter()
    with plain_warnings():
        from ..cascade import Cascade
        from ..evaluation.protocols import PROTOCOLS
        from ..evaluation.protocols.measures import load_measures
        from ..evaluation.protocols.samples import SampleModule, make_trainer
        from ..evaluation.protocols.scoring import score
        from ..evaluation.protocols.showing import choose_shown, make_report, write_shown
        from ..evaluation.protocols.store import SampleStore
        from ..evaluation.report import keep_other_report, write_report

        # Checks that nothing is missing before the first sample is generated.
        settings = _settings(bench, args)
        protocol = PROTOCOLS[bench](settings)
        keep_other_report(out, protocol.title)
        items = protocol.items()
        real_files = protocol.real_files() if settings.comparing else []
        _check_numbers(settings, len(items), len(real_files))
        measures = load_measures(settings, items)
        cascade = Cascade.from_pretrained(args.weights, "cpu", until=settings.until, text_only=True)
        trainer = make_trainer(**given(args, "accelerator", "devices", "strategy", "num_nodes"))
        device = trainer.strategy.root_device
        origin = provenance(cascade, "lightning", "diffusers", device=device, precision=args.precision)
        cascade.precision = origin["precision"]
        store = SampleStore(out / "samples", _mark(settings, items, origin), settings.shard_size)
        store.claim()
        try:
            trainer.predict(SampleModule(cascade, items, store, settings), return_predictions=False)
            if not trainer.is_global_zero:
                return
            generated = time.perf_counter()
            cascade.cpu()
            with stage_progress(f"evaluate {bench}") as progress:
                scores = score(
                    protocol,
                    measures,
                    store,
                    real_files,
                    folder=out / "features",
                    real_root=REAL,
                    device=device,
                    progress=progress,
                )
            report = make_report(protocol, items, scores)
            sign(report, origin)
            report.seconds |= {"generating": round(generated - start, 2)}
            with output_folder(out) as folder, publishing(folder, out, "the report"):
                shown = choose_shown(items, scores.by_sample, settings.num_videos)
                report.samples = write_shown(shown, store, scores.by_sample, settings.video_fps, folder)
                report.seconds["total"] = round(time.perf_counter() - start, 2)
                write_report(report, folder)
        finally:
            store.unlock()
    _show(report, out)


def _check_numbers(settings: "ProtocolSettings", num_samples: int, num_real: int) -> None:
    """Refuses too few samples or real videos for the metrics that are asked for."""
    from ..evaluation.protocols.metrics import METRICS

    if settings.comparing and min(num_samples, num_real) < 2:
        names = ", ".join(settings.comparing)
        raise UsageError(f"{names}: two samples and two real videos, or more, are needed: raise num_samples")
    for metric in (METRICS[name] for name in settings.metrics):
        if metric.num_splits is not None and num_samples < settings.num_splits:
            raise UsageError(
                f"{metric.name} in {settings.num_splits} splits needs as many samples, got {num_samples}:"
                " raise num_samples, or set num_splits=1"
            )


def _parser(bench: str) -> CommandParser:
    parser = CommandParser(
        prog=f"mav evaluate {bench}",
        description="Generate samples of a published protocol, and measure them.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add_evaluation(parser, weights=DEFAULT_WEIGHTS)
    add("--data", metavar="DIR", help="the benchmark's own files, or real videos (default: the bench's)")
    if bench == "prompts":
        add("--prompts", metavar="FILE", help="a prompt in each line")
    add("--num-samples", type=number_in(int, 1), metavar="N", help="default: all of the protocol")
    add("--metrics", metavar="NAMES", help="some of fvd,kvd,is,fid,clipsim (default: the bench's)")
    add("--features", metavar="DIR", help="folder of the feature networks' weights")
    add("--clip", metavar="NAME", help="a CLIP of open_clip, or one of your own, such as micro/clip")
    add("--clip-file", metavar="FILE", help="weights of that CLIP")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting of that file")
    add("--accelerator", default="auto", metavar="NAME", help="cpu, gpu, ... (default: %(default)s)")
    add(
        "--devices",
        type=_devices,
        default="auto",
        metavar="N",
        help="number of devices, or which: 0,1 (default: all)",
    )
    add("--strategy", default="auto", metavar="NAME", help="of Lightning's Trainer (default: %(default)s)")
    add("--num-nodes", type=number_in(int, 1, 100_000), default=1, metavar="N", help="default: %(default)s")
    precision = f"{', '.join(PRECISIONS)} (default: what suits the device)"
    add("--precision", choices=PRECISIONS, metavar="NAME", help=precision)
    return parser


def _devices(text: str) -> int | str:
    """Reads a number of devices; Lightning reads the rest, such as ``auto`` and ``0,1``."""
    return number_in(int, 1, 1000)(text) if text.isdecimal() else text


def _settings(bench: str, args: argparse.Namespace) -> "ProtocolSettings":
    from omegaconf import OmegaConf

    from ..evaluation.protocols import load_settings
    from ..utils.settings import UNREADABLE

    names = ("data", "prompts", "num_samples", "seed", "steps", "features", "clip", "clip_file")
    overrides = given(args, *names)
    if args.metrics:
        overrides["metrics"] = args.metrics.split(",")
    for text in args.set:
        if not all(text.partition("=")[::2]):
            raise UsageError(f"--set {text}: give KEY=VALUE, such as num_resamples=200")
    try:
        changed = OmegaConf.to_container(OmegaConf.from_dotlist(args.set))
    except UNREADABLE as error:
        raise UsageError(f"--set: {shortened(' '.join(str(error).split()), 200)}; give KEY=VALUE") from error
    assert isinstance(changed, dict)
    overrides |= {str(name): value for name, value in changed.items()}
    return load_settings(args.config or config_folder() / "eval" / f"{bench}.yaml", **overrides)


def _mark(settings: "ProtocolSettings", items: "list[Item]", origin: dict[str, Any]) -> dict[str, Any]:
    """Collects all settings that determine the samples; a folder with other settings is refused."""
    from ..data.shards.writer import digest_of

    names = (
        "protocol",
        "seed",
        "fps",
        "frame_skip",
        "stride",
        "num_frames",
        "until",
        "steps",
        "guidance_scale",
    )
    return {
        **{name: getattr(settings, name) for name in names},
        "num_samples": len(items),
        "prompts": digest_of([[item.prompt, item.label] for item in items]),
        "weights": {stage: entry["sha256"] for stage, entry in origin["weights"].items()},
        "precision": origin["precision"],
    }


def _show(report: "Report", out: Path) -> None:
    rows = []
    for figure in report.figures:
        published = ", ".join(f"{system} {value:g}" for system, value in figure.published.items())
        interval = "" if figure.low is None else f"{figure.low:.4g} to {figure.high:.4g}"
        rows.append([figure.name, f"{figure.value:.4g}", interval, str(figure.n), published])
    print_table(["figure", "value", "95% interval", "samples", "published"], rows, report.title)
    for name in ("report.json", "report.md", "index.html"):
        print(out / name)
    print(f"evaluated in {report.seconds['total']:.0f} s")
