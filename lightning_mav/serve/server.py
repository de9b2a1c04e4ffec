"""The web server: the page, the files of finished videos, and protection against bad requests."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

from ..utils.textfile import decode_text, slug
from .formats import FORMATS, OPAQUE, made_format
from .job import DONE, Job
from .page import FOLDER, THEME, build_page
from .service import Service

MAX_BODY = 64 * 2**10  # bytes of a request that is not an upload
SLACK = 2**20  # bytes that an upload's form may have besides the file
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
        max_upload: The most bytes that a file may have.
    """

    def __init__(self, app: Any, max_upload: int) -> None:
        self.app, self.max_upload = app, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to the application, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.max_upload + SLACK if scope["path"].endswith("/upload") else MAX_BODY
        got, begun = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                raise BodyTooLargeError
            return message

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
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
        except (BodyTooLargeError, ValueError) as error:
            if begun:
                raise
            code = 413 if isinstance(error, BodyTooLargeError) else 400
            await _refuse(send, code, f"at most {most} bytes are allowed" if code == 413 else "bad request")


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
        return FileResponse(service.jobs.path(job) / name, media_type="video/mp4")

    @app.get("/jobs/{job_id}/download/{kind}")
    def download(job_id: str, kind: str) -> FileResponse:
        """The finished video in a format; ``KIND-clear`` has a transparent background."""
        job, name = _job(service, job_id), kind.removesuffix("-clear")
        ground = service.ground if kind.endswith("-clear") else None
        if (
            name not in FORMATS
            or job.state != DONE
            or (ground is None) != (name == kind)
            or (ground is not None and name in OPAQUE)
        ):
            raise HTTPException(404, "no such file")
        try:
            path = made_format(service.jobs.path(job), job.stages[-1]["fps"], name, ground=ground)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
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
    return Guard(app, service.limits.upload_bytes)


def _job(service: Service, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "no such video, or it was removed")
    return job


def _file_name(job: Job, ending: str) -> str:
    return f"{slug(job.prompt) or job.use}-{job.settings['seed']}{ending}"
