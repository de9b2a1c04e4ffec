"""The page over HTTP: what a browser sends, what comes back, and what is refused."""

import asyncio
import errno
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from helpers.serving import call, serving, upload, wait_for
from helpers.tiny_cascade import save_tiny_cascade
from lightning_mav.data.export import save_video
from lightning_mav.serve.formats import FORMATS
from lightning_mav.serve.job import folder_bytes
from lightning_mav.serve.settings import SETTINGS as SERVE_SETTINGS
from lightning_mav.serve.uses import USES

httpx = pytest.importorskip("httpx", reason="gradio, which brings httpx, is not installed")
get_upload_folder = pytest.importorskip("gradio.utils").get_upload_folder
server = pytest.importorskip("lightning_mav.serve.server")
Handlers = pytest.importorskip("lightning_mav.serve.handlers").Handlers

SETTINGS = {
    "seed": 0,
    "seconds": 0.5,
    "before": False,
    "frames": 4,
    "frame_skip": 2,
    "steps": 1,
    "share": 0.3,
    "result_fps": 40,
}
BAD = {  # for each setting a value that is out of its range
    "seed": -1, "seconds": 1e9, "before": "x", "frames": 99, "frame_skip": 0, "fps": 1e9,
    "guidance_scale": -1, "steps": 10**6, "share": 1.5, "result_fps": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_tiny_cascade(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def served(weights, tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(weights, tmp_path_factory.mktemp("out"), patch) as served,
    ):
        yield served


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served[0], timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    save_video(folder / "a.mp4", torch.rand(3, 6, 18, 32) * 2 - 1, 10.0)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    return {"video": folder / "a.mp4", "image": folder / "a.png"}


def fields(client, name, files, prompt="a red ball", **settings):
    use = USES[name]
    given = [upload(client, files[kind]) for kind in use.files] or [prompt] * use.num_inputs
    return [*given, *({**SETTINGS, **settings}.get(each) for each in use.all_settings)]


@pytest.mark.parametrize("name", USES)
def test_each_tab_makes_a_video(served, client, files, name):
    status, (job_id,) = call(client, name, fields(client, name, files))
    assert status == 200
    status, shown = call(client, "watch", [job_id, []])
    job = served[1].jobs.get(job_id)
    assert (status, job.state, job.message) == (200, "done", "")
    text = str(shown)
    for stage in job.stages:
        video = client.get(f"/jobs/{job_id}/{stage['name']}.mp4")
        assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert f"jobs/{job_id}/{job.stages[-1]['name']}.mp4" in text
    for kind in FORMATS:
        assert f"jobs/{job_id}/download/{kind}" in text
        file = client.get(f"/jobs/{job_id}/download/{kind}")
        assert file.status_code == 200
        assert "attachment" in file.headers["content-disposition"]


def test_the_end_of_a_job_is_shown_even_if_its_version_stays(served, client, files):
    _, (job_id,) = call(client, "generate", fields(client, "generate", files))
    job = served[1].jobs.get(job_id)
    wait_for(lambda: job.state == "done")
    job.state = "running"

    async def look():
        watch = Handlers(served[1]).watch(job_id, [], SimpleNamespace(session_hash="x"))
        before = await anext(watch)
        job.state = "done"
        return before, await anext(watch)

    before, after = asyncio.run(look())
    assert "Done in" not in str(before)
    assert "Done in" in str(after)


def test_videos_can_be_wound(served, client, files):
    _, (job_id,) = call(client, "generate", fields(client, "generate", files))
    wait_for(lambda: served[1].jobs.get(job_id).state == "done")
    part = client.get(f"/jobs/{job_id}/sr_h.mp4", headers={"range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)


@pytest.mark.parametrize("name", USES)
def test_values_out_of_range_are_refused_with_a_message(served, client, files, name):
    before = len(served[1].jobs.jobs)
    for setting in USES[name].all_settings:
        status, message = call(client, name, fields(client, name, files, **{setting: BAD[setting]}))
        assert status < 500
        assert SERVE_SETTINGS[setting].label in message
    assert len(served[1].jobs.jobs) == before


@pytest.mark.parametrize("value", [1.6, True, "1", [1], {"a": 1}, "1e400"])
@pytest.mark.parametrize("setting", ["seed", "steps", "frame_skip"])
def test_numbers_are_not_rounded_but_refused(served, client, files, setting, value):
    before = len(served[1].jobs.jobs)
    status, message = call(client, "generate", fields(client, "generate", files, **{setting: value}))
    assert status < 500
    assert "must be a whole number from" in message
    assert len(served[1].jobs.jobs) == before


HOSTILE_FILES = [
    "/etc/passwd",
    "http://127.0.0.1:1/secret.png",
    "https://example.org/a.png",
    "file:///etc/passwd",
    "../../../etc/passwd",
    "data:image/png;base64,AAAA",
    "",
]


@pytest.mark.parametrize("path", HOSTILE_FILES)
def test_neither_paths_nor_addresses_are_read(served, client, files, path):
    before = len(served[1].jobs.jobs)
    data = fields(client, "animate", files)
    data[0] = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    status, message = call(client, "animate", data)
    assert status < 500
    assert isinstance(message, str)
    assert "root:" not in message
    assert len(served[1].jobs.jobs) == before


@pytest.mark.parametrize("kind", ["picture", "picture of another", "folder", "pipe"])
@pytest.mark.parametrize("field", [0, 1], ids=["file", "seed"])
def test_no_file_of_the_server_is_read_whatever_it_is(served, client, files, tmp_path, kind, field):
    own = tmp_path / "own"
    if kind == "pipe":
        os.mkfifo(own)  # who opens it waits for ever
    elif kind == "folder":
        own.mkdir()
    else:
        Image.new("RGB", (8, 8), "red").save(own, "PNG")
    given = own
    if kind == "picture of another":  # by a way that begins in the folder of uploads
        given = f"{get_upload_folder()}/../{os.path.relpath(own, Path(get_upload_folder()).resolve().parent)}"
    before, cached = len(served[1].jobs.jobs), sum(1 for _ in Path(get_upload_folder()).rglob("*"))
    data = fields(client, "animate", files)
    data[field] = {"path": str(given), "meta": {"_type": "gradio.FileData"}}
    status, _ = call(client, "animate", data)
    assert status < 500
    assert len(served[1].jobs.jobs) == before
    assert sum(1 for _ in Path(get_upload_folder()).rglob("*")) <= cached + 2  # the true upload alone


@pytest.mark.parametrize(
    "address",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/file=/etc/passwd",
        "/jobs/../../etc/passwd",
        "/jobs/%2e%2e/job.json",
        "/jobs/{job}/job.json",
        "/jobs/{job}/pixels.npy",
        "/jobs/{job}/input-0",
        "/jobs/{job}/clip.mp4",
        "/jobs/{job}/download/exe",
        "/jobs/{job}/download/mp4-clear",
        "/jobs/{job}/download/%2e%2e",
        "/jobs/0000000000000000/sr_h.mp4",
    ],
)
def test_nothing_but_videos_is_handed_out(served, client, files, address):
    _, (job_id,) = call(client, "generate", fields(client, "generate", files))
    wait_for(lambda: served[1].jobs.get(job_id).state == "done")
    answer = client.get(address.format(job=job_id))
    assert 400 <= answer.status_code < 500


def test_a_video_that_was_removed_is_not_found(served, client, files):
    _, (job_id,) = call(client, "generate", fields(client, "generate", files))
    wait_for(lambda: served[1].jobs.get(job_id).state == "done")
    shutil.rmtree(served[1].jobs.path(served[1].jobs.get(job_id)))
    for address in ("sr_h.mp4", *(f"download/{kind}" for kind in FORMATS)):
        assert client.get(f"/jobs/{job_id}/{address}").status_code == 404


def test_a_file_for_which_there_is_no_room_is_no_error_of_the_server(served, client, files, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    _, (job_id,) = call(client, "generate", fields(client, "generate", files))
    wait_for(lambda: served[1].jobs.get(job_id).state == "done")
    monkeypatch.setattr(server, "made_format", fails)
    answer = client.get(f"/jobs/{job_id}/download/gif")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the server has no room for this file")


def test_all_uploads_together_are_limited(served, client, files, monkeypatch):
    assert upload(client, files["image"])["path"]
    limits = replace(served[1].limits, kept_bytes=folder_bytes(Path(get_upload_folder())))
    monkeypatch.setattr(served[2], "limits", limits)
    answer = upload(client, files["image"])
    assert (answer.status_code, answer.text) == (503, "too many files were sent: try again in an hour")


def test_what_was_left_of_aborted_uploads_does_not_count_for_ever(served, client, files, monkeypatch):
    left = Path(get_upload_folder()) / "tmpabc"
    left.write_bytes(bytes(30 * 2**20))
    room = served[1].limits.upload_bytes + server.SLACK + 2**20
    monkeypatch.setattr(served[2], "limits", replace(served[1].limits, kept_bytes=room))
    assert upload(client, files["image"]).status_code == 503
    os.utime(left, (0, 0))  # old
    assert upload(client, files["image"])["path"]
    assert not left.exists()


def test_uploads_at_once_count_before_they_are_there(served, client, files, monkeypatch):
    wait_for(lambda: served[2].coming == 0)  # those of other tests are over
    monkeypatch.setattr(served[2], "coming", served[1].limits.kept_bytes)
    assert upload(client, files["image"]).status_code == 503
    monkeypatch.setattr(served[2], "coming", 0)
    assert upload(client, files["image"])["path"]
    wait_for(lambda: served[2].coming == 0)  # the answer comes first


@pytest.mark.parametrize(
    ("address", "size", "code"),
    [("/gradio_api/upload", 30 * 2**20, 413), ("/gradio_api/call/generate", 2**20, 413)],
)
def test_requests_that_are_too_large_are_refused(client, address, size, code):
    def parts():
        for _ in range(size // 2**16):
            yield bytes(2**16)

    for content in (bytes(size), parts()):  # the latter does not say how long it is
        headers = {"content-type": "multipart/form-data; boundary=x"} if "upload" in address else {}
        with suppress(httpx.TransportError):  # it may be cut off while it sends
            assert client.post(address, content=content, headers=headers).status_code in (code, 400)
    assert client.get("/").status_code == 200


def test_an_upload_that_is_too_large_says_so(client, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(21 * 2**20))
    assert upload(client, tmp_path / "large.png").status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data": 3}', b'{"data": []}', b'{"data": [1,2,3,4,5,6,7,8,9]}', b"\xff"]
)
def test_broken_requests_are_the_clients_fault(client, body):
    answer = client.post(
        "/gradio_api/call/generate", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code < 500


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("call/nope", {"data": []}),
        ("queue/join", {"fn_index": 9999, "data": [], "session_hash": "x"}),
        ("queue/join", {"fn_index": "x", "data": 3}),
        ("run/generate", {"data": ["a", 0, 1, 6, 2, "z"]}),
        ("run/watch", {"data": [5]}),
        ("run/nope", {"data": []}),
        ("call/generate", {"data": ["a"]}),
    ],
)
def test_wrong_calls_are_the_clients_fault(client, address, body, capfd):
    assert client.post(f"/gradio_api/{address}", json=body).status_code < 500
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("prompt", [5, ["a"], {"a": 1}, True])
def test_a_prompt_is_a_text(served, client, files, prompt):
    before = len(served[1].jobs.jobs)
    status, message = call(client, "generate", fields(client, "generate", files, prompt))
    assert (status, message) == (200, 'Say what to show, such as "a red car".')
    assert len(served[1].jobs.jobs) == before


def test_a_page_asks_nobody_else_for_anything(client):
    answer = client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"'](https?:[^\"']+)", answer.text)
    assert loaded == []


def test_prompts_cannot_bring_markup_into_the_page(client, files):
    prompt = "<img src=x onerror=alert(1)> ' onmouseover='alert(2)"
    _, (job_id,) = call(client, "generate", fields(client, "generate", files, prompt=prompt))
    _, shown = call(client, "watch", [job_id, []])
    assert "<img" not in str(shown)
    assert not re.search(
        r"(?<!=&#x27;)' onmouseover", "".join(each for each in shown if isinstance(each, str))
    )


def test_a_job_can_be_cancelled_and_found_again(served, client, files):
    _, (job_id,) = call(client, "generate", fields(client, "generate", files, steps=100))
    call(client, "cancel", [job_id])
    wait_for(lambda: served[1].jobs.get(job_id).state == "cancelled")
    _, shown = call(client, "watch", [job_id, [job_id, "no such", 3, None]])
    assert "Cancelled" in shown[0]


@pytest.mark.slow
def test_fifty_clients_at_once_are_answered_or_told_that_it_is_busy(weights, files, tmp_path, monkeypatch):
    with serving(weights, tmp_path, monkeypatch, max_waiting=4) as (address, service, _):
        begin, codes = threading.Barrier(50), []

        def one(_):
            with httpx.Client(base_url=address, timeout=120) as client:
                client.event_hooks["response"] = [lambda response: codes.append(response.status_code)]
                begin.wait()
                client.get("/")
                status, answer = call(client, "generate", fields(client, "generate", files))
                if isinstance(answer, list):
                    call(client, "watch", [answer[0], []])
                return status, answer

        with ThreadPoolExecutor(50) as pool:
            results = list(pool.map(one, range(50)))
        assert {code for code in codes if code >= 500} <= {503}
        accepted = [answer[0] for _, answer in results if isinstance(answer, list)]
        refused = [answer for _, answer in results if isinstance(answer, str)]
        assert len(accepted) + len(refused) == 50
        assert len(accepted) >= 4
        assert all("Busy" in message for message in refused)
        assert {service.jobs.get(job_id).state for job_id in accepted} == {"done"}
