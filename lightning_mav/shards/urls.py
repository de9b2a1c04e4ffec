"""Which shards a folder, a pattern or brace notation stands for, on this machine or elsewhere."""

from glob import glob
from pathlib import Path

from webdataset.shardlists import expand_urls

from ..errors import UsageError
from .remote import is_http, is_remote, list_urls


def check_urls(urls: str) -> str:
    """Refuses what names no shards; nothing is opened yet."""
    if not urls:
        raise ValueError("urls is empty: name a folder of shards, a pattern or a brace expression")
    for url in urls.split("::"):
        if url.startswith("pipe:"):
            raise ValueError(f"no command is run to get shards, got {url!r}; name files, or a server's urls")
        if is_http(url) and "*" in url:
            problem = f"a server does not list its files, got {url!r}"
            raise ValueError(f"{problem}; write braces, such as {{00000..00099}}.tar")
    return urls


def expand_shards(urls: str, remedy: str) -> list[str]:
    """Lists the shards that a folder, a glob pattern or a brace expression stands for.

    Args:
        urls: Folder, pattern or brace expression; several are joined by ``::``. With a protocol
            (``https://``, ``s3://``) they lie elsewhere; by HTTP, only files can be named.
        remedy: What to do if there are none, for the error.
    """
    shards: list[str] = []
    for url in check_urls(urls).split("::"):
        found = _remote(url) if is_remote(url) else _local(url)
        if not found:
            raise UsageError(f"there are no shards (*.tar) in {url}: {remedy}")
        for shard in found:
            if not (is_remote(shard) or Path(shard).is_file()):
                raise UsageError(f"there is no shard {shard}: {remedy}")
        shards += found
    return shards


def _local(url: str) -> list[str]:
    if Path(url).is_dir():
        return sorted(map(str, Path(url).glob("*.tar")))
    if any(letter in url for letter in "*?["):
        return sorted(glob(url))
    return expand_urls(url)


def _remote(url: str) -> list[str]:
    found: list[str] = []
    for one in expand_urls(url):
        if is_http(one):
            found.append(one)
        elif any(letter in one for letter in "*?["):
            found += list_urls(one)
        else:
            found += [one] if one.endswith(".tar") else list_urls(f"{one.rstrip('/')}/*.tar")
    return found
