"""The queue of ``mav serve``: videos are made one at a time, in the order in which they were requested.

Each job has a folder with its settings, its state and its videos. So a page that was closed finds its video
by the job's id, and jobs that were not finished when the server stopped are made when it starts again.
"""

import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..utils.errors import UsageError, first_line
from ..utils.textfile import parse_json, write_json
from .job import CANCELLED, DONE, FAILED, LIVE, RUNNING, WAITING, BusyError, Job, StopError, folder_bytes
from .limits import RefusedError
from .uploads import Upload

FILE = "job.json"
MAX_TRIES = 2  # so that a job that crashes the server does not do so again and again


class Jobs:
    """Queue, worker and folder of jobs.

    Args:
        folder: Where the jobs' folders are.
        work: Makes a job's video: ``work(job, folder, step, uploads)`` often calls ``step()``, which raises
            ``StopError`` when the job has to end.
        max_waiting: How many jobs may wait.
        keep_bytes: Bytes that all jobs may take; beyond this, the oldest finished jobs are removed.
        max_seconds: The longest time for one job.
    """

    def __init__(
        self,
        folder: Path,
        work: Callable[[Job, Path, Callable[[], None], list[Upload]], None],
        *,
        max_waiting: int = 16,
        keep_bytes: int = 2 * 2**30,
        max_seconds: float = 600.0,
    ) -> None:
        self.folder, self.work = folder, work
        self.max_waiting, self.keep_bytes, self.max_seconds = max_waiting, keep_bytes, max_seconds
        self.jobs: dict[str, Job] = {}
        self.queue: list[Job] = []
        self.changed = threading.Condition()
        self.closing = False
        self.worker = threading.Thread(target=self._run, name="jobs", daemon=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._load()

    def start(self) -> None:
        """Starts the worker."""
        self.worker.start()

    def close(self) -> None:
        """Ends the worker; the job that it is making will be made at the next start of the server."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        if self.worker.is_alive():
            self.worker.join(timeout=30)

    def submit(
        self,
        use: str,
        prompt: str,
        settings: dict[str, Any],
        uploads: Sequence[Upload] = (),
        **fields: Any,
    ) -> Job:
        """Puts a job into the queue; its files are copied into its folder.

        Args:
            use: A key of ``USES``.
            prompt: See ``Job``.
            settings: Checked settings.
            uploads: Its files.
            fields: Further fields of ``Job``.

        Raises:
            BusyError: If too many are waiting.
            RefusedError: If the disk is full.
        """
        job = Job(secrets.token_hex(8), use, prompt, settings, created=time.time(), **fields)
        with self.changed:
            if self.closing:
                raise BusyError("The server is being stopped. Try again in a minute.")
            waiting = sum(other.state == WAITING for other in self.queue)
            if waiting >= self.max_waiting:
                raise BusyError(
                    f"Busy: {waiting} videos are waiting, and no more can wait. Try again in a minute; "
                    "what you have typed stays here."
                )
            # Within the lock, so that no more are accepted than may wait; files are small.
            try:
                self._lay(job, uploads)
            except OSError as error:
                shutil.rmtree(self.path(job), ignore_errors=True)
                print(f"mav: warning: {error}", file=sys.stderr)
                raise RefusedError("The server has no room for another video. Tell its operator.") from None
            self.jobs[job.id] = job
            self.queue.append(job)
            self.changed.notify_all()
        return job

    def _lay(self, job: Job, uploads: Sequence[Upload]) -> None:
        place = self.path(job)
        place.mkdir()
        for number, upload in enumerate(uploads):
            name = f"input-{number}"
            shutil.copyfile(upload.path, place / name)
            measured = {"kind": upload.kind, "num_frames": upload.num_frames, "fps": upload.fps}
            job.files.append({"name": name, **measured})
        write_json(place / FILE, asdict(job))

    def get(self, job_id: Any) -> Job | None:
        """Returns a job; None if there is none with that id, or if it was removed."""
        return self.jobs.get(job_id) if isinstance(job_id, str) else None

    def path(self, job: Job) -> Path:
        """Returns the folder of a job."""
        return self.folder / job.id

    def place(self, job: Job) -> int:
        """Returns how many jobs are before this one in the queue; 0 if it is being made."""
        with self.changed:
            return next((i for i, other in enumerate(self.queue) if other is job), 0)

    def cancel(self, job: Job) -> None:
        """Takes a job out of the queue, or ends it at its next step."""
        with self.changed:
            if job.state == WAITING:
                self.queue.remove(job)
                job.state = CANCELLED
                self.save(job)
            job.stopped.set()
            self._touch_all()

    def uploads(self, job: Job) -> list[Upload]:
        """Returns the files of a job."""
        return [
            Upload(self.path(job) / each["name"], each["kind"], each["num_frames"], each["fps"])
            for each in job.files
        ]

    def save(self, job: Job) -> None:
        """Writes the state of a job; if the disk is full, the state is kept only in memory."""
        job.version += 1
        with self.changed:  # a folder that was removed is not made again
            if self.path(job).is_dir():
                try:
                    write_json(self.path(job) / FILE, asdict(job))
                except OSError as error:
                    print(f"mav: warning: {error}", file=sys.stderr)

    def _touch_all(self) -> None:
        for job in self.queue:
            job.version += 1

    def _load(self) -> None:
        """Finds the jobs of earlier runs; those that were not finished wait again, in their order."""
        for path in self.folder.glob(f"*/{FILE}"):
            try:
                job = Job.from_dict(parse_json(path.read_bytes()))
            except (OSError, ValueError):
                continue  # such as half a file, of a machine that was switched off
            if job.id != path.parent.name:
                continue
            self.jobs[job.id] = job
            if job.state in LIVE:
                job.state, job.stages = WAITING, []
                if job.tries >= MAX_TRIES:
                    job.state, job.message = FAILED, "The server stopped while it made this video. Try again."
                self.save(job)
        self.jobs = dict(sorted(self.jobs.items(), key=lambda item: item[1].created))
        self.queue = [job for job in self.jobs.values() if job.state == WAITING]

    def _run(self) -> None:
        while True:
            with self.changed:
                while not self.queue and not self.closing:
                    self.changed.wait()
                if self.closing:
                    return
                job = self.queue[0]
                job.state, job.begun, job.tries = RUNNING, time.monotonic(), job.tries + 1
                self.save(job)
                self._touch_all()
            self._make(job)
            with self.changed:
                if not self.closing or job.state != WAITING:
                    self.queue.remove(job)
                self.save(job)
                self._touch_all()
            self._clean()

    def _make(self, job: Job) -> None:
        def step() -> None:
            if self.closing or job.stopped.is_set() or time.monotonic() - job.begun > self.max_seconds:
                raise StopError

        def end(state: str, message: str = "") -> None:
            job.seconds, job.message = round(time.monotonic() - job.begun, 2), message
            job.state = state  # last: whoever sees it sees the others, too

        try:
            self.work(job, self.path(job), step, self.uploads(job))
            end(DONE)
        except StopError:
            if job.stopped.is_set():
                end(CANCELLED)
            elif self.closing:
                job.state, job.tries = WAITING, job.tries - 1
            else:
                end(FAILED, f"It took longer than {self.max_seconds:g} s. Try fewer steps or frames.")
        except (UsageError, ValueError) as error:
            end(FAILED, self._public(job, first_line(error)))
        except Exception as error:  # whatever went wrong, the next job must be made
            traceback.print_exc(file=sys.stderr)
            short = "memory" in str(error).lower() or isinstance(error, MemoryError)
            text = "The server's memory is too small for this video. Try fewer frames."
            end(FAILED, text if short else "Something went wrong; the log of the server says what.")

    def _public(self, job: Job, text: str) -> str:
        """Returns a message without the paths of this machine."""
        for number, each in enumerate(job.files, 1):
            text = text.replace(str(self.path(job) / each["name"]), f"File {number}")
        return text.replace(str(self.folder), "")

    def _clean(self) -> None:
        """Removes the oldest finished jobs until the rest fits."""
        sizes = {job.id: folder_bytes(self.path(job)) for job in list(self.jobs.values())}
        total = sum(sizes.values())
        for job in list(self.jobs.values()):
            if total <= self.keep_bytes:
                return
            if job.state not in LIVE:
                with self.changed:
                    del self.jobs[job.id]
                    shutil.rmtree(self.path(job), ignore_errors=True)
                total -= sizes[job.id]
