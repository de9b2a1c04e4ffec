"""``mav serve``: a web page to make videos in a browser."""

import argparse
import importlib.util
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from ..utils.console import plain_warnings
from ..utils.errors import UsageError, writing
from ..utils.paths import claim
from .arguments import CommandParser, add_import, number_in
from .options import add_options

EXAMPLE = """examples:
  mav serve
  mav serve --weights micro --port 8000
  mav serve --host 0.0.0.0     others in your network can reach it, too

Videos are made one after the other and kept in --out. If a page is closed, it finds its video when it is
opened again. Ctrl-C stops the server. Videos that are not finished then are made when it starts again."""


def main(argv: list[str]) -> None:
    """Serves the page until it is stopped."""
    args = _parser().parse_args(argv)
    if importlib.util.find_spec("gradio") is None:
        raise UsageError(
            "mav serve needs gradio, which is not installed: run `make app`, or "
            "`pip install 'lightning-mav[app]'`"
        )
    _check_port(args.host, args.port)
    jobs = args.out / "jobs"
    with writing(args.out, "choose another folder with --out"):
        jobs.mkdir(parents=True, exist_ok=True)
    with (
        plain_warnings(),
        claim(args.out / "server.pid", "stop that server, or choose another folder with --out"),
        tempfile.TemporaryDirectory(dir=args.out) as uploads,
    ):
        os.environ["GRADIO_TEMP_DIR"] = uploads  # before gradio is imported, which reads it
        _serve(args, jobs, Path(uploads))


def _serve(args: argparse.Namespace, folder: Path, scratch: Path) -> None:
    import uvicorn

    from ..cascade import Cascade
    from ..serve.server import build_app
    from ..serve.service import Service
    from ..utils.precision import usable_device

    device = None if args.device is None else usable_device("--device", args.device)
    print(f"loading the weights {args.weights} ...", flush=True)
    cascade = Cascade.from_pretrained(args.weights, device)
    service = Service(
        cascade,
        folder,
        weights=args.weights if Path(args.weights).name == args.weights else "",  # no path of this machine
        max_waiting=args.max_waiting,
        keep_bytes=args.keep * 2**20,
        max_seconds=args.max_seconds,
    )
    service.maker.warm_up(scratch)
    service.jobs.start()
    options: Any = {"log_level": "warning", "timeout_graceful_shutdown": 3}
    server = uvicorn.Server(uvicorn.Config(build_app(service), host=args.host, port=args.port, **options))
    shown = "localhost" if args.host in ("127.0.0.1", "0.0.0.0", "::") else args.host
    print(f"open http://{shown}:{args.port} in a browser; Ctrl-C stops the server", flush=True)
    try:
        server.run()
    finally:
        service.jobs.close()


def _parser() -> CommandParser:
    parser = CommandParser(prog="mav serve", description="Serve a web page to make videos.", epilog=EXAMPLE)
    add = parser.add_argument
    add_options(parser, "weights", "device")
    add_import(parser)
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen at (default: %(default)s, for this machine only)",
    )
    add(
        "--port", type=number_in(int, 1, 65535), default=7860, metavar="N", help="port (default: %(default)s)"
    )
    add(
        "--out",
        type=Path,
        default=Path("outputs/serve"),
        metavar="DIR",
        help="folder of videos (default: %(default)s)",
    )
    waiting = "videos that may wait (default: %(default)s)"
    add("--max-waiting", type=number_in(int, 0, 1000), default=16, metavar="N", help=waiting)
    seconds = "longest time for one video, in seconds (default: %(default)s)"
    add("--max-seconds", type=number_in(float, 1, 86400), default=600.0, metavar="S", help=seconds)
    keep = "space for videos in MB; beyond it, the oldest finished ones are removed (default: %(default)s)"
    add("--keep", type=number_in(int, 1, 10**7), default=2048, metavar="MB", help=keep)
    return parser


def _check_port(host: str, port: int) -> None:
    """Checks that the server can listen there, before weights are loaded.

    Raises:
        UsageError: If it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host} port {port} ({error.strerror or error}); choose others with --host "
            "and --port"
        ) from None
