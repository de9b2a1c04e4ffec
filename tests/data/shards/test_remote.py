"""Shards on a server are those on the disk, bit for bit, fetched once; whatever the network does is told."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import fsspec
import pytest

from helpers.shards import assert_same, png, take, write_shard
from lightning_mav.cli import main
from lightning_mav.data.shards import cache, fetched, remote
from lightning_mav.data.shards.cache import ShardCache, fetching, reading
from lightning_mav.data.shards.check import write_missing_index
from lightning_mav.data.shards.fetched import locate
from lightning_mav.data.shards.index import ShardError, index_path, load_index
from lightning_mav.data.shards.urls import expand_shards
from lightning_mav.datamodules import ImageTextShards
from lightning_mav.utils.errors import UsageError

pytestmark = pytest.mark.timeout(30)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, keeps a record of what is asked for, and misbehaves when told to."""

    def log_message(self, *args):
        pass

    def send_head(self):
        self.server.requests.append((self.command, self.path))
        misbehave = self.server.misbehave.get(self.command)
        if misbehave and ".tar" in self.path and self.server.faults:
            self.server.faults -= 1
            return misbehave(self)
        return super().send_head()

    def refuse(self, status):
        self.send_error(status)

    def hang_up(self):
        self.connection.close()

    def cut(self):
        """Promises all of a file and sends half of it."""
        data = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.connection.close()

    def send_half(self):
        """Sends half of a file as if it were all."""
        self.send_bytes(lambda data: data[: len(data) // 2])

    def flip_bit(self):
        self.send_bytes(lambda data: data[:540] + bytes([data[540] ^ 1]) + data[541:])

    def send_bytes(self, change):
        data = change(Path(self.translate_path(self.path)).read_bytes())
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stall(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.server.over.wait(20)


@contextmanager
def serving(folder):
    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *args: None
    server.requests, server.misbehave, server.faults, server.over = [], {}, 0, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Three shards of four images, with their indexes."""
    pytest.importorskip("aiohttp")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote, "BACKOFF", 0.05)
    folder = tmp_path / "shards"
    folder.mkdir()
    for n in range(3):
        write_shard(folder / f"{n}.tar", [{"png": png(20 * n + i), "txt": f"{n}-{i}"} for i in range(4)])
        write_missing_index(str(folder / f"{n}.tar"))
    return folder


@pytest.fixture
def server(shards):
    with serving(shards) as server:
        yield server


def reader(url, tmp_path, **settings):
    settings = {"image_size": 8, "batch_size": 4, "cache_dir": str(tmp_path / "cache"), **settings}
    return ImageTextShards(url, **settings)


def gets(server, suffix=".tar"):
    return [path for command, path in server.requests if command == "GET" and path.endswith(suffix)]


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "fetched").glob("*/*.tar"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_local_shards(server, shards, tmp_path, num_workers):
    local = take(reader(str(shards), tmp_path), 7)
    url = f"{server.url}/{{0..2}}.tar"
    assert_same(local, take(reader(url, tmp_path, num_workers=num_workers), 7))
    assert sorted(gets(server)) == ["/0.tar", "/1.tar", "/2.tar"]
    server.requests.clear()
    assert_same(local, take(reader(url, tmp_path, num_workers=num_workers), 7))
    assert {command for command, _ in server.requests} == {"HEAD"}  # which versions are there
    found = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("[0-9]*") if path.is_file()}
    assert found == {path.name: path.read_bytes() for path in shards.iterdir()}


def test_lengths_are_known_without_the_shards(server, tmp_path):
    datamodule = reader(f"{server.url}/{{0..2}}.tar", tmp_path)
    assert len(datamodule.train_dataloader().dataset.order) == 12
    assert gets(server) == []
    assert len(gets(server, ".index.json")) == 3


def test_shards_without_indexes_are_indexed_once(server, shards, tmp_path):
    expected = {n: load_index(shards / f"{n}.tar") for n in range(3)}
    for path in shards.glob("*.json"):
        path.unlink()
    url = f"{server.url}/{{0..2}}.tar"
    first = take(reader(url, tmp_path))
    assert len(gets(server)) == 3
    for path in (tmp_path / "cache").rglob("*.tar"):
        assert load_index(path) == expected[int(path.stem)]
        path.unlink()
    server.requests.clear()
    datamodule = reader(url, tmp_path)
    datamodule.train_dataloader()
    assert {command for command, _ in server.requests} == {"HEAD"}
    assert_same(first, take(datamodule))


def test_a_changed_shard_is_fetched_anew(server, shards, tmp_path):
    url = f"{server.url}/0.tar"
    assert sorted(take(reader(url, tmp_path), 1)[0]["text"]) == [f"0-{i}" for i in range(4)]
    shutil.copy(shards / "1.tar", shards / "0.tar")  # as large, and not older than a second
    shutil.copy(shards / "1.index.json", shards / "0.index.json")
    os.utime(shards / "0.tar", (1e9, 1e9))
    assert sorted(take(reader(url, tmp_path), 1)[0]["text"]) == [f"1-{i}" for i in range(4)]


FAULTS = {
    "cut": Handler.cut,
    "half": Handler.send_half,
    "flipped": Handler.flip_bit,
    "hung up": Handler.hang_up,
    "busy": lambda self: self.refuse(503),
}


@pytest.mark.parametrize(
    ("command", "fault"), [*(("GET", fault) for fault in FAULTS), ("HEAD", "hung up"), ("HEAD", "busy")]
)
def test_passing_faults_are_got_over(server, shards, tmp_path, command, fault):
    local = take(reader(str(shards), tmp_path), 3)
    server.misbehave, server.faults = {command: FAULTS[fault]}, 2
    assert_same(local, take(reader(f"{server.url}/{{0..2}}.tar", tmp_path), 3))
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("fault", FAULTS)
def test_lasting_faults_end_in_one_line(server, tmp_path, fault):
    server.misbehave, server.faults = {"GET": FAULTS[fault]}, 10**6
    start = time.monotonic()
    with pytest.raises(ShardError) as caught:
        take(reader(f"{server.url}/0.tar", tmp_path))
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert message.startswith(f"{server.url}/0.tar")
    assert "; " in message
    assert "\n" not in message
    expected = {
        "half": "bytes arrived of",
        "flipped": "byte 512: crc32 mismatch",
        "busy": "status 503",
    }
    assert expected.get(fault, "4 tries failed") in message
    assert cached(tmp_path) == []
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_killed_server_is_an_error_within_seconds(shards, tmp_path):
    with serving(shards) as server:
        batches = iter(reader(f"{server.url}/{{0..2}}.tar", tmp_path, batch_size=1).train_dataloader())
        next(batches)
    start = time.monotonic()
    with pytest.raises(ShardError, match=r"http://127.0.0.1:\d+/\d.tar: 4 tries failed, the last by Conn"):
        list(islice(batches, 12))
    with pytest.raises(ShardError, match=r"4 tries failed.*see whether the server is up"):
        take(reader(f"{server.url}/{{000..200}}.tar", tmp_path))
    assert time.monotonic() - start < 10


def test_a_server_that_says_nothing_is_an_error_within_seconds(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    server.misbehave, server.faults = {"GET": Handler.stall}, 10**6
    with pytest.raises(ShardError, match=r"4 tries failed, the last by .*Timeout"):
        take(reader(f"{server.url}/0.tar", tmp_path))


def test_missing_and_forbidden_shards_are_not_asked_for_again(server, tmp_path):
    for url, status in ((f"{server.url}/7.tar", 404), (f"{server.url}/0.tar?signature=secret", 403)):
        server.misbehave = dict.fromkeys(("GET", "HEAD"), lambda self: self.refuse(403))
        server.faults = 10**6 if status == 403 else 0
        server.requests.clear()
        with pytest.raises(ShardError, match=rf"/\d.tar: HTTP status {status}; correct the url") as caught:
            take(reader(url, tmp_path))
        assert "secret" not in str(caught.value)
        assert len(server.requests) <= 2


def test_a_damaged_shard_or_index_on_the_server_is_named(server, shards, tmp_path):
    (shards / "0.index.json").write_text("<html>not here</html>")
    with pytest.raises(ShardError, match=r"http:.*/0.index.json: it cannot be read .*; write it anew"):
        take(reader(f"{server.url}/0.tar", tmp_path))
    content = json.loads((shards / "1.index.json").read_text())
    content["crc32"][2] ^= 1
    (shards / "1.index.json").write_text(json.dumps(content))
    with pytest.raises(ShardError, match=r"http:.*/1.tar, byte \d+: crc32 mismatch with its index; upload"):
        take(reader(f"{server.url}/1.tar", tmp_path))
    (shards / "0.index.json").unlink()
    data = (shards / "0.tar").read_bytes()
    (shards / "0.tar").write_bytes(data[:515] + b"!" + data[516:1024] + b"!" + data[1025:])
    with pytest.raises(ShardError, match=r"http:.*/0.tar, byte 1024: bad header checksum; fetch it again"):
        take(reader(f"{server.url}/0.tar", tmp_path))


@pytest.mark.parametrize(
    "url", ["memory://bucket/set", "memory://bucket/set/*.tar", "memory://bucket/set/{0..2}.tar"]
)
def test_buckets_are_listed(shards, tmp_path, url):
    bucket = fsspec.filesystem("memory")
    for path in shards.iterdir():
        bucket.put_file(str(path), f"/bucket/set/{path.name}")
    try:
        assert len(expand_shards(url, "make some")) == 3
        assert_same(take(reader(str(shards), tmp_path)), take(reader(url, tmp_path)))
        first = take(reader(url, tmp_path, num_workers=2))
        bucket.rm("/bucket", recursive=True)
        with pytest.raises(UsageError, match=r"there are no shards|there is no such file"):
            take(reader(url, tmp_path))
        assert first[0]["text"]
    finally:
        bucket.store.clear()


def test_show_draws_shards_that_are_elsewhere(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    main(["data", "show", f"{server.url}/{{0..2}}.tar", "--out", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contact_sheet.png"]
    assert cached(tmp_path) == ["0.tar", "1.tar", "2.tar"]
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "out", "shards"}


def test_patterns_and_protocols_that_cannot_work_are_named(tmp_path, monkeypatch):
    for url in ("http://host/*.tar", "https://host/a.tar::http://host/*"):
        with pytest.raises(ValueError, match=r"does not list its files.*write braces"):
            reader(url, tmp_path)
    with pytest.raises(UsageError, match=r"nosuch://a/0.tar: .*; name a protocol that fsspec knows"):
        take(reader("nosuch://a/0.tar", tmp_path))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"s3://a/0.tar: .*; pip install 'lightning-mav\[remote\]'"):
        take(reader("s3://a/0.tar", tmp_path))


def test_decoded_pixels_are_kept_for_a_version(server, shards, tmp_path):
    settings = {"cache": True, "max_samples": 4}
    url = f"{server.url}/{{0..2}}.tar"
    first = take(reader(url, tmp_path, **settings))
    server.requests.clear()
    assert_same(first, take(reader(url, tmp_path, **settings)))
    assert {command for command, _ in server.requests} == {"HEAD"}
    os.utime(shards / "0.tar", (1e9, 1e9))
    take(reader(url, tmp_path, **settings))
    assert gets(server) == ["/0.tar"]


def test_what_was_not_used_for_longest_goes(server, tmp_path):
    size = 10240
    folder = ShardCache(tmp_path / "cache" / "fetched", 2 * size)
    found = [locate(f"{server.url}/{n}.tar", folder) for n in range(3)]
    (tmp_path / "cache" / "fetched" / "mine").mkdir(parents=True)
    (tmp_path / "cache" / "fetched" / "mine" / "9.tar").write_bytes(bytes(5 * size))
    for n in (0, 1, 0, 2):
        with found[n].opened():
            pass
    assert cached(tmp_path) == ["0.tar", "2.tar", "9.tar"]
    with found[0].opened(), found[2].opened(), found[1].opened() as path:  # too many, and all in use
        assert path.exists()
        assert cached(tmp_path) == ["0.tar", "1.tar", "2.tar", "9.tar"]
    for n in range(3):
        found[n].index()
    assert len(gets(server)) == 4


def test_too_small_a_cache_is_refused_beforehand(server, tmp_path):
    url, gib = f"{server.url}/{{0..2}}.tar", 2**30
    with pytest.raises(
        UsageError, match=r"cache_gib=1.91e-05 is too small: the shards read in turn have .*raise"
    ):
        reader(url, tmp_path, cache_gib=20480 / gib).train_dataloader()
    assert gets(server) == []
    take(reader(url, tmp_path, cache_gib=30720 / gib))
    with pytest.raises(ValueError, match="cache_gib is positive"):
        reader(url, tmp_path, cache_gib=0)


def test_a_full_disk_is_told_at_once(server, tmp_path, monkeypatch):
    calls = []

    def full(url, path):
        calls.append(url)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetched, "download", full)
    with pytest.raises(UsageError, match=r"cannot keep fetched shards in .*: No space left.*; make room"):
        take(reader(f"{server.url}/0.tar", tmp_path))
    assert len(calls) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot keep fetched shards in .*set cache_dir"):
        take(reader(f"{server.url}/0.tar", tmp_path, cache_dir=str(tmp_path / "file")))


FETCH = """
import sys, time
from pathlib import Path
from lightning_mav.data.shards import fetched
from lightning_mav.data.shards.cache import ShardCache
from lightning_mav.data.shards.fetched import locate

if sys.argv[3:]:  # be slow to write, and wait to be killed
    def half(url, part):
        part.write_bytes(b"half")
        print("half", flush=True)
        time.sleep(60)
    fetched.download = half
with locate(sys.argv[1], ShardCache(Path(sys.argv[2]))).opened() as path:
    print(len(path.read_bytes()), flush=True)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stdout=subprocess.PIPE, text=True)


def test_processes_share_and_a_kill_leaves_no_half_shard(server, tmp_path):
    url, folder = f"{server.url}/0.tar", str(tmp_path / "cache" / "fetched")
    killed = start(url, folder, "slowly")
    assert killed.stdout.readline() == "half\n"
    others = [start(url, folder) for _ in range(2)]
    time.sleep(1)
    assert all(other.poll() is None for other in others)  # they wait for the first
    killed.kill()
    killed.communicate()
    assert [other.communicate(timeout=20)[0] for other in others] == ["10240\n"] * 2
    assert gets(server) == ["/0.tar"]
    assert not list(Path(folder).rglob("*.part"))


@pytest.mark.parametrize("left", [b"", bytes(300), None], ids=["nothing", "zeros", "half"])
@pytest.mark.parametrize("with_index", [True, False])
def test_half_a_file_in_the_cache_is_fetched_anew(server, shards, tmp_path, left, with_index):
    if not with_index:
        for path in shards.glob("*.index.json"):
            path.unlink()
    url = f"{server.url}/{{0..2}}.tar"
    (first,) = take(reader(url, tmp_path), 1)
    for pattern in ("*.index.json", "*.tar"):
        for path in (tmp_path / "cache").rglob(pattern):
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2] if left is None else left)
        fetched._fetched_index.cache_clear()
        (again,) = take(reader(url, tmp_path), 1)
        assert_same([first], [again])
        assert all(fetched.read_index(index_path(path), path) for path in (tmp_path / "cache").rglob("*.tar"))


def test_nothing_in_use_is_removed(tmp_path):
    path = tmp_path / "0" / "0.tar"
    with fetching(path) as part:
        part.write_bytes(b"x")
        os.replace(part, path)
    with reading(path):
        assert not cache._remove_unused(path)
    assert cache._remove_unused(path)
    assert cache._remove_unused(path)
    with pytest.raises(FileNotFoundError), reading(path):
        pass
    assert not index_path(path).exists()
