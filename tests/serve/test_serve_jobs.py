"""The queue of the page: order, places, cancelling, and what outlives a restart."""

import errno
import json
import threading

import pytest

from helpers.serving import wait_for
from lightning_mav.serve.job import CANCELLED, DONE, FAILED, RUNNING, WAITING, BusyError, folder_bytes
from lightning_mav.serve.jobs import MAX_TRIES, Jobs
from lightning_mav.serve.limits import RefusedError
from lightning_mav.serve.uploads import Upload
from lightning_mav.utils.errors import UsageError


class Work:
    """Stands for the cascade: makes a job when it is told to, and notes the order."""

    def __init__(self):
        self.made, self.go, self.raises = [], threading.Event(), {}

    def __call__(self, job, folder, step, uploads):
        while not self.go.wait(0.01):
            step()
        step()
        if job.id in self.raises:
            raise self.raises[job.id]
        (folder / "video").write_bytes(bytes(1000))
        self.made.append(job.id)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def jobs(work, tmp_path):
    jobs = Jobs(tmp_path / "jobs", work, max_waiting=3)
    jobs.start()
    yield jobs
    work.go.set()
    jobs.close()


def submit(jobs, **settings):
    return jobs.submit("generate", "a red ball", settings)


def begin(jobs):
    job = submit(jobs)
    wait_for(lambda: job.state == RUNNING)
    return job


def finished(jobs):
    wait_for(lambda: not jobs.queue)


def test_jobs_are_made_in_order_and_know_their_places(jobs, work):
    first = begin(jobs)
    others = [submit(jobs) for _ in range(3)]
    assert [jobs.place(job) for job in (first, *others)] == [0, 1, 2, 3]
    work.go.set()
    finished(jobs)
    assert work.made == [job.id for job in (first, *others)]
    assert {job.state for job in (first, *others)} == {DONE}


def test_no_more_wait_than_may(jobs, work):
    begin(jobs)
    accepted = [submit(jobs) for _ in range(3)]
    with pytest.raises(BusyError, match="3 videos are waiting"):
        submit(jobs)
    jobs.cancel(accepted[0])
    submit(jobs)  # there is room again


def test_cancelled_jobs_are_not_made_and_others_are(jobs, work):
    running, waiting, last = begin(jobs), submit(jobs), submit(jobs)
    jobs.cancel(waiting)
    assert (waiting.state, jobs.place(last)) == (CANCELLED, 1)
    jobs.cancel(running)
    wait_for(lambda: running.state == CANCELLED)
    work.go.set()
    finished(jobs)
    assert work.made == [last.id]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("File 1: is damaged"), "is damaged"),
        (ValueError("too many frames"), "too many frames"),
        (RuntimeError("not enough memory: you tried to allocate"), "memory is too small"),
        (ZeroDivisionError("secret /etc/place"), "Something went wrong; the log of the server says what."),
    ],
)
def test_a_job_that_fails_says_why_and_the_next_is_made(jobs, work, error, message, capfd):
    bad = submit(jobs)
    work.raises[bad.id] = error
    good = submit(jobs)
    work.go.set()
    finished(jobs)
    assert (bad.state, good.state) == (FAILED, DONE)
    assert message in bad.message
    assert "secret" not in bad.message


def test_messages_hold_no_path_of_the_server(jobs, work, tmp_path):
    file = tmp_path / "mine.png"
    file.write_bytes(b"bytes")
    job = jobs.submit("animate", "mine.png", {}, [Upload(file, "image")])
    (copy,) = jobs.uploads(job)
    work.raises[job.id] = UsageError(f"{copy.path}: is damaged")
    assert copy.path.read_bytes() == b"bytes"
    work.go.set()
    finished(jobs)
    assert job.message == "File 1: is damaged"


