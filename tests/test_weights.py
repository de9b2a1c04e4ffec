"""Weights files: round trip, checksums, and errors that say what to do."""

import json

import pytest
import torch
from safetensors.torch import save_file
from test_models import tiny_decoder

from lightning_mav import weights
from lightning_mav.errors import UsageError
from lightning_mav.weights import find_weights, load_weights, read_training, save_weights, sha256


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


def test_checksums_stand_beside_the_files(tmp_path):
    paths = [save_weights(tiny_decoder(), tmp_path / f"{name}.safetensors") for name in ("b", "a")]
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{sha256(path)}  {path.name}" for path in reversed(paths)]
    assert {path.name for path in tmp_path.iterdir()} == {"SHA256SUMS", "a.safetensors", "b.safetensors"}


def test_any_flipped_bit_is_noticed(tmp_path):
    path = save_weights(tiny_decoder(), tmp_path / "decoder.safetensors")
    content = bytearray(path.read_bytes())
    for place in torch.randint(len(content), (20,)).tolist():
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"decoder.safetensors is not usable .*STAGE=decoder"):
            load_weights(path)
        content[place] ^= 1


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x04pickle"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "sr_h.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"sr_h.safetensors is not usable"):
        load_weights(path)


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
    monkeypatch.setattr(weights, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(UsageError, match="make train-stage STAGE=sr_lt PHASE=image SCALE=nano"):
        find_weights("nano/sr_lt_image")
    shipped = save_weights(tiny_decoder(), tmp_path / "shipped" / "nano" / "sr_lt.safetensors")
    assert find_weights("sr_lt_image", "nano") == shipped  # shipped once, as it was after the videos
    own = save_weights(tiny_decoder(), tmp_path / "outputs" / "nano" / "weights" / "sr_lt_image.safetensors")
    assert find_weights("nano/sr_lt_image") == own
    assert find_weights(str(shipped)) == shipped
