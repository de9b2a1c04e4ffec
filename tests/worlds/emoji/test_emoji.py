"""``mav world emoji``: from archives of the registry to shards, and what may go wrong on the way."""

import base64
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.emoji_packages import NUM_FRAMES, PEOPLE, animation, codes
from lightning_mav.cli import main
from lightning_mav.data.codecs.decode import decode_video
from lightning_mav.data.codecs.resize import to_square
from lightning_mav.worlds.emoji.packages import Package, unpack_all


@pytest.fixture(scope="module")
def world(archives, tmp_path_factory):
    root = tmp_path_factory.mktemp("emoji")
    write(root, archives)
    return root


def write(root, archives, *options):
    main(
        [
            "world",
            "emoji",
            f"--out={root}",
            f"--from={archives}",
            f"--config={archives / 'world.yaml'}",
            *options,
        ]
    )


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        main(["world", *map(str, arguments)])
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def samples(folder):
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                found.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    return list(found.values())


def test_every_still_comes_first_with_its_name_then_with_other_captions(world):
    images, listed = samples(world / "images"), json.loads((world / "emoji.json").read_text())
    assert len(images) == 3 * len(listed) == 3 * (len(codes()) + 1)
    assert [image["txt"].decode() for image in images[: len(listed)]] == [entry["name"] for entry in listed]
    for number, image in enumerate(images):
        assert json.loads(image["json"])["code"] == listed[number % len(listed)]["code"]
        assert Image.open(io.BytesIO(image["webp"])).size == (32, 32)
    assert {image["txt"] for image in images[len(listed) :]} - {
        image["txt"] for image in images[: len(listed)]
    }


def test_clips_are_the_animations_repeated_at_their_own_times_and_say_nothing(world):
    listed = {entry["code"]: entry["animation"] for entry in json.loads((world / "emoji.json").read_text())}
    found = {}
    for folder in ("videos", "videos-val", "videos-things", "videos-tones"):
        for sample in samples(world / folder):
            assert sample.keys() == {"mp4", "json"}
            found[json.loads(sample["json"])["code"]] = folder
            frames, times = decode_video(sample["mp4"], "mp4", None)
            assert len(frames) == 3 * NUM_FRAMES  # the fewest rounds of .84 seconds that give 2 seconds
            assert np.allclose(times, 0.042 * np.arange(len(frames)), atol=1e-3)
            assert (
                frames[:NUM_FRAMES].float() - frames[NUM_FRAMES : 2 * NUM_FRAMES].float()
            ).abs().mean() < 2
    kinds = {
        "videos": "seen",
        "videos-val": "validation",
        "videos-things": "hidden thing",
        "videos-tones": "hidden tone",
    }
    assert {code: kinds[folder] for code, folder in found.items()} == {
        code: kind for code, kind in listed.items() if kind != "none"
    }
    assert set(found) == set(codes())


def test_pixels_of_a_clip_are_those_of_the_animation(world):
    sample = samples(world / "videos")[0]
    code = json.loads(sample["json"])["code"]
    frames, _ = decode_video(sample["mp4"], "mp4", None)
    with Image.open(io.BytesIO(animation(code))) as image:
        image.seek(5)
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
    true = to_square(np.asarray(ground.convert("RGB")), 32).astype(int)
    assert np.abs(frames[5].permute(1, 2, 0).numpy() - true).mean() < 3


def test_what_was_left_out_is_counted_and_listed(archives, tmp_path, capsys):
    write(tmp_path, archives)
    said = capsys.readouterr().out
    assert "1 pictures without a name: 1f999" in said
    assert "1 names without a picture: 1f600" in said
    assert json.loads((tmp_path / "left_out.json").read_text()) == {
        "without_name": ["1f999"],
        "without_picture": ["1f600"],
    }
    assert "Microsoft" in (tmp_path / "ORIGIN.md").read_text()


def test_names_of_another_package_are_those_of_the_emoji_in_words(world, archives, tmp_path):
    expected = [
        {"code": "1f980", "name": "fire engine"},  # "-1" is no word
        {"code": "2764", "name": "red heart"},
        {"code": "1f480", "name": "word1f480"},
    ]
    assert json.loads((world / "other_names.json").read_text()) == expected
    settings = yaml.safe_load((archives / "world.yaml").read_text())
    kept = [package for package in settings["packages"] if package["name"] != "emoji-datasource"]
    config = tmp_path / "world.yaml"
    config.write_text(yaml.safe_dump(settings | {"packages": kept}))
    main(["world", "emoji", f"--out={tmp_path / 'w'}", f"--from={archives}", f"--config={config}"])
    assert (tmp_path / "w" / "emoji.json").is_file()
    assert not (tmp_path / "w" / "other_names.json").exists()


