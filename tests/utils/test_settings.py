"""YAML of any kind is read, or refused in one line that names the file; it never takes time or memory."""

import argparse
from dataclasses import dataclass, field

import pytest

from helpers.configs import parse
from lightning_mav.cli.protocol import _settings as protocol_settings
from lightning_mav.evaluation.ablations.design import Training
from lightning_mav.training.runs import all_runs, config_layers
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.settings import MAX_DEPTH, parse_yaml, read_settings


@dataclass
class Kind:
    """Settings of a command."""

    num: int = 3
    rate: float = 0.5
    name: str = "a"
    many: list[int] = field(default_factory=list)


def bomb(first, more):
    """Lists or mappings of aliases of such, which would have billions of items."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {more.format(*[f'*a{i - 1}'] * 9)}" for i in range(1, 12)]
    return "\n".join(lines) + "\n"


BAD = {
    "aliases": bomb("[x, x]", "[{}, {}, {}, {}, {}, {}, {}, {}, {}]"),
    "aliases in mappings": bomb("{x: 1}", "{{a: {}, b: {}, c: {}, d: {}}}"),
    "merge keys": bomb("{x: 1}", "{{<<: [{}, {}, {}, {}]}}"),
    "itself": "name: &a [*a]",
    "no anchor": "name: *a",
    "merged scalar": "<<: 3",
    "twice": "num: 3\nnum: 4",
    "twice within": "name: {a: 1, a: 2}",
    "tab": "name:\n\ta: 1",
    "two documents": "num: 3\n---\nnum: 4",
    "command": "name: !!python/object/apply:os.system [exit]",
    "timestamp": "name: !!timestamp x",
    "empty number": "num: !!int ''",
    "truth": "num: !!bool 3",
    "list as key": "? [a]\n: 1",
    "half a character": 'name: "\\uD800"',
    "open reference": "name: ${",
    "digits": f"num: {'9' * 5000}",
    "number": "3",
    **{f"{depth} lists": "name: " + "[" * depth + "]" * depth for depth in (60, 100, 400, 100_000)},
    **{f"{depth} mappings": "name: " + "{a: " * depth + "1" + "}" * depth for depth in (60, 100, 400)},
    "indented": "name:\n" + "".join(" " * i + "a:\n" for i in range(1, 1500)),
}


def one_line(error, path):
    message = str(error.value)
    assert message.startswith(f"{path}: is n")
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return True


@pytest.mark.parametrize("kind", BAD)
def test_bad_yaml_is_refused_in_settings_scales_and_layers(kind, tmp_path):
    path, folder = tmp_path / "mine.yaml", tmp_path / "mine"
    path.write_text(BAD[kind])
    with pytest.raises(UsageError) as caught:
        read_settings(Kind, path)
    assert one_line(caught, path)
    folder.mkdir()
    (folder / "clip.yaml").write_text("{}")
    with pytest.raises(UsageError) as caught:
        config_layers(all_runs()[0], str(folder))
    assert one_line(caught, path)
    with pytest.raises(UsageError) as caught:
        parse(all_runs()[0], "nano", f"--config={path}")
    assert one_line(caught, path)
    path.write_text("extends: nano")
    (folder / "clip.yaml").write_text(BAD[kind])
    with pytest.raises(UsageError) as caught:
        Training("clip", "image", {str(folder): 1}).arguments(str(folder), 0)
    assert one_line(caught, folder / "clip.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<<: {num: 4}\nname: b", {"num": 4, "name": "b"}),
        ("<<: [{num: 4}, {num: 5}]", {"num": 4}),  # by the specification, earlier ones win
        ("<<: {num: 4}\nnum: 5", {"num": 5}),
        ("num:\t4\t", {"num": 4}),
        ("name: 2020-01-01", {"name": "2020-01-01"}),
        ("rate: 1e-400", {"rate": 0.0}),
        ("many: &a [1, 2]\nname: '*a'", {"many": [1, 2], "name": "*a"}),
        ("num: 4\n...\n", {"num": 4}),
        ("", {}),
        ("name: " + "x" * 1_000_000, {"name": "x" * 1_000_000}),
    ],
)
def test_what_yaml_allows_is_read(text, expected, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert vars(read_settings(Kind, path)) == vars(Kind()) | expected


@pytest.mark.parametrize(
    "value", [".nan", ".inf", "1e400", "2020-01-01", "yes", "null", "{a: 1}", "[1]", "x"]
)
def test_a_whole_number_is_one(value, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"num: {value}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: num: "):
        read_settings(Kind, path)


def test_depth_that_is_allowed(tmp_path):
    deep = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_yaml(deep, tmp_path).a == eval(deep[3:])
    with pytest.raises(UsageError, match=f"nested too deeply: keep to {MAX_DEPTH} levels"):
        parse_yaml(deep.replace("[]", "[[]]"), tmp_path)


@pytest.mark.parametrize("value", ["null", "???", "!!timestamp x", "!!int ''", "${", "1e400", ".nan", "3.5"])
def test_a_seed_is_a_number(value, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"seed_everything: {value}\n")
    for argument in (f"--config={path}", f"--seed_everything={value}"):
        with pytest.raises(UsageError) as caught:
            parse(all_runs()[0], "nano", argument)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "!!int ''", "!!bool 3", "${", "[" * 400 + "]" * 400, "{a: 1, a: 2}"]
)
def test_values_of_the_command_line_are_yaml_too(value):
    args = argparse.Namespace(set=[f"num_samples={value}"], metrics=None, config=None)
    with pytest.raises(UsageError, match=r"--set: .*give KEY=VALUE") as caught:
        protocol_settings("ucf101", args)
    assert len(str(caught.value).splitlines()) == 1
