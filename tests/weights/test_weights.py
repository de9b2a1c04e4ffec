"""Weights files: round trip, checksums, and errors that say what to do."""

import functools
import inspect
import json
import shutil
import warnings

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from helpers.nets import tiny_decoder
from helpers.places import ROOT
from lightning_mav import weights
from lightning_mav.cascade import Cascade
from lightning_mav.cli import main
from lightning_mav.cli.weights import main as check
from lightning_mav.prompts import read_known
from lightning_mav.stage_table import DEFAULT_WEIGHTS
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import (
    find_weights,
    load_weights,
    places,
    read_checksums,
    read_training,
    save_weights,
    sha256,
    weights_files,
)


def test_round_trip_keeps_the_function(tmp_path):
    decoder = tiny_decoder()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = save_weights(decoder, tmp_path / "decoder.safetensors", training={"step": 7})
    loaded = load_weights(path)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, tensor in decoder.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.half().float())
    assert loaded.config == decoder.config
    assert read_training(path) == {"step": 7}


def test_a_setting_of_another_version_is_named_unless_it_was_off(tmp_path):
    decoder, path = tiny_decoder(), tmp_path / "decoder.safetensors"
    decoder.config["init_args"]["still_strength"] = None
    assert load_weights(save_weights(decoder, path)).config == tiny_decoder().config
    decoder.config["init_args"]["still_strength"] = 0.8
    with pytest.raises(UsageError, match="Decoder has no still_strength: another version of lightning-mav"):
        load_weights(save_weights(decoder, path))


def test_checksums_stand_beside_the_files(tmp_path):
    paths = [save_weights(tiny_decoder(), tmp_path / f"{name}.safetensors") for name in ("b", "a")]
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{sha256(path)}  {path.name}" for path in reversed(paths)]
    assert {path.name for path in tmp_path.iterdir()} == {"SHA256SUMS", "a.safetensors", "b.safetensors"}


def header_size(path):
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


@pytest.mark.parametrize("load", [load_weights, read_training])
@pytest.mark.parametrize("with_checksums", [True, False])
def test_any_flipped_bit_is_noticed(tmp_path, with_checksums, load):
    path = save_weights(tiny_decoder(), tmp_path / "decoder.safetensors", training={"step": 2800})
    if not with_checksums:
        (tmp_path / "SHA256SUMS").unlink()
    load(path)
    content, header = bytearray(path.read_bytes()), header_size(path)
    known = [
        content.index(word) for word in (b"digest", b"config", b"training", b"__metadata__", b"F16", b"2800")
    ]
    anywhere = [*torch.randint(header, (60,)).tolist(), *torch.randint(header, len(content), (20,)).tolist()]
    for place in [0, 7, header - 1, header, len(content) - 1, *known, *anywhere]:
        for bit in range(8) if place in known else (0, 5):
            content[place] ^= 1 << bit
            path.write_bytes(content)
            with pytest.raises(UsageError, match=r"decoder.safetensors is not usable .*STAGE=decoder"):
                load(path)
            content[place] ^= 1 << bit


def test_same_module_gives_the_same_file(tmp_path):
    decoder = tiny_decoder()
    paths = [save_weights(decoder, tmp_path / f"{i}.safetensors", training={"step": 1}) for i in range(5)]
    assert len({path.read_bytes() for path in paths}) == 1  # the order of a Rust HashMap is another each time
    content = paths[0].read_bytes()[8 : header_size(paths[0])]
    header = json.loads(content)
    assert list(header) == sorted(header)
    assert list(header["__metadata__"]) == ["config", "digest", "training"]
    # Every reader of the format can read it.
    tensors = load_file(paths[0])
    assert tensors.keys() == decoder.state_dict().keys()


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_floats_are_stored_as_asked_for_and_loaded_in_single_precision(tmp_path, dtype):
    decoder = tiny_decoder()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = save_weights(decoder, tmp_path / "decoder.safetensors", dtype=dtype)
    kind = weights.DTYPES[dtype]
    assert {tensor.dtype for tensor in load_file(path).values()} == {kind}
    for name, tensor in load_weights(path).state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, decoder.state_dict()[name].to(kind).float())


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dtype must be one of fp16, bf16, fp32, got 'float16'"):
        save_weights(tiny_decoder(), tmp_path / "decoder.safetensors", dtype="float16")


