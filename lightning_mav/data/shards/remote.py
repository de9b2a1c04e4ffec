"""Lists, looks up and downloads shards on a server or in a bucket, by any protocol of fsspec."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...utils.errors import UsageError, first_line
from .tar import ShardError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

TIMEOUT = 10.0  # seconds to connect, and to wait for data; HTTP only: other drivers have their own
TRIES = 4
BACKOFF = 0.5  # seconds before the second try, doubled before each further one
RETRYABLE = (408, 425, 429)  # HTTP states that are worth another try, as are all from 500 on
# Fields that may tell versions of a file apart, as HTTP and the drivers of buckets name them.
VERSIONS = (
    *("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "generation", "md5Hash"),
    *("updated", "mtime", "created"),
)


def is_remote(url: str) -> bool:
    """Tells whether the name of a shard contains a protocol."""
    return "://" in url


def is_http(url: str) -> bool:
    """Tells whether a shard is on a web server, whose files cannot be listed."""
    return url.startswith(("http://", "https://"))


def split_query(url: str) -> tuple[str, str]:
    """Splits a url into the name of the file and the query; urls of buckets have no query."""
    name, mark, query = url.partition("?") if is_http(url) else (url, "", "")
    return name, mark + query


def redact_url(url: str) -> str:
    """Returns a url for messages: without passwords and signatures."""
    return re.sub("://[^/]*@", "://", split_query(url)[0])


def index_url(url: str) -> str:
    """Names the index of a shard, see ``index_path``."""
    name, query = split_query(url)
    return name.removesuffix(".tar") + ".index.json" + query


def list_urls(pattern: str) -> list[str]:
    """Lists what is in a bucket.

    Raises:
        ShardError: If listing fails, see ``retry``.
    """
    driver = _driver(pattern)
    driver.invalidate_cache()  # forget earlier listings of this process
    return [str(driver.unstrip_protocol(name)) for name in sorted(retry(pattern, driver.glob, pattern))]


def look_up(url: str) -> tuple[int, str]:
    """Returns the size of a file and a string that identifies its version.

    Raises:
        ShardError: If the file is missing, or the server does not tell its size.
    """
    info: dict[str, Any] = retry(url, _driver(url).info, url)
    if not isinstance(info.get("size"), int):
        problem = "the server does not say how large it is, so that a part of it could pass as the whole"
        raise ShardError(f"{redact_url(url)}: {problem}; download it first")
    return info["size"], " ".join(str(info[name]) for name in VERSIONS if name in info)


def download(url: str, path: Path) -> None:
    """Downloads a file in one try and without checks; raises whatever the driver does."""
    _driver(url).get_file(url, str(path))


def retry(url: str, call: Callable[..., T], *args: Any) -> T:
    """Calls a function up to ``TRIES`` times, with growing pauses.

    Args:
        url: The url concerned, for the error message.
        call: The function.
        args: Its arguments.

    Raises:
        ShardError: If the file is not there, access is refused, or no try succeeds.
    """
    for number in range(TRIES):
        if number:
            time.sleep(BACKOFF * 2 ** (number - 1))
        try:
            return call(*args)
        except UsageError as error:
            if not isinstance(error, ShardError):
                raise
            last: Exception = error
        except Exception as error:  # each driver has its own types
            if is_final(url, error):
                problem, remedy = _reason(error), "correct the url, or get permission to read it"
                raise ShardError(f"{redact_url(url)}: {problem}; {remedy}") from None
            last = error
    if isinstance(last, ShardError):  # has a remedy
        raise last
    problem = f"{TRIES} tries failed, the last by {_reason(last)}"
    raise ShardError(f"{redact_url(url)}: {problem}; see whether the server is up, and start again") from None


def is_final(url: str, error: Exception) -> bool:
    """Tells whether another try is useless: the file is missing, or access is refused."""
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in RETRYABLE
    missing = isinstance(error, FileNotFoundError | PermissionError)
    # The driver of HTTP calls a file missing when it cannot reach the server.
    return missing and not (is_http(url) and error.__cause__)


def _driver(url: str) -> "AbstractFileSystem":
    """Returns the file system of a url; after a fork, each process gets its own."""
    import fsspec  # here, because it takes as long to load as everything else in this module

    protocol = url.partition("://")[0]
    try:
        return fsspec.filesystem(protocol, **(_http_options() if is_http(url) else {}))
    except ImportError as error:
        extra = protocol in ("http", "https", "s3", "s3a")
        name = "'lightning-mav[remote]'" if extra else "its driver"
        reason = first_line(error)
        raise UsageError(
            f"{redact_url(url)}: cannot read {protocol}:// ({reason}); pip install {name}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{redact_url(url)}: {error}; name a protocol that fsspec knows") from None


def _http_options() -> dict[str, Any]:
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}  # trust_env: proxy variables count


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: Exception) -> int | None:
    found = (getattr(cause, "status", None) for cause in _causes(error))
    return next((status for status in found if isinstance(status, int)), None)


def _reason(error: Exception) -> str:
    status, cause = _status(error), error.__cause__ or error
    if status is not None:
        return f"HTTP status {status}"
    if isinstance(cause, FileNotFoundError):
        return "there is no such file"
    return ": ".join(filter(None, [type(cause).__name__, str(cause).partition("\n")[0]]))
