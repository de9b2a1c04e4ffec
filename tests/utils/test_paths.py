"""Paths mean what is there before they mean a pattern, and hidden files are nobody's data."""

import io
import json
import os
import socket
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.data_command import fails, mav
from lightning_mav.data.codecs.encode import encode_mp4
from lightning_mav.data.codecs.images import MAX_IMAGE_BYTES
from lightning_mav.data.shards.index import index_path, scan_shard
from lightning_mav.data.shards.urls import check_urls, expand_shards
from lightning_mav.datamodules import ImageTextShards, MicroImages, VideoShards
from lightning_mav.evaluation.protocols.prompts import PromptFile
from lightning_mav.evaluation.protocols.settings import ProtocolSettings
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.paths import expanded, is_hidden, replacing, visible
from lightning_mav.worlds.micro.shards import write_images

APPLE = b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(99)
HIDDEN = (
    "._a.tar", ".DS_Store", "Thumbs.db", "__MACOSX/._a.tar", "__MACOSX/a.tar", ".ipynb_checkpoints/a.tar",
    "@eaDir/a.tar/SYNOPHOTO_THUMB_M.jpg", "sub/._a.jpg", "DESKTOP.INI", "./.a",
)  # fmt: skip


def picture(kind="PNG", size=16):
    data = io.BytesIO()
    Image.new("RGB", (size, size), (9, 99, 199)).save(data, kind)
    return data.getvalue()