def test_what_a_type_cannot_hold_is_not_stored(tmp_path):
    path = save_weights(tiny_decoder(), tmp_path / "decoder.safetensors")
    before, decoder = path.read_bytes(), tiny_decoder()
    decoder.net.conv_in.spatial.weight.data[0, 0, 0, 0] = -1e5  # beyond 65504
    with pytest.raises(
        ValueError, match=r"net.conv_in.spatial.weight has numbers up to 1e\+05, more than fp16"
    ):
        save_weights(decoder, path)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"decoder.safetensors", "SHA256SUMS"}
    for dtype in ("bf16", "fp32"):
        save_weights(decoder, path, dtype=dtype)
        assert load_weights(path).net.conv_in.spatial.weight.min().item() == pytest.approx(-1e5, rel=1e-2)


@pytest.mark.parametrize(("value", "change"), [(1e-9, "100.0%"), (1e-30, "100.0%"), (1e-7, "19.2%")])
def test_what_a_type_rounds_away_is_said(tmp_path, value, change):
    decoder = tiny_decoder()
    decoder.net.conv_in.spatial.bias.data.fill_(value)
    with pytest.warns(
        UserWarning, match=f"1 tensors .* too small for fp16: .*conv_in.spatial.bias by {change}"
    ):
        save_weights(decoder, tmp_path / "decoder.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_weights(decoder, tmp_path / "decoder.safetensors", dtype="bf16")
        save_weights(tiny_decoder(), tmp_path / "decoder.safetensors")


def test_tensors_that_share_memory_are_each_stored(tmp_path):
    decoder = tiny_decoder()
    first, second = decoder.net.mid_block
    second.resnet.norm1 = first.resnet.norm1
    path = save_weights(decoder, tmp_path / "decoder.safetensors", dtype="fp32")
    loaded = load_weights(path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in decoder.state_dict().items())


def test_files_without_a_digest_are_read(tmp_path):
    decoder = tiny_decoder()
    path = tmp_path / "decoder.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in decoder.state_dict().items()}
    metadata = {"config": json.dumps(decoder.config), "training": json.dumps({"step": 3})}
    save_file(tensors, path, metadata)
    assert load_weights(path).config == decoder.config
    assert read_training(path) == {"step": 3}
    save_file(tensors, path, metadata | {"diges4": "0" * 64})
    with pytest.raises(UsageError, match="unknown entry 'diges4'"):
        load_weights(path)
    save_file(tensors, path)
    with pytest.raises(UsageError, match="its header has no config"):
        load_weights(path)


def test_shipped_weights_have_a_digest(tmp_path):
    for path in (weights.SHIPPED / "micro").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert len(file.metadata()["digest"]) == 64
        copy = shutil.copy(path, tmp_path)  # no SHA256SUMS beside it
        assert read_training(copy)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x04pickle"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "sr_h.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"sr_h.safetensors is not usable"):
        load_weights(path)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    decoder = tiny_decoder()
    next(decoder.parameters()).data.view(-1)[-1] = torch.nan
    path = save_weights(decoder, tmp_path / "decoder.safetensors")
    with pytest.raises(UsageError, match=r"decoder\.safetensors is not usable \(.* holds NaN\): fetch it"):
        load_weights(path)


def test_commands_warn_in_one_plain_line(monkeypatch, capsys):
    warn = functools.partial(warnings.warn, "numbers\ntoo small")
    monkeypatch.setattr("lightning_mav.cli.weights._list", lambda _: warn())
    check(["list"])
    assert capsys.readouterr().err == "mav: warning: numbers\\ntoo small\n"


