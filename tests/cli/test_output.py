"""Files appear in an output folder all together or not at all."""

import json
import shutil

import pytest

from lightning_mav.cli.output import ENDINGS, output_folder, own_name, publishing
from lightning_mav.utils.errors import UsageError


def write(out, text, fail=False):
    with output_folder(out) as folder, publishing(folder, out, "the report"):
        (folder / "report.md").write_text(text)
        (folder / "sheets").mkdir()
        (folder / "sheets" / "ball.png").write_text(text)
        if fail:
            raise OSError(28, "No space left on device")


def contents(out):
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_folders_are_published_and_published_again(tmp_path):
    out = tmp_path / "new" / "report"
    for text in ("first", "second"):
        write(out, text)
        assert contents(out) == {"report.md": text, "sheets/ball.png": text}
    assert not list(out.glob(".unfinished*"))


def test_what_cannot_be_finished_leaves_what_was_there(tmp_path):
    write(tmp_path, "first")
    with pytest.raises(UsageError, match=r"cannot write the report \(No space left on device\)"):
        write(tmp_path, "second", fail=True)
    assert contents(tmp_path) == {"report.md": "first", "sheets/ball.png": "first"}


def make(out, prompt, **settings):
    """Writes the files of a video as ``mav generate`` does, and returns their name."""
    made = {
        "prompt": prompt,
        "seconds": 1.5,
        "weights": {"prior": {"file": str(out), "sha256": "0"}},
        **settings,
    }
    with output_folder(out) as folder, publishing(folder, out, "a video"):
        name = own_name(out, "ball-0", made, {})
        for ending in ENDINGS:
            (folder / f"{name}{ending}").write_text(json.dumps(made))
    return name


def test_another_video_never_takes_the_files_of_one(tmp_path):
    assert make(tmp_path, "ball") == "ball-0"
    assert make(tmp_path, "Ball!") == "ball-0-2"  # another prompt
    assert make(tmp_path, "ball", fps=4) == "ball-0-3"  # other settings
    assert make(tmp_path, "ball", fps=5) == "ball-0-4"
    before = contents(tmp_path)
    # Made again, each gets its own files: neither seconds nor the place of the weights make it another video.
    assert make(tmp_path, "ball", fps=4, seconds=9.0) == "ball-0-3"
    assert make(tmp_path, "ball", weights={"prior": {"file": "elsewhere", "sha256": "0"}}) == "ball-0"
    assert make(tmp_path, "ball", weights={"prior": {"file": "elsewhere", "sha256": "1"}}) == "ball-0-5"
    assert {name: text for name, text in contents(tmp_path).items() if name in before and "-0-2" in name} == {
        name: text for name, text in before.items() if "-0-2" in name
    }


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", ["mine", "[]", "{}", "null"])
def test_files_of_others_stay(ending, content, tmp_path):
    mine = tmp_path / f"ball-0{ending}"
    mine.write_text(content)
    assert make(tmp_path, "ball") == "ball-0-2"
    assert mine.read_text() == content


def test_a_link_to_nowhere_is_not_followed(tmp_path):
    (tmp_path / "ball-0.mp4").symlink_to(tmp_path / "nowhere")
    assert make(tmp_path, "ball") == "ball-0-2"


def test_videos_of_one_call_get_names_of_their_own(tmp_path):
    names = {}
    assert [own_name(tmp_path, "ball-0", {"prompt": "ball"}, names) for _ in range(3)] == list(names)
    assert list(names) == ["ball-0", "ball-0-2", "ball-0-3"]


@pytest.mark.parametrize("out", ["file", "file/below", "x" * 300, "/proc/out"])
def test_a_place_that_cannot_be_a_folder_is_one_line(out, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"cannot write there \(.+\); choose another folder"):
        write(tmp_path / out, "text")
    assert contents(tmp_path) == {"file": "mine"}


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    out = tmp_path / "out"

    def write_late():
        with output_folder(out) as folder:
            shutil.rmtree(out)
            with publishing(folder, out, "the report"):
                (folder / "report.md").write_text("text")

    with pytest.raises(UsageError, match=r"cannot write the report \(No such file or directory\)"):
        write_late()
    assert not out.exists()


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path):
    (tmp_path / "report.md").mkdir()
    with pytest.raises(UsageError, match=r"cannot write the report \(Is a directory\)"):
        write(tmp_path, "text")