def test_a_second_run_writes_nothing_anew_and_a_broken_one_goes_on(world, archives):
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*.tar")}
    (world / "videos-val" / "stats.json").unlink()  # as if that folder were another's
    for path in (world / "videos-val").iterdir():
        path.unlink()
    (world / "videos-val").rmdir()
    write(world, archives)
    after = {path: path.stat().st_mtime_ns for path in world.rglob("*.tar")}
    assert after.keys() == before.keys()
    assert {path.parent.name for path in after if after[path] != before[path]} == {"videos-val"}


def test_other_settings_hide_others(world, archives, tmp_path):
    write(tmp_path, archives, "--seed=3")
    first, second = (json.loads((root / "emoji.json").read_text()) for root in (world, tmp_path))
    assert [entry["code"] for entry in first] == [entry["code"] for entry in second]
    assert [entry["animation"] for entry in first] != [entry["animation"] for entry in second]


def test_another_ground_is_under_stills_and_clips(archives, tmp_path):
    config = tmp_path / "green.yaml"
    config.write_text((archives / "world.yaml").read_text() + "ground: [0, 255, 0]\n")
    main(["world", "emoji", f"--out={tmp_path / 'w'}", f"--from={archives}", f"--config={config}"])
    still = Image.open(io.BytesIO(samples(tmp_path / "w" / "images")[0]["png"]))
    assert still.getpixel((0, 0)) == (0, 255, 0)
    frames, _ = decode_video(samples(tmp_path / "w" / "videos")[0]["mp4"], "mp4", None)
    red, green, blue = frames[0, :, 0, 0].tolist()
    assert green > 230
    assert max(red, blue) < 25


