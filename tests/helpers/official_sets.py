"""UCF-101 and MSR-VTT in small: folders, lists and files as the official archives have them."""

import json
from fractions import Fraction

import av
import numpy as np
import torch
from torch import nn

from lightning_mav.utils.errors import UsageError

CLASSES = ("ApplyEyeMakeup", "ApplyLipstick", "Archery")
NUM_TRAIN = (3, 1, 2)  # videos of each class in the training split


def write_video(path, seed, *, num_frames=40, fps=25, size=(40, 30), codec="mpeg4"):
    """Writes moving noise of a colour of its own; UCF-101 is MPEG-4 in AVI, MSR-VTT H.264 in mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        base = rng.integers(0, 200, 3)
        for i in range(num_frames):
            pixels = np.clip(base + rng.integers(0, 50, (size[1], size[0], 3)) + i % 7, 0, 255)
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_ucf101(folder):
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{i + 1} {name}\n" for i, name in enumerate(CLASSES)))
    lines = []
    for i, (name, num) in enumerate(zip(CLASSES, NUM_TRAIN, strict=True)):
        for clip in range(num):
            video = f"{name}/v_{name}_g08_c{clip + 1:02d}.avi"
            write_video(folder / "UCF-101" / video, 10 * i + clip)
            lines.append(f"{video} {i + 1}\r\n")  # the official lists have Windows' line ends
    (lists / "trainlist01.txt").write_text("".join(lines))
    return folder


def write_msrvtt(folder):
    videos = [
        {"video_id": "video7010", "split": "test", "category": 3, "url": "", "id": 7010},
        {"video_id": "video7011", "split": "test", "category": 4, "url": "", "id": 7011},
        {"video_id": "video0", "split": "train", "category": 4, "url": "", "id": 0},
    ]
    sentences = [
        {"sen_id": 140203, "video_id": "video7011", "caption": "a red  ball is bouncing"},
        {"sen_id": 140200, "video_id": "video7010", "caption": "a blue star"},
        {"sen_id": 140201, "video_id": "video7010", "caption": "a blue star is spinning"},
        {"sen_id": 0, "video_id": "video0", "caption": "of the training split"},
    ]
    folder.mkdir(parents=True)
    content = {"info": {}, "videos": videos, "sentences": sentences}
    (folder / "test_videodatainfo.json").write_text(json.dumps(content))
    for i, video in enumerate(videos[:2]):
        write_video(folder / "TestVideo" / f"{video['video_id']}.mp4", i, num_frames=80, codec="libx264")
    return folder


class Stats(nn.Module):
    """Stands in for a feature network: means and spreads of pixels, in space and over time."""

    sha256 = "0" * 64
    num_features = 6

    def __init__(self, name, scale=1.0):
        super().__init__()
        self.name, self.scale, self.num_videos = name, scale, 0

    def forward(self, video):
        self.num_videos += len(video)
        flat = video.float().flatten(2)
        change = video.float().diff(dim=2).flatten(2).abs() if video.shape[2] > 1 else flat[..., :1]
        return self.scale * torch.cat([flat.mean(dim=2), change.mean(dim=2)], dim=1)

    def settings(self):
        return {"name": self.name, "sha256": self.sha256, "scale": self.scale}


def load_stats(name, folder=None):
    """Stands in for ``load_features``."""
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{name}: there is no {folder}; fetch it")
    return Stats(name)
