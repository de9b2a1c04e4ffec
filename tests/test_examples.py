"""What docstrings, README and docs/ tell a reader to type works."""

import ast
import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from lightning_mav import cli, stage_table

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for name in ("lightning_mav", "stages", "datamodules") for path in (ROOT / name).rglob("*.py")
]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "lightning_mav").rglob("*.md")])
# What `mav train` hands on to LightningCLI; the parts behind the dot are other tests' affair.
LIGHTNING = {"trainer", "model", "data", "checkpoint", "ema", "weights_dtype", "compile", "print_config"}
LIGHTNING |= {"global_batch", "num_replicas"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(path):
    """Returns the name by which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "lightning_mav" else ("lightning_mav", *parts)
    return ".".join(parts).removesuffix(".__init__")


def blocks(page, language):
    """Returns the code blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", [module_name(path) for path in SOURCES if ">>> " in path.read_text()])
def test_examples_of_docstrings_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where they write
    monkeypatch.setattr(stage_table, "_STAGES", dict(stage_table._STAGES))  # which they may add to
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert results.attempted
    assert not results.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_pages_compiles_and_imports_what_there_is(page):
    for code in blocks(page, "python"):
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def commands(program):
    """Yields the arguments of each call of a program in the pages."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for i, word in enumerate(words):
                    if word.rpartition("/")[2] == program and "study" not in words[:i]:  # it has a `make`
                        yield tuple(words[i + 1 :])


@pytest.mark.parametrize("arguments", sorted(set(commands("mav"))), ids=" ".join)
def test_commands_of_pages_have_the_options_that_they_are_given(arguments, capsys):
    words = [word for word in arguments if not word.startswith("-")]
    # `evaluate ucf101` and `data pack` have options of their own.
    number = (
        2
        if arguments[0] in ("evaluate", "data", "weights", "study") and arguments[1:2] == tuple(words[1:2])
        else 1
    )
    number += arguments[:2] == ("weights", "import")  # each kind has its own
    with pytest.raises(SystemExit) as ended:
        cli.run([*arguments[:number], "--help"])
    assert not ended.value.code
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    if arguments[0] == "train":
        known |= {f"--{name}" for name in LIGHTNING}
    used = {re.split(r"[.=]", word)[0] for word in arguments if word.startswith("--")}
    assert used <= known


def test_make_has_the_targets_and_variables_that_pages_name():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^(\w+) +=", makefile, re.MULTILINE))
    for arguments in commands("make"):
        assert {word for word in arguments if "=" not in word} <= targets
        assert {word.partition("=")[0] for word in arguments if "=" in word} <= variables


# A box holds names, a colon and what they do, and in its last line the files that they are in.
BOXES = re.findall(r'\[\(?"([^":]*)[^"]*<br>([^"]*)"', (ROOT / "docs/architecture.md").read_text())


@pytest.mark.parametrize(("names", "files"), BOXES)
def test_boxes_of_the_pictures_name_what_is_in_their_files(names, files):
    places = [[ROOT / "lightning_mav" / name, ROOT / name] for name in files.split(", ")]
    assert all(any(path.exists() for path in place) for place in places)
    source = "".join(path.read_text() for place in places for path in place if path.exists())
    for name in names.split(", "):
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", source), name


def test_scale_of_the_tutorial_is_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for code in blocks(ROOT / "docs/tutorials/footage.md", "yaml"):
        name, text = re.match(r"# (\S+)\n(.*)", code, re.DOTALL).groups()
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    for run in ("prior", "decoder --phase=video"):  # which take all kinds of layers
        with pytest.raises(SystemExit) as ended:
            cli.run(["train", *run.split(), "--scale=./mine", "--print_config"])
        assert not ended.value.code
        shown = capsys.readouterr().out
        assert "micro/clip" not in shown
        assert "data/footage" in shown or "data/photos" in shown
