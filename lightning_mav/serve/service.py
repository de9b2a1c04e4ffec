"""What is behind the page: the cascade, the queue and the limits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cascade import Cascade
from .examples import examples_of
from .job import LIVE, RUNNING, Job
from .jobs import Jobs
from .limits import Limits, RefusedError
from .making import Maker
from .requests import check_prompt, check_result, check_settings
from .uploads import Upload, check_upload
from .uses import USES


class Service:
    """Checks the requests of clients, and queues them.

    Args:
        cascade: All stages.
        folder: Where jobs are kept.
        limits: The largest values that clients may ask for.
        weights: Name of the cascade's weights in the commands to copy; empty leaves it out.
        options: Further arguments of ``Jobs``.
    """

    def __init__(
        self,
        cascade: Cascade,
        folder: Path,
        limits: Limits | None = None,
        weights: str = "",
        **options: Any,
    ) -> None:
        self.limits = limits or Limits()
        self.maker = Maker(cascade, weights)
        self.jobs = Jobs(folder, self.maker, **options)
        self.examples = examples_of(cascade.known)

    def submit(self, name: str, given: Sequence[Any], values: dict[str, Any]) -> Job:
        """Checks and queues a job.

        Args:
            name: A key of ``USES``.
            given: The prompts, or paths of the files that were sent.
            values: Settings by name.

        Raises:
            RefusedError: If something is not allowed, or the queue is full.
        """
        use = USES[name]
        settings = check_settings(use, values)
        uploads: list[Upload] = []
        prompts: list[str] = []
        if use.files:
            if any(path is None for path in given):
                raise RefusedError(f"Choose {'both files' if len(use.files) > 1 else 'a file'} first.")
            for number, (path, kind) in enumerate(zip(given, use.files, strict=True), 1):
                uploads.append(check_upload(Path(path), kind, self.limits, number))
            title = ", ".join(Path(path).name[:60] for path in given)
        else:
            prompts = [check_prompt(prompt, self.limits) for prompt in given]
            title = " | ".join(prompts)
        window = self.maker.cascade.stage("interpolation").num_frames
        num_frames = check_result(use, settings, uploads, self.limits, window)
        job = self.jobs.submit(name, title, settings, uploads, num_frames=num_frames, prompts=prompts)
        job.left = self.maker.estimate(job)
        return job

    def standing(self, job: Job) -> tuple[int, int, float]:
        """Returns how many jobs are before this one, how many are queued, and the seconds until it starts."""
        with self.jobs.changed:
            queue = [other for other in self.jobs.queue if other.state in LIVE]
        place = queue.index(job) if job in queue else 0
        before = [
            other.left if other.state == RUNNING else self.maker.estimate(other) for other in queue[:place]
        ]
        return place, len(queue), sum(before)
