"""Checkpoints of sharded runs: whole or not there, checked when they are read, and never run as code."""

import pickle
import re
import resource
import zlib
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh

from lightning_mav.training.callbacks import lay_out
from lightning_mav.training.checkpoints import CheckpointFiles, read_checkpoint, read_newest
from lightning_mav.training.sharding.files import read_whole, save_sharded
from lightning_mav.training.sharding.settings import check_sharing, check_strategy, set_global_batch
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.shards import shard

STRATEGY = SimpleNamespace(broadcast=lambda value: value, is_global_zero=True, global_rank=0)


@pytest.fixture(scope="module")
def mesh():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("shard",))
    distributed.destroy_process_group()


@pytest.fixture
def save(mesh, tmp_path):
    """Saves a step, and returns its folder."""

    def save(step):
        weights = {"weight": shard(torch.full((300, 50), float(step)), mesh), "scale": torch.tensor(2.0)}
        state = {"state_dict": weights, "global_step": step, "optimizer_states": [{"state": {0: weights}}]}
        path = tmp_path / f"step={step:07}.ckpt"
        save_sharded(state, path, STRATEGY)
        return path

    return save


def test_what_is_saved_is_read(save, tmp_path):
    save(1)
    path = save(2)
    found, checkpoint = read_newest(tmp_path)
    assert found == path
    assert checkpoint["global_step"] == 2
    assert checkpoint["state_dict"]["weight"].shape == (300, 50)
    for whole in (read_whole(path), CheckpointFiles().load_checkpoint(path)):
        for weights in (whole["state_dict"], whole["optimizer_states"][0]["state"][0]):
            assert torch.equal(weights["weight"], torch.full((300, 50), 2.0))
            assert weights["scale"] == 2
    assert read_whole(path, only=("global_step",)) == {"global_step": 2}
    assert read_checkpoint(path)["global_step"] == 2


