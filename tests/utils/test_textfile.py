"""Texts are UTF-8 whatever the locale, with a byte order mark or without, in lines as editors end them."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT
from lightning_mav.data.shards.pack import PackSettings, pack
from lightning_mav.data.shards.sources import find_sources
from lightning_mav.evaluation.ablations.design import load_ablation
from lightning_mav.evaluation.protocols import PROTOCOLS, load_settings
from lightning_mav.evaluation.protocols.ucf101 import read_templates
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.textfile import (
    decode_caption,
    decode_text,
    is_blank,
    parse_json,
    printable,
    read_lines,
    read_text,
    shortened,
    split_lines,
    write_text,
)
from lightning_mav.weights import read_checksums

MARK = b"\xef\xbb\xbf"
# str.splitlines ends lines at each of these, editors at none.
NO_LINE_ENDS = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
# What an editor may make of the same lines.
SAVED = {
    "Unix": lambda text: text.encode(),
    "Windows": lambda text: MARK + text.replace("\n", "\r\n").encode(),
    "old Mac": lambda text: text.replace("\n", "\r").encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "joined": lambda text: MARK + text.replace("\n", "\n\ufeff").encode(),
}
# What is no UTF-8: the encodings that editors and spreadsheets still offer.
FOREIGN = {
    "Latin-1": (lambda text: text.encode("latin-1"), "byte 3 is 0xe9"),
    "Latin-1 after a mark": (lambda text: MARK + text.encode("latin-1"), "byte 6 is 0xe9"),
    "UTF-16 with a mark": (lambda text: text.encode("utf-16"), "UTF-16"),
    "UTF-16, big end first": (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "UTF-16"),
    "UTF-32": (lambda text: text.encode("utf-32"), "UTF-16"),
    "UTF-16 of ASCII, no mark": (lambda text: b"a ball\n".decode().encode("utf-16-le"), "byte 1 is zero"),
    "zero": (lambda text: b"abc\0", "byte 3 is zero"),
    "half a surrogate pair": (lambda text: b"abc\xed\xa0\x80", "byte 3 is 0xed"),
}


@pytest.mark.parametrize("editor", SAVED)
def test_lines_are_the_same_whatever_the_editor(editor, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(SAVED[editor]("first\ncafé\n\nlast \U0001f388\n"))
    assert read_lines(path, "") == ["first", "café", "", "last \U0001f388"]


@pytest.mark.parametrize("char", NO_LINE_ENDS)
def test_a_line_ends_at_nothing_else(char):
    assert split_lines(f"one{char}line\nnext") == [f"one{char}line", "next"]


def test_an_empty_file_has_no_lines():
    assert split_lines("") == []
    assert split_lines("\n") == [""]
    assert decode_text(MARK) == ""


@pytest.mark.parametrize("encoding", FOREIGN)
def test_another_encoding_is_named_with_its_byte(encoding, tmp_path):
    encode, words = FOREIGN[encoding]
    path = tmp_path / "text.txt"
    path.write_bytes(encode("café\n"))
    with pytest.raises(
        UsageError, match=rf"text\.txt: is not UTF-8: .*{words}.*; save it as UTF-8, or rest"
    ) as error:
        read_text(path, "rest")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=rf"^caption is not UTF-8: .*{words}"):
        decode_caption(path.read_bytes())


@pytest.mark.parametrize("path", ["nowhere", ".", "x" * 300, "a\0b"])
def test_what_cannot_be_read_is_named(path, tmp_path):
    with pytest.raises(UsageError, match=r"; (save it as UTF-8, or )?the remedy$"):
        read_text(tmp_path / path, "the remedy")


def test_a_text_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("lightning_mav.utils.textfile.MAX_TEXT_BYTES", 1000)
    with pytest.raises(UsageError, match="/dev/zero: is too large for a text file"):
        read_text(Path("/dev/zero"), "name another")


def test_files_are_written_in_utf8_with_plain_line_ends(tmp_path):
    write_text(tmp_path / "a", "é\nb\udce9\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\nb\\udce9\n"


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"", MARK, b'{"a": 1'])
def test_bad_json_is_a_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011 - json says it in many ways
        parse_json(data)
    assert parse_json(MARK + b'{"a": [1]}\r\n') == {"a": [1]}


@pytest.mark.parametrize("text", ["", " \t\n", "\u200f", "\ufeff", "\u200b\u2060", "\x00\x1b", "\u3000"])
def test_what_cannot_be_seen_is_blank(text):
    assert is_blank(text)
    assert not is_blank(f"{text}a{text}")
    with pytest.raises(ValueError, match=r"no caption|not UTF-8"):
        decode_caption(text.encode())


def test_what_is_shown_is_one_line_and_short():
    assert printable("a\x1b[2J\n\u202eb\udce9 \u00e9") == r"a\x1b[2J\n\u202eb\udce9 " + "\u00e9"
    assert shortened("x" * 50) == "x" * 40 + "... (50 characters)"
    assert shortened(10**5000) == "a number of thousands of digits"


# Every kind of text file that the program reads


def pack_images(folder, out, **files):
    from PIL import Image

    folder.mkdir()
    for i in range(2):
        Image.new("RGB", (32, 32), (90 * i, 9, 9)).save(folder / f"{i}.png")
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    kind, sources = find_sources(folder, None)
    return pack(sources, out, PackSettings(kind))


@pytest.mark.parametrize("editor", SAVED)
def test_captions_and_lists_of_files(editor, tmp_path):
    table = SAVED[editor]("0.png\ta\u2028dog\n1.png\tcafé\n")
    assert pack_images(tmp_path / "a", tmp_path / "out", captions_tsv=table).num_samples == 2
    _, sources = find_sources(tmp_path / "a", None)
    assert [source.caption for source in sources] == ["a\u2028dog", "café"]
    (tmp_path / "list.txt").write_bytes(SAVED[editor]("a/0.png\na/1.png\n"))
    _, sources = find_sources(tmp_path / "list.txt", None)
    assert [source.name for source in sources] == ["a/0.png", "a/1.png"]


@pytest.mark.parametrize("editor", SAVED)
def test_prompts_sentences_checksums_and_settings(editor, tmp_path):
    save = SAVED[editor]
    (tmp_path / "prompts.txt").write_bytes(save("# mine\na ball\n\u200e\ncafé\n"))
    eval_file = tmp_path / "eval.yaml"
    eval_file.write_bytes(
        save(f"protocol: prompts\nmetrics: [clipsim]\nprompts: {tmp_path / 'prompts.txt'}\n")
    )
    protocol = PROTOCOLS["prompts"](load_settings(eval_file))
    assert [item.prompt for item in protocol.items()] == ["a ball", "café"]
    (tmp_path / "sentences.txt").write_bytes(save("Kayaking: a kayak\nFencing: two f\u00eancers\n"))
    sentences = read_templates(tmp_path / "sentences.txt", ["Kayaking", "Fencing"])
    assert sentences == {"Kayaking": "a kayak", "Fencing": "two f\u00eancers"}
    (tmp_path / "SHA256SUMS").write_bytes(save(f"{'a' * 64}  one.safetensors\n{'b' * 64}  two.safetensors\n"))
    assert read_checksums(tmp_path) == {"one.safetensors": "a" * 64, "two.safetensors": "b" * 64}


def test_a_file_of_another_encoding_is_one_line(tmp_path):
    latin = "café: \u00e9\n".encode("latin-1")
    (tmp_path / "x.yaml").write_bytes(latin)
    for read in (
        lambda: load_settings(tmp_path / "x.yaml"),
        lambda: load_ablation(str(tmp_path / "x.yaml")),
        lambda: read_templates(tmp_path / "x.yaml", []),
        lambda: find_sources(tmp_path / "x.yaml", None),
        lambda: pack_images(tmp_path / "a", tmp_path / "out", captions_tsv=latin),
    ):
        with pytest.raises(UsageError, match=r"(x\.yaml|captions\.tsv): is not UTF-8: byte 3 is 0xe9"):
            read()


def test_captions_of_msrvtt(tmp_path):
    info = {
        "videos": [{"video_id": "video1", "split": "test"}],
        "sentences": [
            {"sen_id": i, "video_id": "video1", "caption": caption}
            for i, caption in enumerate(["café\u2028bar", "\u200b", "\U0001f388"])
        ],
    }
    path, settings = tmp_path / "test_videodatainfo.json", ROOT / "configs" / "eval" / "msrvtt.yaml"
    path.write_bytes(MARK + json.dumps(info, ensure_ascii=False).encode())
    protocol = PROTOCOLS["msrvtt"](load_settings(settings, data=str(tmp_path)))
    assert [caption for caption, _ in protocol.captions] == ["café bar", "\U0001f388"]
    info["sentences"][0]["caption"] = "half \ud83d a character"
    path.write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(UsageError, match="a caption of video1 holds half a character"):
        PROTOCOLS["msrvtt"](load_settings(settings, data=str(tmp_path)))


# The same in a locale that knows ASCII alone

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def in_ascii(code, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, cwd=cwd, env={**os.environ, **ASCII}
    )


@pytest.mark.slow
def test_the_locale_decides_nothing(tmp_path):
    (tmp_path / "layer.yaml").write_bytes("# café\nseed_everything: 3\n".encode())
    code = "import sys; from lightning_mav.cli import main; main(sys.argv[1:])"
    arguments = ("train", "clip", "--scale", "nano", "--config", "layer.yaml", "--print_config")
    done = in_ascii(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"seed_everything: 3" in done.stdout


def test_an_ascii_terminal_shows_escapes(tmp_path):
    code = (
        "import sys; from lightning_mav import cli\n"
        "from lightning_mav.evaluation.report import Table, print_tables\n"
        "from lightning_mav.utils.console import stage_progress\n"
        "def run(argv):\n"
        "    print_tables([Table('caf\\u00e9', ['\\u732b'], [['\\udce9 \\u25cf']])])\n"
        "    with stage_progress('caf\\u00e9') as progress: progress('x', 1, 1)\n"
        "    raise cli.UsageError('no \\u732b here\\nor there')\n"
        "cli.run = run; cli.main([])"
    )
    done = in_ascii(code, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert b"\\xe9" in done.stdout
    assert b"\\udce9" in done.stdout
    assert done.stderr.splitlines() == [
        done.stderr.splitlines()[0],
        b"mav: error: no \\u732b here\\nor there",
    ]


# What holds all this: no other way to read or write a text


def calls(path):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            owner = getattr(getattr(node.func, "value", None), "id", None)
            yield node, getattr(node.func, "attr", None) or node.func.id, owner


def is_text_mode(node):
    modes = [x.value for x in node.args if isinstance(x, ast.Constant) and isinstance(x.value, str)]
    modes += [x.value.value for x in node.keywords if x.arg == "mode"]
    return not any("b" in mode for mode in modes) and "encoding" not in {x.arg for x in node.keywords}


def test_texts_are_read_and_written_in_one_place():
    found = []
    for folder in ("lightning_mav", "stages", "datamodules"):
        for path in (ROOT / folder).rglob("*.py"):
            for node, name, owner in calls(path):
                is_method = isinstance(node.func, ast.Attribute)
                opens = name == "open" and owner not in ("av", "os", "Image", "tarfile", "zipfile", "archive")
                if (
                    (is_method and name in ("read_text", "write_text"))
                    or (name == "splitlines" and path.name != "errors.py")
                    or (opens and is_text_mode(node))
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not found, "use lightning_mav.utils.textfile"
