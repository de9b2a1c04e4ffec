"""``mav world emoji`` on what is damaged, changed or interrupted: it mends it, or says what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from helpers.emoji_packages import animation
from lightning_mav.cli import main
from lightning_mav.data.shards.index import load_index
from lightning_mav.worlds.emoji.packages import Package

STILLS, MOVING, NAMES, OTHERS = (
    "test-fluent-emoji-3d-1.0.0",
    "test-fluent-emoji-anim-1-1.0.0",
    "cldr-annotations-full-1.0.0",
    "emoji-datasource-1.0.0",
)


@pytest.fixture(scope="module")
def made(archives, tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "w"
    main(arguments(root, archives))
    return root


@pytest.fixture
def world(made, tmp_path):
    return shutil.copytree(made, tmp_path / "w")


def arguments(root, archives, config=None):
    config = config or archives / "world.yaml"
    return ["world", "emoji", f"--out={root}", f"--from={archives}", f"--config={config}"]


def fails(capsys, *given):
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        main(arguments(*given))
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("damage", ["missing", "cut", "fewer samples"])
def test_shards_that_are_missing_or_cut_are_written_again(damage, world, archives):
    shard = world / "images" / "000000.tar"
    whole, others = shard.read_bytes(), [*(world / "videos").glob("*.tar")]
    before = [path.stat().st_mtime_ns for path in others]
    if damage == "missing":
        shard.unlink()
    elif damage == "cut":
        os.truncate(shard, 1000)
    else:
        last = load_index(shard).members[-1]
        os.truncate(shard, min(member.offset for member in last.values()) - 512)
        with shard.open("ab") as file:
            file.write(bytes(1024))
    main(arguments(world, archives))
    assert shard.read_bytes() == whole
    assert [path.stat().st_mtime_ns for path in others] == before


def keep_mark(world, package):
    """Makes a package count as whole although one of its files was changed, as with another version of it."""
    from lightning_mav.worlds.emoji.packages import MARK, _mark

    folder = world / "packages" / package
    digest = json.loads((folder / MARK).read_text())["sha512"]
    (folder / MARK).write_text(json.dumps(_mark(Package("", "", digest), folder)))


MOVED = animation("1f980")
DAMAGES = {
    "garbage still": (STILLS, "assets/1f980.webp", b"RIFF garbage"),
    "half a still": (STILLS, "assets/1f980.webp", animation("1f980", 1)[:-40]),
    "GIF as still": (STILLS, "assets/1f980.webp", animation("1f980", kind="GIF")),
    "half an animation": (MOVING, "assets/1f980.webp", MOVED[: len(MOVED) // 2]),
    "empty animation": (MOVING, "assets/1f980.webp", b""),
    "no code, still": (STILLS, "assets/cover.webp", animation("1f980", 1)),
    "no code, animation": (MOVING, "assets/cover.webp", MOVED),
    "folder": (MOVING, "assets/2764.webp", None),
    **{
        f"names {number}": (NAMES, "annotations/en/annotations.json", data)
        for number, data in enumerate(
            (
                *(b"", b"{", b"\xff", b"[]", b"5", b"{}", b'{"annotations": 5}', b"[" * 100_000),
                *(b'{"annotations": {"annotations": {"a": %b}}}' % entry for entry in (b"5", b'{"tts": []}')),
                b'{"annotations": {"annotations": {"a": {"tts": [3]}}}}',
                b'{"annotations": {"annotations": {"": {"tts": ["x"]}}}}',
            )
        )
    },
    **{
        f"other names {number}": (OTHERS, "emoji.json", data)
        for number, data in enumerate((b"", b"5", b"[5]", b"[{}]", b'[{"unified": "x", "short_names": []}]'))
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_package_is_named_and_nothing_is_written(
    damage, made, archives, tmp_path, capsys
):
    package, name, data = DAMAGES[damage]
    packages = shutil.copytree(made / "packages", tmp_path / "w" / "packages")
    path = packages / package / name
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
    keep_mark(tmp_path / "w", package)
    line = fails(capsys, tmp_path / "w", archives)
    assert f"{path}: is not usable (" in line
    assert "remove it and run again" in line
    left = {path.name for path in (tmp_path / "w").iterdir()}
    assert left <= ({"packages", "images"} if damage == "half an animation" else {"packages"})
    if damage in ("half a still", "other names 0"):
        path.unlink()
        main(arguments(tmp_path / "w", archives))  # the remedy
        assert path.exists()


def test_packages_that_the_config_does_not_list_are_not_used(world, archives, tmp_path):
    settings = yaml.safe_load((archives / "world.yaml").read_text())
    left = ("@test/fluent-emoji-anim-1", "emoji-datasource")
    settings["packages"] = [one for one in settings["packages"] if one["name"] not in left]
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(settings))
    main(arguments(world, archives, tmp_path / "world.yaml"))
    assert {entry["animation"] for entry in json.loads((world / "emoji.json").read_text())} == {"none"}
    assert not [*(world / "videos").glob("*.tar")]
    assert not (world / "other_names.json").exists()


def test_phrases_of_other_stills_are_set_aside(world, archives, tmp_path, capsys):
    phrases, old = world / "phrases.jsonl.gz", world / "old-phrases.jsonl.gz"
    phrases.write_bytes(b"written before")
    main(arguments(world, archives))
    assert phrases.exists()  # the same stills
    own = shutil.copytree(archives, tmp_path / "own")
    for name in ("1f980.webp", "1f480.webp"):
        (world / "packages" / STILLS / "assets" / name).unlink()
    keep_mark(world, STILLS)
    capsys.readouterr()
    main(arguments(world, own))
    assert not phrases.exists()
    assert old.read_bytes() == b"written before"
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1, line
    assert f"{phrases} numbers other stills: it is now {old.name}, and --phrases writes new ones" in line


def test_a_place_that_cannot_be_written_is_named(world, archives, capsys):
    for name in ("emoji.json", "other_names.json"):
        path = world / name
        text = path.read_text()
        path.unlink()
        path.mkdir()
        assert f"{path}: cannot be written (Is a directory)" in fails(capsys, world, archives)
        path.rmdir()
        path.write_text(text)


SLOW = """
import sys, time
from pathlib import Path
from lightning_mav.cli import main
from lightning_mav.worlds import folders
from lightning_mav.worlds.emoji import samples
folders.num_cores = lambda: 2
def wait(self, index):
    Path("begun").touch()
    time.sleep(600)
samples.Clips.__call__ = wait
from lightning_mav.worlds.emoji import shards
shards.VIDEOS_PER_SHARD = 5
main(sys.argv[1:])
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes(signum, world, archives, tmp_path):
    shutil.rmtree(world / "videos")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments(world, archives)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    left = [path for path in world.iterdir() if path.name.startswith(".")]
    if signum != signal.SIGKILL:
        assert f"mav: stopped by {signal.Signals(signum).name}; the same command goes on" in said
        assert "Traceback" not in said
        assert not left
        return
    assert len(left) == 1
    os.utime(left[0], (0, 0))  # as if it had been killed long ago
    (world / ".videos.mine").mkdir()
    os.utime(world / ".videos.mine", (0, 0))
    main(arguments(world, archives))
    assert [path.name for path in world.iterdir() if path.name.startswith(".")] == [".videos.mine"]


def wait_for(happened):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)