def test_a_step_that_is_saved_again_takes_the_place_of_the_first(save, tmp_path):
    save(3)
    save(3)
    CheckpointFiles().save_checkpoint({"global_step": 3}, tmp_path / "step=0000003.ckpt")
    save(3)
    assert [path.name for path in tmp_path.iterdir()] == ["step=0000003.ckpt"]


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    where = content.find(b"global_step")  # not between two records
    content[where if where > 0 else len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["meta.pt", ".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("damage", [cut, flip, lambda file: file.unlink()], ids=["cut", "flip", "remove"])
def test_damaged_folder_is_passed_over(name, damage, save, tmp_path):
    first, second = save(1), save(2)
    damage(second / name)
    with pytest.warns(UserWarning, match=r"step=0000002.ckpt is damaged .*: falling back"):
        assert read_newest(tmp_path)[0] == first
    damage(first / name)
    with pytest.raises(UsageError, match=r"is no whole checkpoint|is a folder"):
        read_checkpoint(first)


class Code:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("name", ["meta.pt", ".metadata"])
def test_code_is_refused_and_not_run(name, save, tmp_path):
    path, mark = save(1), tmp_path / "mark"
    content = torch.load(path / "meta.pt", weights_only=True)
    if name == "meta.pt":
        torch.save({**content, "code": Code(mark)}, path / name)
    else:
        (path / name).write_bytes(pickle.dumps(Code(mark)))
        written = (path / name).read_bytes()
        content["files"][name] = (len(written), zlib.crc32(written))
        torch.save(content, path / "meta.pt")
    with pytest.raises(UsageError, match="could run code"):
        read_newest(tmp_path)
    with pytest.raises((pickle.UnpicklingError, CheckpointException)):
        read_whole(path)
    assert not mark.exists()


def test_full_disk_is_one_line_and_keeps_what_is_there(save, tmp_path):
    first = save(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(
            UsageError, match=r"step=0000002.ckpt: cannot be written \(File too large\); make room"
        ):
            save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert read_newest(tmp_path)[0] == first


def settings(**kwargs):
    trainer = {"strategy": "fsdp", "precision": "32-true", "accumulate_grad_batches": 1}
    trainer |= {key: kwargs.pop(key) for key in [*kwargs] if key in trainer}
    ema, dirpath = SimpleNamespace(device=kwargs.pop("device", None)), kwargs.pop("dirpath", "folder")
    rest = {"num_replicas": 1, "global_batch": None, **kwargs}
    checkpoint = SimpleNamespace(dirpath=dirpath)
    return SimpleNamespace(trainer=SimpleNamespace(**trainer), ema=ema, checkpoint=checkpoint, **rest)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"strategy": "ddp_spawn"},
            "--trainer.strategy=ddp_spawn keeps the weights to its processes: use ddp",
        ),
        ({"strategy": "deepspeed"}, "--trainer.strategy=deepspeed shards "),
        ({"strategy": "fsdp_cpu_offload"}, "--trainer.strategy=fsdp_cpu_offload shards "),
        ({"strategy": "ddp", "num_replicas": 2}, "--num_replicas=2: is for --trainer.strategy=fsdp alone"),
        ({"precision": "16-mixed"}, "--trainer.precision=16-mixed: fsdp takes 32-true and bf16-mixed"),
        ({"device": "cpu"}, "--ema.device=cpu: with fsdp"),
        ({"dirpath": "s3://bucket"}, "--checkpoint.dirpath=s3://bucket: with fsdp"),
    ],
)
def test_settings_that_do_not_go_with_sharding_are_refused(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        check_strategy(settings(**given))
    check_strategy(settings())


def test_devices_that_cannot_share_are_refused():
    from lightning_mav.training.sharding import FSDP2Strategy

    def trainer(devices):
        return SimpleNamespace(strategy=FSDP2Strategy(), num_devices=devices, num_nodes=1)

    with pytest.raises(UsageError, match="divides the network among devices, and this is one"):
        check_sharing(trainer(1), 1)
    for devices, replicas in ((4, 3), (4, 4), (2, 4)):
        with pytest.raises(
            UsageError, match=f"--num_replicas={replicas}: {devices} devices cannot be divided"
        ):
            check_sharing(trainer(devices), replicas)
    check_sharing(trainer(8), 2)


def test_global_batch_is_divided_or_refused():
    data, trainer = SimpleNamespace(batch_size=4), SimpleNamespace(num_devices=8, num_nodes=2)
    set_global_batch(trainer, data, settings(global_batch=2048))
    assert trainer.accumulate_grad_batches == 32
    set_global_batch(trainer, SimpleNamespace(video=data), settings(global_batch=64))
    assert trainer.accumulate_grad_batches == 1
    with pytest.raises(UsageError, match="--global_batch=100: 16 devices with batches of 4 take 64 samples"):
        set_global_batch(trainer, data, settings(global_batch=100))
    with pytest.raises(UsageError, match="accumulate_grad_batches=3: leave that out"):
        set_global_batch(trainer, data, settings(global_batch=2048, accumulate_grad_batches=3))
    with pytest.raises(UsageError, match="has no batch_size"):
        set_global_batch(trainer, SimpleNamespace(), settings(global_batch=64))


def test_states_are_laid_out_as_their_parameters():
    weights = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    ends = []
    for layout in (torch.channels_last, torch.contiguous_format):
        parameter = torch.nn.Parameter(weights.clone())
        optimizer = torch.optim.AdamW([parameter], fused=True)
        for _ in range(2):
            parameter.grad = 0.1 * torch.arange(weights.numel()).view_as(weights).to(parameter)
            parameter.grad = parameter.grad.to(memory_format=torch.channels_last)
            optimizer.step()
            state = optimizer.state_dict()
            for key in ("exp_avg", "exp_avg_sq"):
                state["state"][0][key] = state["state"][0][key].to(memory_format=layout)
            optimizer.load_state_dict(state)
            lay_out(optimizer)
        ends.append(parameter.detach())
    assert torch.equal(*ends)
