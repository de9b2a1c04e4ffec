"""Runs the page of ``mav serve`` in this process, and calls it as a browser does."""

import json
import threading
import time
from contextlib import contextmanager


@contextmanager
def serving(weights, folder, monkeypatch, **options):
    """Yields the address of a running server, its service and its app; skips the test without gradio."""
    import pytest

    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'lightning-mav[app]'")
    import uvicorn

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
    from lightning_mav.cascade import Cascade
    from lightning_mav.serve.server import build_app
    from lightning_mav.serve.service import Service

    cascade = Cascade.from_pretrained(weights, "cpu")
    service = Service(cascade, folder / "jobs", **options)
    app = build_app(service)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    service.jobs.start()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", service, app
    finally:
        server.should_exit = True
        service.jobs.close()
        thread.join(timeout=10)


def call(client, name, data):
    """Calls a button of the page: returns the status, and what came back or the message of an error."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if asked.status_code != 200:
        return asked.status_code, asked.text
    got = client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}")
    event, _, content = got.text.strip().split("\n\n")[-1].partition("\n")
    value = json.loads(content.removeprefix("data: "))
    if event == "event: error":
        return got.status_code, (value or {}).get("error", "no message")
    return got.status_code, value


def upload(client, path, name=None):
    """Sends a file, and returns what stands for it in a call."""
    files = {"files": (name or path.name, path.read_bytes())}
    sent = client.post("/gradio_api/upload", files=files)
    return sent if sent.status_code != 200 else {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}


def wait_for(condition, seconds=60.0):
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
