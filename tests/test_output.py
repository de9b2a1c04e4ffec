"""Files appear in an output folder all together or not at all."""

import pytest

from lightning_mav.commands.output import output_folder, publishing
from lightning_mav.errors import UsageError


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
