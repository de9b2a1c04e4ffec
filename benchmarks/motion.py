"""How much of an animation's motion a video decoder of the emoji knows before it sees any of it.

The decoder estimates the video from noise alone, once, given the embedding of the still. The table shows the
correlation of that estimate with the true animation, both without their mean over time, and the same with the
embedding of another still. A sample from the decoder costs twenty times as much.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lightning_mav.evaluation.worlds.emoji.prompts import choose_prompts, label
from lightning_mav.evaluation.worlds.emoji.settings import EmojiBench
from lightning_mav.evaluation.worlds.emoji.truth import (
    SEEN,
    THINGS,
    TONES_HIDDEN,
    Entry,
    read_animations,
    read_entries,
    read_stills,
)
from lightning_mav.models import Decoder
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.precision import autocast_context
from lightning_mav.weights import find_weights, load_stage

from .report import Section, Table

KINDS = (SEEN, TONES_HIDDEN, THINGS)
BATCH_SIZE = 8
FPS = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this bench alone."""
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="the emoji world (data/emoji)")
    parser.add_argument("--clip", default="emoji/clip", help="weights of CLIP (emoji/clip)")
    parser.add_argument(
        "--decoder",
        action="append",
        type=named,
        metavar="NAME=WEIGHTS",
        help="a decoder and what the table calls it; again for more (shipped=emoji/decoder)",
    )


def named(text: str) -> tuple[str, str]:
    """Parses ``NAME=WEIGHTS``."""
    name, equals, weights = text.partition("=")
    if not (name and equals and weights):
        raise argparse.ArgumentTypeError(f"must be NAME=WEIGHTS, such as shipped=emoji/decoder, got {text!r}")
    return name, weights


def run(args: argparse.Namespace) -> Section:
    """Measures each decoder once; ``--turns`` has no effect."""
    entries = read_entries(args.data)
    asked = choose_prompts(entries, EmojiBench(data=str(args.data)))
    clip = load_stage("clip", find_weights(args.clip)).eval()
    decoders = load_decoders(args.decoder or [("shipped", "emoji/decoder")])
    if any(decoder.net.image_embed_dim != clip.embed_dim for decoder in decoders.values()):
        raise UsageError(f"--clip={args.clip}: its embeddings are not those of the decoders: name their CLIP")
    shapes = {(decoder.image_size, decoder.num_frames) for decoder in decoders.values()}
    if len(shapes) > 1:
        raise UsageError(f"--decoder: sizes and lengths {shapes} differ: measure them one by one")
    ((size, num_frames),) = shapes
    rows = [[name] for name in decoders]
    counts = []
    for kind in KINDS:
        chosen = [asked.entries[row] for row in asked.rows(kind)]
        counts.append(f"{len(chosen)} {label(kind)}")
        embed = embeddings(clip, args.data, chosen, len(entries))
        true = clips(args.data, kind, chosen, size, num_frames)
        for row, decoder in zip(rows, decoders.values(), strict=True):
            own, other = (correlation(decoder, true, given) for given in (embed, embed.roll(1, 0)))
            row.append(f"{own:.3f}, {other:.3f}")
    return Section(
        "motion",
        "Motion known from a still",
        [
            "Correlation of the motion in the first estimate, from noise alone, with that of the true "
            "animation: given the embedding of the own still, and of another one's. Mean over the animations "
            f"({', '.join(counts)}), {num_frames} frames at {FPS:g} fps from the start."
        ],
        [Table(["decoder", *(label(kind) for kind in KINDS)], rows)],
    )


def load_decoders(given: list[tuple[str, str]]) -> dict[str, Decoder]:
    """Loads decoders by the names that the table calls them."""
    found: dict[str, Decoder] = {}
    for name, path in given:
        if name in found:
            raise UsageError(f"--decoder={name}={path}: {name} is taken: choose another name")
        found[name] = load_stage("decoder", find_weights(path)).eval()
    return found


@torch.no_grad()
def embeddings(clip: torch.nn.Module, data: Path, entries: list[Entry], num_emoji: int) -> Tensor:
    """Embeds the stills of emoji, ``(N, D)``."""
    stills = read_stills(data, entries, clip.image_size, num_emoji)
    return torch.cat([clip.encode_image(part) for part in stills.split(64)]).float()


def clips(data: Path, kind: str, entries: list[Entry], size: int, num_frames: int) -> Tensor:
    """Reads the first frames of animations, ``(N, 3, F, S, S)`` in [-1, 1]."""
    found = read_animations(data, kind, size, [entry.code for entry in entries])
    return torch.stack([found[entry.code].clip(0.0, FPS, num_frames) for entry in entries])


@torch.no_grad()
def correlation(decoder: Decoder, true: Tensor, image_embed: Tensor) -> float:
    """Returns the mean correlation of motion in the first estimates with ``true``, ``(N, 3, F, S, S)``.

    Args:
        decoder: Video decoder.
        true: Videos.
        image_embed: What they are estimated from, ``(N, D)``.
    """
    generator, last = torch.Generator().manual_seed(0), decoder.diffusion.num_timesteps - 1
    found = []
    for video, embed in zip(true.split(BATCH_SIZE), image_embed.split(BATCH_SIZE), strict=True):
        t, fps = torch.full((len(video),), last), torch.full((len(video),), FPS)
        x_t = decoder.diffusion.correlate(torch.randn(video.shape, generator=generator))
        with autocast_context("cpu"):
            estimate = decoder.predict_x_0(x_t, t, decoder.net.conditions(image_embed=embed, fps=fps))
        a, b = (motion(each.float()) for each in (estimate, video))
        found.append(torch.nn.functional.cosine_similarity(a, b, dim=1))
    return float(torch.cat(found).mean())


def motion(video: Tensor) -> Tensor:
    """Flattens videos ``(N, 3, F, S, S)`` without their mean over time, ``(N, D)``."""
    return (video - video.mean(dim=2, keepdim=True)).flatten(1)
