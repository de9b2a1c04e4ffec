"""Lists the shards that a folder, a pattern or brace notation stands for, on this machine or elsewhere.

A path that exists is taken literally, even if it could be read as a pattern.
"""

import os
from glob import glob, has_magic
from pathlib import Path

from webdataset.shardlists import expand_urls

from ...utils.errors import UsageError
from ...utils.paths import expanded, is_hidden, visible
from .remote import is_http, is_remote, list_urls


def check_urls(urls: str) -> str:
    """Raises ``ValueError`` if ``urls`` cannot name shards, without opening anything; returns ``urls``."""
    if not urls:
        raise ValueError("urls is empty: name a folder of shards, a pattern or a brace expression")
    for url in _parts(urls):
        if os.path.lexists(url.partition("/")[0]):
            continue  # on this machine
        if url.startswith("pipe:"):
            raise ValueError(f"no command is run to get shards, got {url!r}; name files, or a server's urls")
        if is_http(url) and "*" in url:
            problem = f"a server does not list its files, got {url!r}"
            raise ValueError(f"{problem}; write braces, such as {{00000..00099}}.tar")
    return urls


def expand_shards(urls: str, remedy: str) -> list[str]:
    """Lists the shards that a folder, a glob pattern or a brace expression stands for.

    Hidden files in a folder, or that match a pattern, are left out.

    Args:
        urls: Folder, pattern or brace expression; several are joined by ``::``. With a protocol such as
            ``s3://`` they are elsewhere; with ``https://`` only files can be named.
        remedy: What to do if there are none; the end of the error message.

    Raises:
        UsageError: If there are none, or one of them is not a file.
    """
    shards: list[str] = []
    for url in _parts(check_urls(urls)):
        local = os.path.lexists(expanded(url)) or not is_remote(url)
        try:
            found = _local(Path(expanded(url))) if local else _remote(url)
        except ValueError as error:  # from expanding braces
            raise UsageError(f"{url}: {error}; correct the brace notation") from None
        if not found:
            raise UsageError(f"there are no shards (*.tar) in {url}: {remedy}")
        for shard in found:
            if not is_remote(shard):
                _check_file(shard, remedy)
        shards += found
    return shards


def _parts(urls: str) -> list[str]:
    """Splits urls at ``::``, but not within the name of a file or folder that exists."""
    parts, found = urls.split("::"), list[str]()
    while parts:
        end = len(parts)
        while end > 1:
            # What follows ``::``, up to a slash, may belong to the same name.
            name = "::".join([*parts[: end - 1], parts[end - 1].partition("/")[0]])
            if os.path.lexists(expanded(name)):
                break
            end -= 1
        found.append("::".join(parts[:end]))
        parts = parts[end:]
    return found


def _local(path: Path) -> list[str]:
    if os.path.isdir(path):
        return [*map(str, visible(path, "*.tar"))]
    if os.path.lexists(path):
        return [str(path)]
    root = next(parent for parent in path.parents if os.path.exists(parent))  # what follows is notation
    found = list[str]()
    for name in expand_urls(str(path.relative_to(root))):
        is_pattern = has_magic(name) and not os.path.lexists(root / name)
        matches = sorted(glob(name, root_dir=root)) if is_pattern else [name]
        found += [match for match in matches if not (is_pattern and is_hidden(match))]
    return [str(root / name) for name in found]


def _remote(url: str) -> list[str]:
    found: list[str] = []
    for one in expand_urls(url):
        if is_http(one):
            found.append(one)
        elif any(letter in one for letter in "*?["):
            found += _listed(one)
        else:
            found += [one] if one.endswith(".tar") else _listed(f"{one.rstrip('/')}/*.tar")
    return found


def _listed(pattern: str) -> list[str]:
    return [url for url in list_urls(pattern) if not is_hidden(url.rpartition("/")[2])]


def _check_file(shard: str, remedy: str) -> None:
    if os.path.isfile(shard):
        return
    problem = f"there is no shard {shard}"
    if os.path.isdir(shard):
        problem = f"{shard} is a folder where a tar file is wanted"
    elif os.path.islink(shard):
        problem = f"{shard} is a link to {os.readlink(shard)}, which is not there"
    elif os.path.exists(shard):
        problem = f"{shard} is no file"
    raise UsageError(f"{problem}: {remedy}")
