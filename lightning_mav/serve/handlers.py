"""What the page's buttons do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from . import pieces
from .job import LIVE, Job
from .limits import RefusedError
from .service import Service
from .uses import USES

TICK = 0.25  # seconds between two looks at a job
MOST_IDS = 48  # jobs that a browser remembers


class Handlers:
    """Functions that the page calls; clients may send them anything.

    Args:
        service: The cascade, the queue and the limits.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.watched: dict[str, str] = {}  # which job each open page shows

    def submit(self, name: str, *values: Any) -> str:
        """Queues a job with the inputs of a tab, and returns the job's id."""
        use = USES[name]
        given, chosen = values[: use.num_inputs], values[use.num_inputs :]
        try:
            settings = dict(zip(use.all_settings, chosen, strict=True))
            return self.service.submit(name, given, settings).id
        except RefusedError as error:
            raise gr.Error(str(error), duration=15, title="Not possible", print_exception=False) from None

    def found(self, job_id: Any, ids: Any) -> str:
        """Returns the id of the job that a browser asks for, or else of its newest job that is still kept."""
        jobs = self._known(job_id, ids, 1)
        return jobs[0].id if jobs else ""

    def remember(self, job_id: Any, ids: Any) -> list[str]:
        """Returns the ids of the jobs that a browser remembers, with this job in front."""
        return [job.id for job in self._known(job_id, ids, MOST_IDS)]

    def fill(self, job_id: Any) -> list[Any]:
        """Fills the tab of a job with its settings: returns the open tab, then all fields of all tabs."""
        job = self.service.jobs.get(job_id)
        updates: list[Any] = [gr.update(selected=job.use) if job else gr.skip()]
        for name, use in USES.items():
            if job is None or name != job.use:
                updates += [gr.skip()] * (use.num_inputs + len(use.all_settings))
                continue
            updates += [gr.skip() for _ in use.files] or job.prompts  # files have to be sent again
            updates += [job.settings.get(each) for each in use.all_settings]
        return updates

    def cancel(self, job_id: Any) -> None:
        """Cancels a job."""
        if job := self.service.jobs.get(job_id):
            self.service.jobs.cancel(job)

    async def watch(self, job_id: Any, ids: Any, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Yields what the page shows of a job, each time something changes, until the job is finished."""
        job = self.service.jobs.get(job_id)
        if job is None:
            return
        own, session = self._known(job_id, ids, MOST_IDS), str(request.session_hash)
        self.watched[session] = job.id
        shown: list[Any] = []
        version = -1
        while True:
            finished = job.state not in LIVE
            if finished or job.version != version:
                version = job.version
                values = self._values(job, own)
                yield [gr.skip() if shown and new == shown[i] else new for i, new in enumerate(values)]
                shown = values
            if finished:
                break
            await asyncio.sleep(TICK)
            if self.watched.get(session) != job.id:
                return  # the page shows another job by now
        self.watched.pop(session, None)

    def _values(self, job: Job, own: list[Job]) -> list[Any]:
        place, length, wait = self.service.standing(job)
        return [
            pieces.status(job, place),
            pieces.progress(job, place, length, wait),
            *pieces.videos(job),
            pieces.downloads(job),
            gr.update(visible=job.state in LIVE),
            pieces.gallery(own),
        ]

    def _known(self, job_id: Any, ids: Any, most: int) -> list[Job]:
        """Returns the jobs of some ids that are still kept."""
        wanted = [job_id, *(ids[: 2 * MOST_IDS] if isinstance(ids, list) else [])]
        texts = dict.fromkeys(each for each in wanted if isinstance(each, str))
        return [job for each in texts if (job := self.service.jobs.get(each))][:most]
