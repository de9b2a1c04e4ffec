"""The web server: the page, the files of finished videos, and protection against bad requests."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from gradio.utils import get_upload_folder

from ..utils.paths import remove_stale
from ..utils.textfile import decode_text, slug
from .formats import FORMATS, OPAQUE, made_format
from .job import DONE, Job, folder_bytes
from .limits import Limits
from .page import FOLDER, THEME, build_page
from .service import Service

MAX_BODY = 64 * 2**10  # bytes of a request that is not an upload
SLACK = 2**20  # bytes that an upload's form may have besides the file
GONE = "no such video, or it was removed"
NAME = re.compile(r"[a-z_]{1,40}\.mp4")
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
HEADERS = {
    # The browser itself keeps the page from fetching anything from elsewhere.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # addresses hold the ids of jobs
}


class BodyTooLargeError(Exception):
    """A request has more bytes than are allowed."""


class Guard:
    """Refuses requests that are too large, before they fill memory or disk, and sets headers.

    Args:
        app: The ASGI application that it guards.
        limits: What clients may send.
        uploads: Folder of the files that they have sent.
    """

    def __init__(self, app: Any, limits: Limits, uploads: Path) -> None:
        self.app, self.limits, self.uploads = app, limits, uploads
        self.coming = 0  # bytes that the uploads under way may still write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to the application, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not scope["path"].endswith("/upload"):
            await self._limited(scope, receive, send, MAX_BODY)
            return
        most = self.limits.upload_bytes + SLACK
        self.coming += most
        try:
            if await asyncio.to_thread(self._kept) + self.coming > self.limits.kept_bytes:
                await _refuse(send, 503, "too many files were sent: try again in an hour")
            else:
                await self._limited(scope, receive, send, most)
        finally:
            self.coming -= most

    def _kept(self) -> int:
        """Removes old uploads, of which Gradio forgets some, and returns the bytes of the others."""
        remove_stale(self.uploads, "*")
        return folder_bytes(self.uploads)

    async def _limited(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        """Passes a request on, or refuses it if its body has more than ``most`` bytes."""
        got, begun, failed = 0, False, False
        is_gradio = scope["path"].startswith("/gradio_api/")  # which uses fields of a request unchecked

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise BodyTooLargeError
            return message

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal begun, failed
            if got > most or failed:
                return  # what the application makes of a body that is too large, or wrong
            if is_gradio and message["type"] == "http.response.start" and message["status"] == 500:
                failed = True
                return
            if message["type"] == "http.response.start":
                begun = True
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if int(length) > most:
                raise BodyTooLargeError
            await self.app(scope, counted, answer)
        except BodyTooLargeError:
            got = most + 1
        except Exception as error:
            if begun or not is_gradio:
                raise
            print(f"mav: warning: {scope['path']}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
        if begun:
            return
        if got > most:
            await _refuse(send, 413, f"at most {most} bytes are allowed")
        elif failed:
            await _refuse(send, 400, "bad request")


async def _refuse(send: Send, code: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def build_app(service: Service) -> Any:
    """Builds the web application (ASGI); the caller starts and ends the service's worker."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/jobs/{job_id}/{name}")
    def stage_video(job_id: str, name: str) -> FileResponse:
        """The video of one stage."""
        job = _job(service, job_id)
        if not NAME.fullmatch(name) or name[:-4] not in [stage["name"] for stage in job.stages]:
            raise HTTPException(404, "no such video")
        path = service.jobs.path(job) / name
        if not path.is_file():  # removed a moment ago
            raise HTTPException(404, GONE)
        return FileResponse(path, media_type="video/mp4")

    @app.get("/jobs/{job_id}/download/{kind}")
    def download(job_id: str, kind: str) -> FileResponse:
        """The finished video in a format; ``KIND-clear`` has a transparent background."""
        job, name = _job(service, job_id), kind.removesuffix("-clear")
        ground = job.ground if kind.endswith("-clear") else None
        if (
            name not in FORMATS
            or job.state != DONE
            or (ground is None) != (name == kind)
            or (ground is not None and (name in OPAQUE or not ground))
        ):
            raise HTTPException(404, "no such file")
        try:
            path = made_format(service.jobs.path(job), job.stages[-1]["fps"], name, ground=ground)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        except FileNotFoundError:
            raise HTTPException(404, GONE) from None
        except OSError as error:
            print(f"mav: warning: {error}", file=sys.stderr)
            raise HTTPException(503, "the server has no room for this file") from None
        return FileResponse(path, filename=_file_name(job, FORMATS[name][1]))

    app = gr.mount_gradio_app(
        app,
        build_page(service),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=service.limits.upload_bytes,
        ssr_mode=False,
        theme=THEME,
        css_paths=FOLDER / "page.css",
        head=f"<script>{decode_text((FOLDER / 'page.js').read_bytes())}</script>",
        allowed_paths=[],
        enable_monitoring=False,
        mcp_server=False,
    )
    return Guard(app, service.limits, Path(get_upload_folder()))


def _job(service: Service, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, GONE)
    return job


def _file_name(job: Job, ending: str) -> str:
    return f"{slug(job.prompt) or job.use}-{job.settings['seed']}{ending}"