def test_file_cannot_name_other_code(tmp_path):
    path = tmp_path / "prior.safetensors"
    config = {"class_path": "os.system", "init_args": {"command": f"touch {tmp_path}/executed"}}
    save_file({"a": torch.zeros(1)}, path, metadata={"config": json.dumps(config)})
    with pytest.raises(UsageError, match="only name classes of lightning_mav"):
        load_weights(path)
    assert not (tmp_path / "executed").exists()


def test_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UsageError, match="make train-stage STAGE=decoder PHASE=image"):
        load_weights(tmp_path / "decoder_image.safetensors")


def test_own_weights_come_before_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(places, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(UsageError, match="make train-stage STAGE=sr_lt PHASE=image SCALE=nano"):
        find_weights("nano/sr_lt_image")
    shipped = save_weights(tiny_decoder(), tmp_path / "shipped" / "nano" / "sr_lt.safetensors")
    assert find_weights("sr_lt_image", "nano") == shipped  # shipped once, as it was after the videos
    own = save_weights(tiny_decoder(), tmp_path / "outputs" / "nano" / "weights" / "sr_lt_image.safetensors")
    assert find_weights("nano/sr_lt_image") == own
    assert find_weights(str(shipped)) == shipped


def test_check_command_uses_the_digest_where_there_is_no_checksum(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "SHIPPED", tmp_path)
    path = save_weights(tiny_decoder(), tmp_path / "outputs/own/weights/decoder.safetensors")
    (path.parent / "SHA256SUMS").unlink()
    check(["check", "--folder", "nowhere"])
    assert "files have their checksums\n" in capsys.readouterr().out  # none is unknown
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UsageError, match=r"1 of the files are damaged: .*decoder.safetensors .* digest"):
        check(["check", "--folder", "nowhere"])


@pytest.mark.parametrize("form", ["module_paths", "digest"])
def test_files_of_earlier_versions_load(form, tmp_path):
    """With other names of classes and tensors; ``sample`` is what they gave when they were written."""
    folder = ROOT / "tests/helpers/old_weights"
    decoder = load_weights(folder / f"{form}.safetensors")
    assert read_training(folder / f"{form}.safetensors") == {"run": "decoder", "step": 7}
    generator, image_embed = torch.Generator().manual_seed(0), torch.linspace(-1, 1, 4)[None]
    video = decoder.sample(image_embed, torch.tensor([6.0]), generator=generator)
    torch.testing.assert_close(video, load_file(folder / "sample.safetensors")["video"])
    again = load_weights(save_weights(decoder, tmp_path / "decoder.safetensors"))
    assert all(torch.equal(again.state_dict()[key], value) for key, value in decoder.state_dict().items())


def test_weights_that_are_meant_where_none_are_named_are_the_same_everywhere(capsys):
    for function, name in (
        (Cascade.from_pretrained, "name_or_dir"),
        (weights_files, "name_or_dir"),
        (find_weights, "scale"),
    ):
        assert inspect.signature(function).parameters[name].default == DEFAULT_WEIGHTS
    for command, name in (
        ("generate", DEFAULT_WEIGHTS),
        ("evaluate prompts", DEFAULT_WEIGHTS),
        ("evaluate", "BENCH"),
    ):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        assert f"scale, or folder of weights (default: {name})" in " ".join(capsys.readouterr().out.split())
    assert (weights.SHIPPED / DEFAULT_WEIGHTS).is_dir()


@pytest.mark.parametrize(
    "name", sorted({path.parent.name for path in weights.SHIPPED.glob("*/*.safetensors")})
)
def test_shipped_weights_are_whole(name):
    folder = weights.SHIPPED / name
    assert all(path.is_file() for path in weights_files(folder).values())
    assert set(read_checksums(folder)) == {path.name for path in folder.glob("*.safetensors")}
    assert (folder / "README.md").is_file()
    read_known(folder)