def test_a_job_that_takes_too_long_is_ended(work, tmp_path):
    jobs = Jobs(tmp_path / "jobs", work, max_seconds=0.05)
    jobs.start()
    job = submit(jobs)
    finished(jobs)
    assert job.state == FAILED
    assert "longer than 0.05 s" in job.message
    jobs.close()


def test_a_stopped_server_finds_all_again_and_goes_on_in_order(work, tmp_path):
    jobs = Jobs(tmp_path / "jobs", work)
    jobs.start()
    running = begin(jobs)
    waiting = [submit(jobs) for _ in range(2)]
    jobs.close()
    again = Jobs(tmp_path / "jobs", work)
    ids = [job.id for job in (running, *waiting)]
    assert [job.id for job in again.queue] == ids
    assert {again.get(each).state for each in ids} == {WAITING}
    work.go.set()
    again.start()
    finished(again)
    again.close()
    later = Jobs(tmp_path / "jobs", work)
    assert (work.made, {later.get(each).state for each in ids}) == (ids, {DONE})


def test_a_job_that_brings_the_server_down_does_so_twice_at_most(work, tmp_path):
    jobs = Jobs(tmp_path / "jobs", work)
    job = submit(jobs)
    file = jobs.path(job) / "job.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "state": RUNNING, "tries": MAX_TRIES}))
    again = Jobs(tmp_path / "jobs", work)
    assert (again.queue, again.get(job.id).state) == ([], FAILED)


def test_damaged_folders_are_passed_over(work, tmp_path):
    for name, text in {"a" * 16: "{", "b" * 16: "[]", "c" * 16: '{"id": "x"}', "d" * 16: '{"id": 3}'}.items():
        (tmp_path / "jobs" / name).mkdir(parents=True)
        (tmp_path / "jobs" / name / "job.json").write_text(text)
    assert Jobs(tmp_path / "jobs", work).jobs == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"created": None},
        {"created": "x"},
        {"tries": None},
        {"stages": {}},
        {"id": 3},
        {"use": "x"},
        {"prompts": [3]},
    ],
)
def test_a_job_with_a_wrong_value_is_passed_over(work, tmp_path, wrong):
    jobs = Jobs(tmp_path / "jobs", work)
    kept, damaged = submit(jobs), submit(jobs)
    file = jobs.path(damaged) / "job.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **wrong}))
    again = Jobs(tmp_path / "jobs", work)
    assert [job.id for job in again.queue] == [kept.id]


def test_a_file_that_is_gone_counts_nothing(tmp_path):
    (tmp_path / "here").write_bytes(b"12345")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")  # has a name, but nothing can be asked of it
    assert folder_bytes(tmp_path) == 5


def test_the_oldest_make_room(work, tmp_path):
    jobs = Jobs(tmp_path / "jobs", work, keep_bytes=4000)
    work.go.set()
    jobs.start()
    made = []
    for _ in range(6):
        made.append(submit(jobs))
        finished(jobs)
    wait_for(lambda: jobs.get(made[0].id) is None)
    kept = [job for job in made if jobs.get(job.id)]
    assert 1 <= len(kept) <= 3
    assert kept == made[-len(kept) :]
    assert [jobs.path(job).exists() for job in made] == [job in kept for job in made]
    jobs.close()


@pytest.mark.parametrize("job_id", [None, 3, "", "../..", "x" * 10**5, ["a"], {}])
def test_ids_of_no_job_find_none(jobs, job_id):
    assert jobs.get(job_id) is None


def test_a_full_disk_ends_neither_worker_nor_server(jobs, work, monkeypatch, capfd):
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*args, **kwargs):
        raise full

    first = begin(jobs)
    monkeypatch.setattr("lightning_mav.serve.jobs.write_json", fails)
    with pytest.raises(RefusedError, match="no room"):
        submit(jobs)
    work.go.set()
    finished(jobs)
    assert first.state == DONE
    monkeypatch.undo()
    last = submit(jobs)
    finished(jobs)
    assert last.state == DONE
