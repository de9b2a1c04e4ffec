"""Makes a job's video: each stage's video is written as soon as that stage is finished."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cascade import Cascade
from ..data.video import write_mp4
from ..models.sampling import Sampling
from ..stage_table import KEY_FRAMES, stages
from .job import Job
from .uploads import Upload, read_upload
from .uses import USES

PIXELS = "pixels.npy"  # frames of the result, bytes (F, H, W, 3); the formats are made from them
PREVIEW = 192  # pixels of the shorter side in the page, about; browsers and H.264 blur smaller videos


class Pace:
    """Estimates how long a job takes, from how long its stages took the last time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # by stage: seconds of one step for one frame

    def learn(self, stage: str, seconds: float, cost: float) -> None:
        """Records how many seconds a stage took for its ``cost``, which is steps times frames."""
        self.seconds[stage] = seconds / cost

    def of(self, stage: str, cost: float) -> float:
        """Returns the seconds that a stage will probably take."""
        known = self.seconds.copy() or {stage: 0.01}  # the worker adds to it
        return known.get(stage, sum(known.values()) / len(known)) * cost


class Clock:
    """Keeps the progress of a job up to date, from the steps of its stages.

    Args:
        job: What is being made; its share, stage and seconds left are updated.
        costs: Steps times frames of each stage, in order.
        pace: Estimates how long stages take, and learns from this job.
    """

    def __init__(self, job: Job, costs: dict[str, float], pace: Pace) -> None:
        self.job, self.costs, self.pace = job, costs, pace
        self.stage, self.share = "", 0.0
        self.begun = self.last = time.monotonic()

    def step(self, stage: str, done: int, total: int) -> None:
        """Records that a stage has done some of its steps."""
        now = time.monotonic()
        # A stage, or its second turn, began when the one before ended: its first step takes time, too.
        if stage != self.stage or self.share == 1:
            self.stage, self.begun, self.share = stage, self.last, 0.0
        self.share = max(self.share, done / total)
        self._foretell(now - self.begun)
        if done == total and stage in self.costs:
            self.pace.learn(stage, now - self.begun, self.costs[stage])
        self.last = now

    def rest(self) -> None:
        """Leaves the time since the last step out of the times of the stages."""
        self.last = time.monotonic()

    def _foretell(self, spent: float) -> None:
        """Updates the share of the job that is done, and the seconds that are left."""
        job, names, pace = self.job, list(self.costs), self.pace
        later = names[names.index(self.stage) + 1 :] if self.stage in names else []
        whole = (
            spent / self.share if self.share > 0.3 else pace.of(self.stage, self.costs.get(self.stage, 1.0))
        )
        job.left = max(0.0, whole * (1 - self.share)) + sum(pace.of(name, self.costs[name]) for name in later)
        gone = time.monotonic() - job.begun
        job.share = max(job.share, min(0.99, gone / (gone + job.left + 1e-6)))
        job.stage = self.stage
        job.version += 1


class Maker:
    """Makes videos of jobs, one at a time.

    Args:
        cascade: All stages.
        weights: Their name; empty if they have none.
    """

    def __init__(self, cascade: Cascade, weights: str = "") -> None:
        self.cascade, self.weights, self.pace = cascade, weights, Pace()

    def __call__(
        self, job: Job, folder: Path, step: Callable[[], None], uploads: Sequence[Upload] = ()
    ) -> None:
        """Makes a job's video in its folder.

        Args:
            job: What to make; its progress is kept up to date.
            folder: The job's folder, which receives the video's files.
            step: Called after every step; raises an error if the job has to end.
            uploads: The files that were sent for it.

        Raises:
            UsageError: If a file is damaged.
            ValueError: If the stages cannot make it.
        """
        use, cascade = USES[job.use], self.cascade
        job.weights, job.ground = self.weights, [*(cascade.known.ground or [])]
        given: Any = [read_upload(cascade, upload) for upload in uploads] if use.files else job.prompts
        clock = Clock(job, self.costs(job), self.pace)

        def progress(stage: str, done: int, total: int) -> None:
            step()
            clock.step(stage, done, total)

        def finished(stage: str, video: Tensor, fps: float) -> None:
            step()
            write_mp4(folder / f"{stage}.mp4", _enlarged(video[0]), fps)
            shape = {"frames": video.shape[2], "height": video.shape[3], "width": video.shape[4]}
            job.stages.append({"name": stage, "fps": fps, **shape})
            job.version += 1
            clock.rest()

        sampling = Sampling(
            job.settings["seed"],
            job.prompt if len(job.prompts) == 1 else "",  # as mav generate does, and the others do
            job.settings["steps"],
            job.settings.get("guidance_scale"),
            progress,
            finished,
        )
        warned = (cascade.known.warning(each, *cascade.nearest_names(each)) for each in job.prompts)
        job.note = "; ".join(filter(None, warned))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = use.draw(cascade, given, job.settings, sampling)
        np.save(folder / PIXELS, output.frames[0])

    def costs(self, job: Job) -> dict[str, float]:
        """Returns the cost of each stage: its steps times its frames."""
        costs = {}
        for name, spec in stages().items():
            if name == "prior" or spec.makes_video:
                own = getattr(self.cascade, name).config["init_args"]["sampler"]["init_args"]["num_steps"]
                frames = {"prior": 1, "decoder": KEY_FRAMES}.get(name, job.num_frames)
                costs[name] = float((job.settings["steps"] or own) * frames)
        return costs

    def estimate(self, job: Job) -> float:
        """Returns the seconds that a whole job will probably take."""
        return sum(self.pace.of(stage, cost) for stage, cost in self.costs(job).items())

    def warm_up(self, folder: Path) -> None:
        """Makes a short video, so that the first user does not wait longer than others.

        This also measures how long the stages take. The videos go to ``folder``.
        """
        settings = {"seed": 0, "fps": None, "frame_skip": 2, "guidance_scale": None, "steps": None}
        count = 2 * KEY_FRAMES - 1
        job = Job("0" * 16, "generate", "", settings, num_frames=count, prompts=["a red ball"])
        self(job, folder, lambda: None)


def _enlarged(video: Tensor) -> Tensor:
    """Repeats the pixels of ``(3, F, H, W)`` until the shorter side has about ``PREVIEW``."""
    times = PREVIEW // min(video.shape[-2:])
    if times < 2:
        return video
    return video.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)


def read_pixels(folder: Path) -> Tensor:
    """Returns the frames of a finished job, ``(3, F, H, W)`` in [-1, 1]."""
    pixels = torch.from_numpy(np.load(folder / PIXELS))
    return pixels.permute(3, 0, 1, 2).float() / 127.5 - 1