def npm(folder, script):
    """Puts a program called npm before all others."""
    path = folder / "npm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_packages_are_fetched_with_npm(archives, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    # npm pack --loglevel=error NAME@VERSION --pack-destination FOLDER
    copy = f'stem=$(echo "${{3#@}}" | sed "s#[/@]#-#g"); cp {archives}/$stem.tgz "$5/"'
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", copy))
    main(["world", "emoji", f"--out={tmp_path / 'w'}", f"--config={archives / 'world.yaml'}"])
    assert samples(tmp_path / "w" / "videos")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo npm error network getaddrinfo ENOTFOUND >&2; exit 1",
            "npm error network getaddrinfo ENOTFOUND",
        ),
        (
            "echo npm error code ETARGET >&2; echo npm error notarget No matching version >&2; exit 1",
            "(npm error code ETARGET; notarget No matching version)",
        ),
        ("exit 0", "exit code 0"),  # and no archive
        (None, "npm was not found: install Node.js"),
    ],
)
def test_no_npm_and_no_network_are_one_line_with_the_remedy(
    script, message, archives, tmp_path, monkeypatch, capsys
):
    (tmp_path / "bin").mkdir()
    path = npm(tmp_path / "bin", script) if script else str(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    line = fails(capsys, "emoji", "--out", tmp_path / "w", "--config", archives / "world.yaml")
    assert message in line
    assert "npm pack @test/fluent-emoji-3d@1.0.0" in line
    assert "--from" in line


def test_npm_is_asked_to_say_why_it_fails_and_may_not_start(archives, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    options = ["emoji", "--out", tmp_path / "w", "--config", archives / "world.yaml"]
    quiet = 'case "$*" in *silent*) ;; *) echo "npm error E404" >&2 ;; esac; exit 1'  # as npm does
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", quiet))
    assert "(npm error E404)" in fails(capsys, *options)
    (tmp_path / "bin" / "npm").write_text("#!/nowhere/sh\n")
    line = fails(capsys, *options)
    assert f"{tmp_path / 'bin' / 'npm'}: cannot be started (No such file or directory)" in line
    assert "--from" in line


@pytest.mark.parametrize("damage", ["empty", "fewer", "cut", "other version"])
def test_packages_that_are_not_whole_are_unpacked_again(damage, archives, tmp_path):
    listed = [Package(**one) for one in yaml.safe_load((archives / "world.yaml").read_text())["packages"]]
    unpack_all(listed, tmp_path, archives=archives, progress=False)
    (untouched, stills) = (tmp_path / listed[number].stem for number in (1, 0))
    before, (first, *_) = untouched.stat().st_ino, sorted(stills.glob("assets/*"))
    if damage == "empty":
        shutil.rmtree(stills)
        stills.mkdir()
    elif damage == "fewer":
        first.unlink()
    elif damage == "cut":
        os.truncate(first, 30)
    else:
        first.write_bytes(bytes(first.stat().st_size))
        (stills / ".unpacked.json").write_text('{"sha512": "x"}')
    unpack_all(listed, tmp_path, archives=archives, progress=False)
    assert first.read_bytes() == animation(first.stem, 1)
    assert untouched.stat().st_ino == before  # a whole one stays
    assert {path.name for path in tmp_path.iterdir()} == {package.stem for package in listed}


@pytest.mark.parametrize("damage", ["cut", "no folder", "zeros"])
def test_an_archive_that_is_none_of_npm_is_one_line(damage, archives, tmp_path, capsys):
    settings = yaml.safe_load((archives / "world.yaml").read_text())
    path = tmp_path / "test-fluent-emoji-3d-1.0.0.tgz"
    data = bytearray((archives / path.name).read_bytes())
    if damage == "no folder":
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("elsewhere/package.json"))
        data = path.read_bytes()
    elif damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[100:300] = bytes(200)
    path.write_bytes(data)
    settings["packages"][0]["sha512"] = base64.b64encode(hashlib.sha512(data).digest()).decode()
    config = tmp_path / "world.yaml"
    config.write_text(yaml.safe_dump(settings))
    line = fails(capsys, "emoji", "--out", tmp_path / "w", "--from", tmp_path, "--config", config)
    assert f"{path} is no archive of npm" in line
    assert not list((tmp_path / "w" / "packages").iterdir())


def test_a_changed_package_is_refused_and_what_is_there_stays(archives, tmp_path, capsys):
    own = tmp_path / "archives"
    own.mkdir()
    for path in archives.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    changed = own / "cldr-annotations-full-1.0.0.tgz"
    changed.write_bytes(changed.read_bytes() + b"x")
    options = ["--out", tmp_path / "w", "--from", own, "--config", own / "world.yaml"]
    line = fails(capsys, "emoji", *options)
    assert "cldr-annotations-full-1.0.0.tgz is not cldr-annotations-full@1.0.0" in line
    unpacked = {path.name for path in (tmp_path / "w" / "packages").iterdir()}
    assert unpacked == {"test-fluent-emoji-3d-1.0.0", "test-fluent-emoji-anim-1-1.0.0"}  # whole ones alone
    changed.write_bytes((archives / changed.name).read_bytes()[:-100])
    assert "fetch it again" in fails(capsys, "emoji", *options)
    changed.unlink()
    assert "npm pack cldr-annotations-full@1.0.0" in fails(capsys, "emoji", *options)
    changed.write_bytes((archives / changed.name).read_bytes())
    main(["world", *map(str, ["emoji", *options])])
    assert samples(tmp_path / "w" / "videos")


def test_an_archive_cannot_write_outside_its_folder(tmp_path):
    path = tmp_path / "evil-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("package/../../escaped")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    from lightning_mav.utils.errors import UsageError

    with pytest.raises(UsageError, match="no archive of npm"):
        unpack_all(
            [Package("evil", "1.0.0", digest)], tmp_path / "a" / "b", archives=tmp_path, progress=False
        )
    assert not list(tmp_path.rglob("escaped"))


def test_options_of_the_emoji_are_refused_for_the_micro_world(capsys, tmp_path):
    assert "for the emoji world" in fails(capsys, "micro", "--from", tmp_path, "--out", tmp_path / "w")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ground: [300, 0, 0]", "ground is red, green and blue"),
        ("video_size: 31", "video_size is even"),
        ("hidden_things: lots", "hidden_things"),
        ("hidden_tones: 1.5", "hidden_tones"),
        ("validation: -0.1", "validation"),
        ("captions: 0", "captions"),
        ("min_seconds: .nan", "min_seconds"),
        ("hidden_things: 1.0", "no animation is left to train on"),
        ("validation: 0.9", "no animation is left to train on"),
        ("video_size: 34", "choose a video_size of at most 32, not 34"),
        ("packages: []", "no package with"),
    ],
)
def test_wrong_settings_are_one_line(line, message, archives, tmp_path, capsys):
    key = line.partition(":")[0]
    settings = yaml.safe_load((archives / "world.yaml").read_text()) | yaml.safe_load(line)
    config = tmp_path / "world.yaml"
    config.write_text(yaml.safe_dump(settings))
    said = fails(capsys, "emoji", "--out", tmp_path / "w", "--from", archives, "--config", config)
    assert message in said, key
    assert {path.name for path in (tmp_path / "w").iterdir()} <= {"packages"}  # nothing was begun


def test_people_have_other_tones_to_learn_from(world):
    listed = json.loads((world / "emoji.json").read_text())
    toned = [entry for entry in listed if entry["tones"]]
    assert {entry["thing"] for entry in toned} == set(PEOPLE)
