"""Makes a job's video: each stage's video is written as soon as that stage is finished."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cascade import DEFAULT, Cascade
from ..cascade_output import CascadeOutput
from ..data.video import write_mp4
from ..models.sampling import Sampling
from ..stage_table import KEY_FRAMES, LAST, stages, stages_until
from .job import Job
from .limits import Upload
from .uses import USES, read_upload

PIXELS = "pixels.npy"  # frames of the result, bytes (F, H, W, 3), which the formats are made of
PREVIEW = 192  # least side of a video in the page; browsers blur smaller ones, and H.264 their colours


class StagedCascade(Cascade):
    """A cascade that tells of each stage's video as soon as it is there; what it makes is the same.

    Attributes:
        finished: Called as ``finished(stage, output)``; ``output`` is what there is then.
    """

    finished: Callable[[str, CascadeOutput], None] | None = None

    def render(
        self,
        image_embed: Tensor,
        *,
        fps: float | None = None,
        frame_skip: int = 5,
        until: str = LAST,
        sampling: Sampling = DEFAULT,
        made: Mapping[str, Tensor] | None = None,
    ) -> CascadeOutput:
        """Turns image embeddings into videos, see ``Cascade.render``, stage by stage."""
        names = [name for name in stages_until(until) if stages()[name].makes_video]
        have, output = dict(made or {}), None
        seconds: dict[str, float] = {}
        rates: dict[str, float] = {}
        start = max((names.index(name) for name in have if name in names), default=0)
        for name in names[start:]:
            output = super().render(
                image_embed, fps=fps, frame_skip=frame_skip, until=name, sampling=sampling, made=have
            )
            have, fps = output.stages, output.fps
            seconds = {**output.seconds, **{key: value for key, value in seconds.items() if value}}
            rates = {**output.rates, **rates}
            output.seconds, output.rates = seconds, rates
            if self.finished is not None:
                self.finished(name, output)
        assert output is not None
        return output


class Pace:
    """Foretells how long a job takes, from how long its stages took the last time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # of one step for one frame, by stage

    def learn(self, stage: str, seconds: float, cost: float) -> None:
        """Notes that a stage took some time for ``cost``, steps times frames."""
        self.seconds[stage] = seconds / cost

    def of(self, stage: str, cost: float) -> float:
        """Returns the seconds that a stage will probably take."""
        known = self.seconds or {stage: 0.01}
        return self.seconds.get(stage, sum(known.values()) / len(known)) * cost


class Maker:
    """Makes videos of jobs, one at a time.

    Args:
        cascade: All stages.
    """

    def __init__(self, cascade: StagedCascade) -> None:
        self.cascade, self.pace = cascade, Pace()

    def __call__(
        self, job: Job, folder: Path, step: Callable[[], None], uploads: Sequence[Upload] = ()
    ) -> None:
        """Makes a job's video in its folder.

        Args:
            job: What to make; how far it is, is told in it.
            folder: Where its files are, and where those of the video go.
            step: Called after every step; raises if it has to end.
            uploads: Its files.

        Raises:
            UsageError: If a file is damaged.
            ValueError: If the stages cannot make it.
        """
        use, cascade = USES[job.use], self.cascade
        given: Any = [read_upload(cascade, upload) for upload in uploads] if use.files else job.prompt
        costs = self.costs(job)
        state: dict[str, Any] = {
            "stage": "",
            "begun": time.monotonic(),
            "share": 0.0,
            "last": time.monotonic(),
        }

        def progress(stage: str, done: int, total: int) -> None:
            step()
            now = time.monotonic()
            if (
                stage != state["stage"]
            ):  # it began when the one before it ended: its first step takes time, too
                state.update(stage=stage, begun=state["last"], share=0.0)
            state["share"] = max(state["share"], done / total)
            self._foretell(job, costs, stage, state["share"], now - state["begun"])
            if done == total and stage in costs:
                self.pace.learn(stage, now - state["begun"], costs[stage])
            state["last"] = now

        def finished(stage: str, output: CascadeOutput) -> None:
            step()
            video = output.stages[stage]
            write_mp4(folder / f"{stage}.mp4", _enlarged(video[0]), output.rates[stage])
            shape = {"frames": video.shape[2], "height": video.shape[3], "width": video.shape[4]}
            job.stages.append({"name": stage, "fps": output.rates[stage], **shape})
            job.version += 1
            state["last"] = time.monotonic()

        key = "" if use.files else job.prompt
        numbers = {"num_steps": job.settings["steps"], "guidance_scale": job.settings.get("guidance_scale")}
        sampling = Sampling(job.settings["seed"], key, **numbers, progress=progress)
        if not use.files:
            job.note = cascade.known.warning(job.prompt, *cascade.nearest_names(job.prompt)) or ""
        cascade.finished = finished
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = use.draw(cascade, given, job.settings, sampling)
        np.save(folder / PIXELS, output.frames[0])

    def costs(self, job: Job) -> dict[str, float]:
        """Returns for each stage the number of steps times frames."""
        costs = {}
        for name, spec in stages().items():
            if name == "prior" or spec.makes_video:
                own = getattr(self.cascade, name).config["init_args"]["sampler"]["init_args"]["num_steps"]
                frames = {"prior": 1, "decoder": KEY_FRAMES}.get(name, job.num_frames)
                costs[name] = float((job.settings["steps"] or own) * frames)
        return costs

    def _foretell(self, job: Job, costs: dict[str, float], stage: str, share: float, spent: float) -> None:
        """Notes in a job which share of it is done, and how many seconds are left."""
        names = list(costs)
        later = names[names.index(stage) + 1 :] if stage in costs else []
        whole = spent / share if share > 0.3 else self.pace.of(stage, costs.get(stage, 1.0))
        job.left = max(0.0, whole * (1 - share)) + sum(self.pace.of(name, costs[name]) for name in later)
        gone = time.monotonic() - job.begun
        job.share = max(job.share, min(0.99, gone / (gone + job.left + 1e-6)))
        job.stage = stage
        job.version += 1

    def estimate(self, job: Job) -> float:
        """Returns the seconds that a job will probably take from its beginning."""
        return sum(self.pace.of(stage, cost) for stage, cost in self.costs(job).items())

    def warm_up(self, folder: Path) -> None:
        """Makes a short video: the first user then waits no longer than others.

        It also learns how long the stages take. Its videos go to ``folder``.
        """
        settings = {"seed": 0, "fps": None, "frame_skip": 1, "guidance_scale": None, "steps": None}
        self(Job("0" * 16, "generate", "a red ball", settings, num_frames=KEY_FRAMES), folder, lambda: None)


def _enlarged(video: Tensor) -> Tensor:
    """Repeats the pixels of ``(3, F, H, W)`` until the shorter side has ``PREVIEW`` or nearly so."""
    times = PREVIEW // min(video.shape[-2:])
    if times < 2:
        return video
    return video.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)


def read_pixels(folder: Path) -> Tensor:
    """Returns the frames of a finished job, ``(3, F, H, W)`` in [-1, 1]."""
    pixels = torch.from_numpy(np.load(folder / PIXELS))
    return pixels.permute(3, 0, 1, 2).float() / 127.5 - 1
