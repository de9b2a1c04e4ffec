"""The law of decoding: chosen frames are those of decoding the whole file."""

import numpy as np
import torch

from helpers.coded import X265, whole
from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.data.codecs.probe import probe_video

X264 = "no-asm=1"  # x264's code for AVX512 reads memory that it has not written
OPEN = f"{X264}:open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0"
OPEN_HEVC = f"{X265}:open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0"


def check_law(data, suffix, num=6, seed=0):
    """Random frames, in any order and with repeats, and stretches of them, are those of full decoding."""
    every, times = whole(data)
    rng = np.random.default_rng(seed)
    for trial in range(num):
        indices = rng.integers(len(every), size=rng.integers(1, 6))
        if trial % 2:
            start = rng.integers(len(every))
            indices = np.arange(start, min(len(every), start + 8))
        frames, _ = decode_video(data, suffix, None, lambda times, i=indices: torch.from_numpy(i))
        assert torch.equal(frames, every[indices]), indices
    frames, found = decode_video(data, suffix, None)
    assert torch.equal(frames, every)
    assert probe_video(data, suffix)["num_frames"] == len(every)
    if suffix != "avi":  # which has no times; FFmpeg's guess at that of the first frame is late
        np.testing.assert_allclose(found, times, atol=2e-3)
    return len(every)
