"""Every damage of a shard is an error that names the byte; every whole shard is read as tarfile reads it."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import re
import tarfile
import time
from pathlib import Path

import pytest
import webdataset as wds

from helpers.tars import SAMPLES, resealed, write_tar
from lightning_mav.data.shards import index as shard_index
from lightning_mav.data.shards import local, reader
from lightning_mav.data.shards.cache import ShardCache
from lightning_mav.data.shards.index import (
    Member,
    ShardError,
    ShardIndex,
    count_samples,
    index_path,
    load_index,
    read_index,
    read_member,
    scan_shard,
    write_index,
)
from lightning_mav.data.shards.reader import Shards
from lightning_mav.utils.errors import UsageError

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture
def shard(tmp_path):
    return write_tar(tmp_path / "00000.tar", SAMPLES)


def refused(path, pattern, checksums=False):
    with pytest.raises(ShardError, match=pattern) as caught:
        scan_shard(path, checksums=checksums)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "; " in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("tar_format", FORMATS)
def test_finds_what_tarfile_finds(tmp_path, tar_format):
    names = ["a/b.c/key.tar.gz", "d" * 90 + "/" + "e" * 60 + ".MP4", "../../etc/passwd.txt", "./k.json"]
    if tar_format != tarfile.USTAR_FORMAT:
        names.append("\u00e9" * 150 + ".mp4")
    files = [(name, name.encode() * number) for number, name in enumerate(names)]
    path = write_tar(tmp_path / "0.tar", files, tar_format)
    index = scan_shard(path, checksums=True)
    assert (index.name, index.num_bytes, len(index)) == ("0.tar", path.stat().st_size, len(names))
    assert index.keys == [re.sub(r"\.[^/]*$", "", name) for name in names]
    with tarfile.open(path) as tar:
        for info, (_, data), members in zip(tar, files, index.members, strict=True):
            ((suffix, member),) = members.items()
            assert (member.offset, member.size) == (info.offset_data, info.size)
            assert info.name.lower().endswith(f".{suffix}")
            assert read_member(path, member) == data


def test_groups_samples_as_webdataset_does(tmp_path):
    files = [*SAMPLES, ("README", b"no suffix"), (".hidden.jpg", b"?"), ("z/002.seg.PNG", b"p")]
    path = write_tar(tmp_path / "0.tar", files)
    index = scan_shard(path, checksums=False)
    found = list(wds.WebDataset(str(path), shardshuffle=False))
    assert index.keys == [sample["__key__"] for sample in found]
    for sample, members in zip(found, index.members, strict=True):
        assert {suffix: read_member(path, member) for suffix, member in members.items()} == {
            suffix: data for suffix, data in sample.items() if not suffix.startswith("__")
        }


def test_folders_are_passed_over_and_links_refused(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        tar.addfile(tarfile.TarInfo("a/0.txt"))
    assert scan_shard(tmp_path / "0.tar", checksums=True).keys == ["a/0"]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        path = write_tar(tmp_path / "1.tar", [("0.jpg", b""), ("1.jpg", b"")], kind=kind)
        refused(path, "byte 0: a (link|member of kind) .*dereference")


def test_empty_tar_holds_no_samples(tmp_path):
    path = write_tar(tmp_path / "0.tar", [])
    assert len(scan_shard(path, checksums=True)) == 0
    index = scan_shard(path, checksums=False)
    write_index(index, index_path(path))
    assert load_index(path) == index


def test_what_is_no_shard_is_named(tmp_path, shard):
    whole = shard.read_bytes()
    contents = {
        "it is empty": b"",
        "web page": b"\n<!DOCTYPE html><html>404</html>",
        "gzip; decompress it": gzip.compress(whole),
        "bzip2; decompress it": bz2.compress(whole),
        "xz; decompress it": lzma.compress(whole),
        "zstd; decompress it": b"\x28\xb5\x2f\xfd" + whole,
        "bad header checksum": b"random" * 500,
        "a header is cut off": b"random",
    }
    for problem, content in contents.items():
        shard.write_bytes(content)
        assert ", byte 0: " in refused(shard, problem)
    refused(tmp_path / "gone.tar", "No such file")
    refused(tmp_path, "it is no file")


def flipped(path, offsets, bits):
    """Flips one bit after the other in a file, and mends it again."""
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at in offsets:
            for bit in bits:
                os.pwrite(file.fileno(), bytes([whole[at] ^ 1 << bit]), at)
                yield at, bit
            os.pwrite(file.fileno(), whole[at : at + 1], at)


def test_every_flipped_bit_of_a_header_is_noticed(shard):
    for at, bit in flipped(shard, range(2560, 3072), range(8)):
        try:
            scan_shard(shard, checksums=False)
        except ShardError as error:
            assert "byte 2560: bad header checksum" in str(error)  # noqa: PT017
        else:
            pytest.fail(f"bit {bit} of byte {at}")


@pytest.mark.parametrize("tar_format", FORMATS)
def test_every_truncation_is_noticed(tmp_path, tar_format):
    path = write_tar(
        tmp_path / "0.tar", [*SAMPLES, ("n" * 90 + "/" + "m" * 30 + ".txt", b"long")], tar_format
    )
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) + 511 & ~511
    for size in [*range(0, end + 1024, 256), end + 1023, *range(511, end, 512), *range(513, end, 512)]:
        path.write_bytes(whole[:size])
        refused(path, f"{path}, byte ")
    path.write_bytes(whole[: end + 1024])
    assert len(scan_shard(path, checksums=True)) == 3


def test_damage_is_named_with_its_byte(shard):
    whole = shard.read_bytes()
    end = 512 * 8  # four headers, and two blocks, one and one of data
    assert not any(whole[end:])
    faults = {
        "byte 4096: the file ends here, without an end marker": whole[:end],
        "byte 4096: the end marker is cut off": whole[: end + 512],
        "byte 4609: half an end marker": whole[: end + 513] + b"x" + whole[end + 514 :],
        "byte 5121: data after the end marker": whole[: end + 1025] + b"x" * 511,
        "byte 1536: bad header checksum": whole[:1540] + b"!" + whole[1541:],
        "byte 2048: half an end marker": whole[:1536] + bytes(512) + whole[2048:],
        "00000.tar, byte 1536: bad header": whole[:512] + whole[1024:],
    }
    for problem, content in faults.items():
        shard.write_bytes(content)
        refused(shard, problem)


def test_sizes_are_not_believed(shard, monkeypatch):
    whole = shard.read_bytes()
    for field in (b"77777777777\0", b"\x80" + b"\xff" * 11, b"%011o\0" % len(whole)):
        shard.write_bytes(resealed(whole[:124] + field + whole[136:512]) + whole[512:])
        refused(shard, "byte 0: a member claims [0-9]+ bytes, but 9728 are left")
    for field in (b"-0000000001\0", b"0x000000010\0", b"\xff" * 12, bytes(12)):
        shard.write_bytes(resealed(whole[:124] + field + whole[136:512]) + whole[512:])
        refused(shard, "byte 0: bad size")
    shard.write_bytes(whole)
    monkeypatch.setattr(shard_index, "MAX_MEMBER_BYTES", 600)
    refused(shard, "byte 0: '000.jpg' has 700 bytes, 600 are allowed")
    monkeypatch.setattr(shard_index, "MAX_MEMBER_BYTES", 700)
    monkeypatch.setattr(shard_index, "MAX_MEMBERS", 2)
    refused(shard, "byte 2560: more than 2 members")


def test_samples_are_whole(tmp_path):
    path = tmp_path / "0.tar"
    write_tar(path, [("0.jpg", b""), ("0.JPG", b"")])
    refused(path, "byte 512: a second '0.JPG'")
    write_tar(path, [("0.jpg", b""), ("1.jpg", b""), ("0.txt", b"")])
    refused(path, "byte 1024: members of '0' with members of others between them")


@pytest.mark.parametrize(
    "record",
    [
        b"5 a",
        b"99 path=x\n",
        b"x path=x\n",
        b"0 \n",
        b"12 size=-10\n",
        b"12 size=1e1\n",
        b"22 GNU.sparse.major=1\n",
    ],
)
def test_bad_pax_records_are_refused(tmp_path, record):
    path = write_tar(tmp_path / "0.tar", [("pax", record)], kind=tarfile.XHDTYPE)
    refused(path, r"byte [0-9]+: (bad|a sparse)")


def test_names_without_member_or_end_are_refused(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("x", b"12 path=a.b\n")], kind=tarfile.XHDTYPE)
    refused(path, "byte 1024: a name without a member")
    path = write_tar(tmp_path / "0.tar", [("x", b"n" * (2**20 + 1))], kind=tarfile.GNUTYPE_LONGNAME)
    refused(path, "byte 0: a name of 1048577 bytes")


def test_every_flipped_byte_of_data_is_noticed(shard):
    index = scan_shard(shard, checksums=True)
    for member in [member for sample in index.members for member in sample.values()]:
        for at, _ in flipped(shard, range(member.offset, member.offset + member.size), [0]):
            try:
                read_member(shard, member)
            except ValueError as error:
                assert str(error).startswith("crc32 mismatch: ")  # noqa: PT017
            else:
                pytest.fail(f"byte {at}")
        read_member(shard, member)


def test_members_are_read_exactly(shard):
    member = scan_shard(shard, checksums=False).members[0]["jpg"]
    assert member == Member(512, 700, None)
    assert read_member(shard, member, max_bytes=700) == b"x" * 700
    with pytest.raises(ValueError, match="too large: 700 bytes of at most 699"):
        read_member(shard, member, max_bytes=699)
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(ShardError, match=r"00000.tar, byte 1000: the file ends here, 212 bytes too early"):
        read_member(shard, member)
    shard.unlink()
    with pytest.raises(ShardError, match="No such file"):
        read_member(shard, member)


@pytest.mark.parametrize("checksums", [True, False])
def test_index_survives_its_file(shard, checksums):
    index = scan_shard(shard, checksums=checksums)
    write_index(index, index_path(shard))
    assert index_path(shard) == shard.parent / "00000.index.json"
    assert read_index(index_path(shard), shard) == index == load_index(shard)
    plain = ShardIndex(index.name, index.num_bytes, index.keys, list(index.members))
    write_index(plain, index_path(shard))
    assert load_index(shard) == index
    assert list(index.members[1]) == ["jpg", "txt"]
    assert index.members[-1] == index.members[1] == index.members[0:2][1]
    assert {path.name for path in shard.parent.iterdir()} == {"00000.tar", "00000.index.json"}


CHANGES = [
    {"version": 2},
    {"num_bytes": 1},
    {"keys": ["000"]},
    {"keys": ["000", "000"]},
    {"keys": [0, 1]},
    {"keys": "01"},
    {"num_members": [2, 3]},
    {"num_members": [0, 4]},
    {"num_members": [-1, 5]},
    {"suffixes": ["jpg"]},
    {"suffixes": "jt"},
    {"suffixes": [1, 2]},
    {"suffix": [0, 1, 0, 2]},
    {"suffix": [0, 1, 0, -1]},
    {"offset": [512, 2048, 3072, 10**9]},
    {"offset": [512, 2048, 3072, 10**30]},
    {"offset": [512, 600, 3072, 3584]},
    {"offset": [-1, 2048, 3072, 3584]},
    {"offset": [512.0, 2048, 3072, 3584]},
    {"size": [700, 5, 512, 10**6]},
    {"size": [700, 5, 512, -1]},
    {"size": [700, 5, 512]},
    {"size": None},
    {"crc32": [1, 2, 3, None]},
    {"crc32": [1, 2, 3, -1]},
    {"crc32": [1, 2, 3, 2**32]},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_wrong_index_is_refused(shard, change):
    path = index_path(shard)
    write_index(scan_shard(shard, checksums=True), path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(ShardError, match=r"00000.index.json: .*; write it anew with 'mav data index'"):
        load_index(shard)
    for name in change:
        path.write_text(json.dumps({key: value for key, value in content.items() if key != name}))
        with pytest.raises(ShardError, match="mav data index"):
            load_index(shard)


def test_index_that_is_none_is_refused(shard):
    write_index(scan_shard(shard, checksums=True), index_path(shard))
    whole = index_path(shard).read_bytes()
    for content in (b"", b"[]", b"[" * 100_000, whole[:-3], b"\xff" + whole):
        index_path(shard).write_bytes(content)
        with pytest.raises(ShardError, match="mav data index"):
            load_index(shard)


def test_index_of_another_shard_is_refused(shard):
    write_index(scan_shard(shard, checksums=True), index_path(shard))
    with shard.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(ShardError, match=r"for 10240 bytes of a shard, but 00000.tar has 10752"):
        load_index(shard)


def test_index_is_small_and_loads_fast(tmp_path):
    shard, members = tmp_path / "0.tar", []
    for number in range(10_000):
        at = 200_000 * number
        members.append(
            {s: Member(at + i * 60_000, 50_000, 2**32 - 1) for i, s in enumerate(("jpg", "json", "txt"))}
        )
    with shard.open("wb") as file:
        file.truncate(200_000 * 10_000)
    keys = [f"{number:09d}" for number in range(10_000)]
    write_index(ShardIndex("0.tar", shard.stat().st_size, keys, members), index_path(shard))
    assert index_path(shard).stat().st_size < 1_500_000
    seconds = []
    for _ in range(5):
        start = time.process_time()
        index = load_index(shard)
        seconds.append(time.process_time() - start)
    assert index.members[9_999] == members[9_999]
    assert min(seconds) < 0.2  # 0.03 where nothing else runs


def test_samples_are_counted_by_the_first_line(shard, monkeypatch):
    index = scan_shard(shard, checksums=False)
    path, num_bytes = index_path(shard), index.num_bytes
    assert count_samples(path, num_bytes) is None
    write_index(index, path)
    assert count_samples(path, num_bytes) == 2
    assert count_samples(path, num_bytes + 512) is None  # then all is read, which says what is wrong
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "shard": 'a "name"'}, separators=(",", ":")))
    assert count_samples(path, num_bytes) == 2
    path.write_text(json.dumps({**content, "num_samples": 3}, separators=(",", ":")))
    with pytest.raises(ShardError, match="keys are too few"):
        load_index(shard)
    del content["num_samples"]  # as indexes were written before
    path.write_text(json.dumps(content, separators=(",", ":")))
    assert count_samples(path, num_bytes) is None
    assert load_index(shard) == index
    monkeypatch.setattr(shard_index, "MAX_INDEX_BYTES", 10)
    with pytest.raises(ShardError, match="more than 10 bytes"):
        load_index(shard)


def test_lengths_are_read_without_the_indexes(tmp_path, monkeypatch):
    paths = [str(write_tar(tmp_path / f"{n:03d}.tar", SAMPLES)) for n in range(4)]
    for path in map(Path, paths):
        write_index(scan_shard(path, checksums=True), index_path(path))
    monkeypatch.setattr("lightning_mav.data.shards.local.load_index", None)
    assert Shards(paths, ["jpg"]).lengths == [2] * 4


def test_many_shards_without_indexes_are_gone_through_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MANY", 3)
    scans, scan = [], local.scan_shard
    monkeypatch.setattr(
        local, "scan_shard", lambda *args, **kwargs: scans.append(args) or scan(*args, **kwargs)
    )
    cache = ShardCache.of(str(tmp_path / "cache"))
    paths = [str(write_tar(tmp_path / f"{n}.tar", SAMPLES)) for n in range(3)]

    def read(number_of_scans):
        local._local_index.cache_clear()  # as in another process
        shards = Shards(paths, ["jpg"], cache=cache)
        assert [shards.read(n)["jpg"][:1] for n in range(len(shards))] == [b"x", b"y"] * 3
        assert len(scans) == number_of_scans
        assert not list(tmp_path.glob("*.json"))

    read(3)
    read(3)
    os.utime(paths[0], (1, 1))
    read(4)
    for kept in (tmp_path / "cache" / "indexes").iterdir():  # that of before the change is among them
        kept.write_text("{")
    read(7)
    write_tar(Path(paths[2]), [("0.jpg", b"z" * 2**16)])
    with pytest.raises(IndexError):
        Shards(paths, ["jpg"], cache=cache).read(5)
    cache.indexes.rename(tmp_path / "gone")
    cache.indexes.write_text("a file in its place")
    local._local_index.cache_clear()
    assert len(Shards(paths, ["jpg"], cache=cache)) == 5


def test_index_is_not_half_written(shard):
    with pytest.raises(UsageError, match=r"cannot be written \(No such file"):
        write_index(scan_shard(shard, checksums=False), Path(shard.parent / "gone" / "0.index.json"))


def test_error_passes_between_processes(tmp_path):
    with pytest.raises(ShardError) as caught:
        scan_shard(tmp_path / "gone.tar", checksums=False)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (ShardError, str(caught.value))
