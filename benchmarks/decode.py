"""Times the decoding of random clips against full decoding, against torch's resizing and against FFmpeg."""

import argparse
import io
import itertools
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.data.codecs.opening import OPTIONS
from lightning_mav.data.codecs.resize import FrameResizer, to_tensor
from lightning_mav.datamodules.clips import ClipSampler

from .report import Section, Table
from .timing import Times, progress_bar, ratios, take_turns, with_spread

TURNS = 15
SIZES = ((240, 320), (720, 1280))  # height, width
GOPS = (30, 250)  # most frames between key frames
FPS = 30
CHECKED = 3  # clips
TARGET = 64
FFMPEG = shutil.which("ffmpeg")


@dataclass
class Clip:
    """A clip to cut out of a video.

    Args:
        video: An MP4 file.
        choose: Chooses the frames.
        pts: Time stamps of these.
        span: When the first and the last are shown, in seconds.
    """

    video: bytes
    choose: Callable[[Tensor], Tensor]
    pts: list[int]
    span: tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this bench."""
    parser.add_argument("--seconds", type=int, default=10, help="of a video (10)")


def run(args: argparse.Namespace) -> Section:
    """Times all videos; before that, checks that no pixel differs from those of full decoding."""
    torch.set_num_threads(1)
    peer = "`ffmpeg`" if FFMPEG else "FFmpeg's libraries"
    header = ["video", "GOP", "ours, ms", "full decoding", "seeking, torch resizes", peer, "full, in all"]
    table = Table(header, [])
    for height, width in SIZES:
        videos = encode(height, width, args.seconds * FPS)
        for gop, video in zip(GOPS, videos, strict=True):
            clips = [sample_clip(video, seed) for seed in range(args.turns)]
            check(clips[:CHECKED])
            times = compare(clips, args.turns, f"decode: {width}x{height}, GOP {gop}")
            row = [f"{1e3 * statistics.median(times['ours']):.1f}"]
            row += [with_spread(ratios(times[name], times["ours"])) for name in ("full", "seek", "ffmpeg")]
            row.append(f"{sum(times['full']) / sum(times['ours']):.2f}")
            table.rows.append([f"{width}x{height}", str(gop), *row])
    if FFMPEG:
        plain = "The next column is the `ffmpeg` program with one thread, less the time it takes to start"
    else:
        plain = (
            "The next column is FFmpeg's libraries, called by PyAV with the same options as ours, since the "
            "`ffmpeg` program is not installed here"
        )
    return Section(
        "decode",
        "Decoding video",
        [
            f"Clips of 16 frames at random frame rates of 1 to 30, at {TARGET} x {TARGET} pixels, from "
            f"videos of {args.seconds} s in memory: a moving texture, H.264 with x264's defaults and key "
            f"frames at most GOP frames apart. CPU time on one thread, {args.turns} turns, each with another "
            "clip, so that the spread is mostly that of the frame rates. At native size our pixels are those "
            "of full decoding (checked).",
            "The columns after our time say how many times as long the others take. Full decoding decodes "
            "the whole video and resizes the wanted frames as we do. The next column seeks to the key frame, "
            "decodes, and resizes frames of native size with torch. "
            f"{plain}: all frames from the key frame to the end of the clip are decoded, and none is "
            "resized. The last column compares full decoding by the sums over all clips. Slow clips make up "
            "most of these sums: at one frame a second, the whole video is needed.",
        ],
        [table],
    )


def encode(height: int, width: int, num_frames: int) -> list[bytes]:
    """Encodes the same frames with each distance of key frames."""
    files = [io.BytesIO() for _ in GOPS]
    containers = [av.open(file, "w", format="mp4") for file in files]
    streams = [container.add_stream("libx264", rate=FPS) for container in containers]
    for stream, gop in zip(streams, GOPS, strict=True):
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = height, width, "yuv420p", gop
    with progress_bar() as progress:
        moving = progress.track(
            texture(height, width, num_frames), num_frames, description=f"encode: {width}x{height}"
        )
        for index, pixels in enumerate(moving):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            for container, stream in zip(containers, streams, strict=True):
                container.mux(stream.encode(frame))
    for container, stream in zip(containers, streams, strict=True):
        container.mux(stream.encode(None))
        container.close()
    return [file.getvalue() for file in files]


def texture(height: int, width: int, num_frames: int) -> Iterator[np.ndarray]:
    """Yields ``(H, W, 3)`` bytes: a pan over noise with a natural spectrum, an object, and grain."""
    rng = np.random.default_rng(0)
    shape = (height + 128, width + num_frames + 2)
    rows, columns = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[1])[None, :, None]
    spectrum = np.fft.rfft2(rng.standard_normal((*shape, 3)), axes=(0, 1))
    spectrum /= (np.hypot(rows, columns) + 2 / height) ** 1.5
    ground = np.fft.irfft2(spectrum, s=shape, axes=(0, 1))
    ground = ((ground - ground.mean()) / ground.std() * 50 + 128).clip(0, 255).astype(np.float32)
    h, w = height // 4, width // 4
    for index in range(num_frames):
        (y, dy), (x, dx) = (divmod(place, 1) for place in (60 + 50 * np.sin(index / 40), 0.8 * index))
        part = ground[int(y) : int(y) + height + 1, int(x) : int(x) + width + 1]
        part = part[:-1] * np.float32(1 - dy) + part[1:] * np.float32(dy)
        part = part[:, :-1] * np.float32(1 - dx) + part[:, 1:] * np.float32(dx)
        top, left = int(h * (1.4 + np.sin(index / 19))), int(w * (1.4 + np.cos(index / 23)))
        part[top : top + h, left : left + w] = 255 - ground[:h, :w]
        part += rng.standard_normal((height, width, 1), dtype=np.float32)
        yield part.clip(0, 255).astype(np.uint8)


def sample_clip(video: bytes, seed: int) -> Clip:
    """Draws a clip as training does."""
    drawn: list[Tensor] = []

    def choose(times: Tensor) -> Tensor:
        indices, _ = ClipSampler(16)(times, np.random.default_rng(seed))
        drawn.append(indices)
        return indices

    _, times = decode_video(video, "mp4", TARGET, choose)
    with av.open(io.BytesIO(video), format="mp4") as container:
        pts = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    return Clip(video, choose, [pts[i] for i in drawn[0]], (float(times[0]), float(times[-1])))


def check(clips: list[Clip]) -> None:
    """Compares pixels of native size with those of decoding everything."""
    for clip in clips:
        frames, _ = decode_video(clip.video, "mp4", None, clip.choose)
        whole = decode_frames(clip, FrameResizer(None), seek=False)
        assert torch.equal(frames, to_tensor(whole)), "these are not the pixels of full decoding"


def compare(clips: list[Clip], turns: int, title: str) -> Times:
    """CPU seconds of each turn, by name."""
    calls: dict[str, Callable[[Clip], object]] = {
        "ours": lambda clip: decode_video(clip.video, "mp4", TARGET, clip.choose),
        "full": lambda clip: to_tensor(decode_frames(clip, FrameResizer(TARGET), seek=False, stop=False)),
        "seek": lambda clip: torch.stack(decode_frames(clip, torch_resize)),
        "ffmpeg": lambda clip: decode_frames(clip, id, options=OPTIONS),
    }
    with tempfile.TemporaryDirectory() as folder:
        if FFMPEG:
            path = Path(folder) / "video.mp4"
            path.write_bytes(clips[0].video)
            calls["ffmpeg"] = lambda clip: run_ffmpeg(path, clip)
            calls["start"] = lambda clip: subprocess.run([str(FFMPEG), "-version"], capture_output=True)
        # The warm-up sees the clip of the last turn.
        turn_of = {name: itertools.chain(clips[-1:], clips) for name in calls}

        def turn(name: str) -> Callable[[], object]:
            return lambda: calls[name](next(turn_of[name]))

        times = take_turns({name: turn(name) for name in calls}, turns, title=title, clock=cpu_seconds)
    if FFMPEG:
        times["ffmpeg"] = [a - b for a, b in zip(times["ffmpeg"], times["start"], strict=True)]
    return times


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has run."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def decode_frames(
    clip: Clip,
    resize: Callable[[av.VideoFrame], Any],
    *,
    seek: bool = True,
    stop: bool = True,
    **options: Any,
) -> list[Any]:
    """Decodes with PyAV as usual.

    Args:
        clip: What to decode.
        resize: What to do with the clip's frames.
        seek: Whether to begin at the key frame before the clip.
        stop: Whether to end with the clip.
        options: See ``av.open``.
    """
    found = {}
    with av.open(io.BytesIO(clip.video), format="mp4", **options) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        if seek:
            container.seek(clip.pts[0], stream=stream)
        for frame in container.decode(stream):
            if frame.pts in clip.pts:
                found[frame.pts] = resize(frame)
            if stop and frame.pts >= clip.pts[-1]:
                break
    return [found[pts] for pts in clip.pts]


def torch_resize(frame: av.VideoFrame) -> Tensor:
    """Cuts the middle out of a frame at native size and averages it with torch."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    middle = pixels[top : top + side, left : left + side].permute(2, 0, 1)[None].float()
    return F.interpolate(middle, size=(TARGET, TARGET), mode="area")[0].round().byte()


def run_ffmpeg(path: Path, clip: Clip) -> None:
    """Decodes from the first to the last frame of a clip with the ``ffmpeg`` program."""
    start, end = clip.span
    span = ["-ss", f"{start:.4f}", "-t", f"{end - start + 1 / FPS:.4f}"]
    command = [str(FFMPEG), "-v", "error", "-threads", "1", *span, "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