def write_tar(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            data = b"words" if name.endswith("txt") else APPLE if "._" in name else picture()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_what_is_hidden():
    assert all(map(is_hidden, HIDDEN))
    for name in ("a.tar", "./a.tar", "../a.tar", "a.b/c.d", "_a", "__macosx.tar", "Thumbs.db.tar", "a."):
        assert not is_hidden(name)


def test_hidden_files_are_listed_nowhere(tmp_path):
    for name in (*HIDDEN, "a.tar", "sub/b.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(APPLE)
    assert visible(tmp_path, "*.tar") == [tmp_path / "a.tar"]
    assert visible(tmp_path, "**/*.tar") == [tmp_path / "a.tar", tmp_path / "sub" / "b.tar"]
    for urls in ("", "/*.tar", "/*a.tar", "/?*.tar"):
        assert expand_shards(f"{tmp_path}{urls}", "") == [str(tmp_path / "a.tar")]
    assert expand_shards(f"{tmp_path}/*/*.tar", "") == [str(tmp_path / "sub" / "b.tar")]


def test_hidden_members_are_in_no_sample(tmp_path):
    names = (
        "._0.png",
        "0.png",
        "._0.txt",
        "0.txt",
        "__MACOSX/0.png",
        "Thumbs.db",
        "./sub/1.png",
        "./sub/1.txt",
    )
    shard = write_tar(tmp_path / "0.tar", *names, ".DS_Store", "@eaDir/2.jpg", ".ipynb_checkpoints/3.png")
    for checksums in (False, True):
        assert scan_shard(Path(shard), checksums=checksums).keys == ["0", "./sub/1"]


def test_real_videos_are_no_hidden_files_or_folders(tmp_path):
    for name in ("a.mp4", "._a.mp4", "sub/b.MKV", ".sub/c.mp4", "__MACOSX/._a.mp4", "d.mp4/e.mov", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list").write_text("a ball\n")
    protocol = PromptFile(
        ProtocolSettings("prompts", data=str(tmp_path), prompts=str(tmp_path / "list"), metrics=["clipsim"])
    )
    names = [path.relative_to(tmp_path).as_posix() for path in protocol.real_files()]
    assert names == ["a.mp4", "d.mp4/e.mov", "sub/b.MKV"]
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"there is no .*gone.mp4"):
        protocol.real_files()


ODD = [
    "{000..010}", "{a,b}", "{a", "a}", "[1]", "[", "*", "?", "a::b", "~", "~x", "$HOME", "pipe:x", "a b",
    "\\d", "data.tar", "a\nb", "\N{SNOWMAN}", "@1", "#2", "%20", "x=1",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_exists_is_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name != "~":
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder, shard = Path(name), write_tar(Path(name) / "x{0..1}[a]*.tar", "0.png", "0.txt")
    other = write_tar(tmp_path / "other" / "y{0}.tar", "0.png", "0.txt")
    for urls in (name, shard, os.path.abspath(name), f"{name}/x*", f"./{name}"):
        assert check_urls(urls) == urls
        found = [os.path.abspath(path) for path in expand_shards(urls, "")]
        assert found == [os.path.abspath(shard)]
    assert len(expand_shards(f"{name}::other", "")) == 2
    assert [Path(path).name for path in expand_shards(f"other::{name}::{other}", "")] == [
        "y{0}.tar", "x{0..1}[a]*.tar", "y{0}.tar"
    ]  # fmt: skip
    data = ImageTextShards(str(folder), image_size=8, batch_size=1)
    assert next(iter(data.train_dataloader()))["text"] == ["words"]
    mav("index", name)
    assert index_path(Path(shard)).is_file()
    mav("check", name, "--workers", 1)


def test_notation_below_a_folder_with_an_odd_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_tar(Path(f"set[{{a}}]/{number:02d}.tar"), "0.png")
        write_tar(Path(f"b{number}/0.tar"), "0.png")
    assert len(expand_shards("set[{a}]/{00..02}.tar", "")) == 3
    assert len(expand_shards("set[{a}]/0[01].tar", "")) == 2
    assert expand_shards("{b0,b1}/*.tar::b2", "") == ["b0/0.tar", "b1/0.tar", "b2/0.tar"]
    with pytest.raises(UsageError, match="brace"):
        expand_shards("b{0/*.tar", "")
    for urls in ("x" * 5000, "x\0y"):
        with pytest.raises(UsageError, match="there is no shard"):
            expand_shards(urls, "")


def test_home_and_variables_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "data")
    monkeypatch.chdir(tmp_path)
    shard = write_tar(tmp_path / "data" / "0.tar", "0.png", "0.txt")
    for urls in ("~/data", "$HOME/$PLACE", "${HOME}/data/*.tar", "~/data/{0..0}.tar"):
        assert expand_shards(urls, "") == [shard]
        assert expand_shards(f"{urls}::~/data", "") == [shard, shard]
    assert expanded("$NOBODY/~") == "$NOBODY/~"
    data = ImageTextShards("~/data", image_size=8, batch_size=1, cache=True, cache_dir="$HOME/pixels")
    data.prepare_data()
    assert len(list((tmp_path / "pixels").iterdir())) == 2
    assert data.fetched.folder == tmp_path / "pixels" / "fetched"
    assert MicroImages("~/micro").val_urls == str(tmp_path / "micro" / "images-val")
    settings = ProtocolSettings("prompts", data="~/real", prompts="$PLACE/p.txt", metrics=["clipsim"])
    assert (settings.data, settings.prompts) == (str(tmp_path / "real"), "data/p.txt")
    mav("show", "~/data", "--out", "~/shown")
    assert (tmp_path / "shown" / "contact_sheet.png").is_file()
    Path("~").mkdir()
    assert expanded("~") == "~"


def test_what_is_no_shard_is_one_line(tmp_path, capsys):
    (tmp_path / "a" / "folder.tar").mkdir(parents=True)
    fails("folder.tar is a folder where a tar file is wanted", "check", tmp_path / "a", capsys=capsys)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "link.tar").symlink_to("nowhere")
    fails("link.tar is a link to nowhere, which is not there", "check", tmp_path / "b", capsys=capsys)
    (tmp_path / "c").mkdir()
    os.mkfifo(tmp_path / "c" / "pipe.tar")
    fails("pipe.tar is no file", "check", tmp_path / "c", capsys=capsys)


@pytest.fixture
def messy(tmp_path):
    """A folder of pictures as people have them: three to be taken, whatever they are called."""
    folder = tmp_path / "messy"
    (folder / "sub").mkdir(parents=True)
    files = {
        "a.png": picture(), "b.jpg": picture("WEBP"), "c": picture("JPEG"), "d.gif": picture("GIF"),
        "e.jpg": picture("GIF"), "f.heic": b"\0\0\0\x18ftypheic" + bytes(9), "g.xyz": b"?",
        "h.mp4": picture("JPEG"),
        "sub/i.mov": encode_mp4(torch.zeros(20, 16, 16, 3, dtype=torch.uint8), 10),
        "._a.png": APPLE, ".DS_Store": b"x", "Thumbs.db": b"x", "a.json": b"{}",
        "j.jpg": b"<html>not found</html>",
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
        if not name.startswith("."):
            (folder / name).with_suffix(".txt").write_text("words")
    (folder / "link").symlink_to(tmp_path)
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.jpg"))
    return folder


PASSED = {
    "GIF file": 1, "HEIC file": 1, "unknown kind, .xyz": 1, "video, where images are packed": 1,
    "link to a folder": 1, "pipe, socket, device or folder": 2,
}  # fmt: skip
LEFT = {"no such file": 1, "GIF file, no image of a kind that is read": 1}
LEFT |= {"HTML file, no image of a kind that is read": 1}
MISNAMED = {"WebP in .jpg": 1, "JPEG without a suffix": 1, "JPEG in .mp4": 1}


def test_nothing_is_passed_over_without_a_word(messy, tmp_path, capsys):
    out = messy / "out"  # inside, and no part of what is packed
    for _ in range(2):
        mav("pack", messy, out, "--kind", "image", "--workers", 1)
        printed = capsys.readouterr().out
        notes, shard = (json.loads((out / name).read_text()) for name in ("stats.json", "00000.stats.json"))
        assert notes["passed_over"] == PASSED
        assert notes["problems"]["d.gif"] == "GIF file"
        assert (shard["num_samples"], shard["left_out"], shard["misnamed"]) == (4, LEFT, MISNAMED)
        for words in (*PASSED, *LEFT, *MISNAMED):
            assert words in printed
    index = scan_shard(out / "00000.tar", checksums=False)
    assert [min(members.keys() - {"txt", "json"}) for members in index.members] == [
        "png",
        "webp",
        "jpg",
        "jpg",
    ]
    (messy / "d.gif").unlink()
    mav("pack", messy, out, "--kind", "image", "--workers", 1)
    assert "GIF file" not in json.loads((out / "stats.json").read_text())["passed_over"]
    mav("pack", messy, tmp_path / "videos", "--kind", "video", "--workers", 1)
    assert json.loads((tmp_path / "videos" / "00000.stats.json").read_text())["num_samples"] == 1
    data = VideoShards(str(tmp_path / "videos"), image_size=16, batch_size=1)
    assert next(iter(data.train_dataloader()))["video"].shape == (1, 3, 16, 16, 16)


def test_both_kinds_are_told_apart_by_content(messy, tmp_path, capsys):
    fails("holds 1 videos and 7 images", "pack", messy, tmp_path / "out", capsys=capsys)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.gif").write_bytes(picture("GIF"))
    # GIFs alone are videos; this one has a single frame.
    fails("could be used: 1 file, too few frames", "pack", other, tmp_path / "videos", capsys=capsys)
    fails("nothing to pack in", "pack", other, tmp_path / "out", "--kind", "image", capsys=capsys)
    fails("but 1 x GIF file", "pack", other, tmp_path / "out", "--kind", "image", capsys=capsys)
    (other / "a.jpg").write_bytes(picture("GIF"))
    fails(
        "could be used: 1 file, GIF file, no image of a kind", "pack", other, tmp_path / "out", capsys=capsys
    )


def test_names_of_files_are_names_alone(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    names = [b"not utf-8 \xff.png", b"two\nlines.png", b" spaces .png", b"[1]{2}*.png", b"-x.png", b"%s.png"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(picture())
        (folder / os.fsdecode(name)).with_suffix(".txt").write_text("words")
    mav("pack", folder, out, "--workers", 1)
    assert json.loads((out / "00000.stats.json").read_text())["num_samples"] == len(names)
    (folder / "list").write_text(" spaces .png\n%s.png \n")
    mav("pack", folder / "list", tmp_path / "two", "--workers", 1)
    assert json.loads((tmp_path / "two" / "00000.stats.json").read_text())["num_samples"] == 2


def test_what_cannot_be_read_back_is_not_packed(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture() + bytes(2000))
    (folder / "a.txt").write_text("words")
    assert ImageTextShards.max_member_bytes == MAX_IMAGE_BYTES
    monkeypatch.setattr("lightning_mav.data.shards.pack.MAX_BYTES", {"image": 2000, "video": 2**30})
    fails("1 file, too large", "pack", folder, tmp_path / "out", capsys=capsys)
    fails("300000", "pack", folder, tmp_path / "two", "--samples-per-shard", 10**6, capsys=capsys)


def test_nothing_is_put_in_the_place_of_others_files(tmp_path, capsys):
    shard = write_tar(tmp_path / "0.tar", "0.png")
    index = index_path(Path(shard))
    for content in (b'{"mine": 1}', b"words", b'[{"version":1}]'):
        index.write_bytes(content)
        with pytest.raises(SystemExit):
            mav("index", shard)
        assert "is no index of a shard, and has the name of one; move it away" in capsys.readouterr().out
        assert index.read_bytes() == content
    for content in (b"", bytes(3000), b'{"vers', b'{"version":1,"shard":"0.tar","num_'):
        index.write_bytes(content)
        mav("index", shard)
        assert json.loads(index.read_bytes())["num_samples"] == 1
    for name in ("stats.json", "notes.txt", "000000.tar"):
        folder = tmp_path / name / "images"
        folder.mkdir(parents=True)
        (folder / name).write_text('{"passed_over": {}}')
        with pytest.raises(UsageError, match=f"did not write, such as {name}: choose another folder"):
            write_images(folder, num_images=1, image_size=16, progress=False)
    folder = tmp_path / "world" / "images"
    write_images(folder, num_images=1, image_size=16, progress=False)
    (folder / ".DS_Store").write_text("")
    write_images(folder, num_images=2, image_size=16, progress=False)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"such as notes\.txt"):
        write_images(folder, num_images=1, image_size=16, progress=False)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, sync):
    path = tmp_path / "a.json"
    with replacing(path, sync=sync) as part:
        part.write_text("old")
        assert not path.exists()
        assert part.parent == path.parent  # of one file system
        assert is_hidden(part.name)
    with suppress(ZeroDivisionError), replacing(path, sync=sync) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_two_that_replace_one_file_do_not_write_into_each_others(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as first:
        first.write_text("1")
        with replacing(path) as second:
            second.write_text("2")
        assert path.read_text() == "2"
        assert first.read_text() == "1"
    assert path.read_text() == "1"


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path):
    old, new, other = (tmp_path / f".{name}.part" for name in ("[a].1234", "[a].5678", "b.1234"))
    for left in (old, new, other):
        left.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    with replacing(tmp_path / "[a]") as part:
        part.touch()
    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "[a]"])
