"""FSDP2 as a strategy of Lightning's."""

from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.fsdp._fully_shard import FSDPModule
from torch.optim import Optimizer

from ..units import find_units
from .files import read_sharded, save_sharded

STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class FSDP2Strategy(ModelParallelStrategy):
    """Divides all weights by rows among the processes (Zhao et al., 2023; ``torch.distributed.fsdp``).

    A unit's weights (see ``find_units``) are put together just before they are used. Lightning's class leaves
    the sharding to the module, and by default shards nothing on one machine.

    Checkpoints are folders, see ``save_sharded``, or read from the file of a run without sharding.

    Args:
        num_replicas: Groups of processes that each hold all parts. With 1, all processes share one copy. With
            the number of machines, weights are put together within a machine alone.
        kwargs: See ``ModelParallelStrategy``.
    """

    def __init__(self, num_replicas: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_replicas = num_replicas

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether ``load_optimizer_state_dict`` is to be called."""
        return True

    def setup_environment(self) -> None:
        """Connects the processes."""
        self._setup_distributed()
        kind, names = self.root_device.type, ("replicate", "shard")
        shape = (self.num_replicas, self.world_size // self.num_replicas)
        skip = self.num_replicas == 1
        self._device_mesh = init_device_mesh(kind, shape[skip:], mesh_dim_names=names[skip:])

    def setup(self, trainer: Trainer) -> None:
        """Shards the module, and makes its optimizer."""
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        shard_module(self.model, self.device_mesh, self.precision_plugin.precision)
        self.model_to_device()  # what is not sharded
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Makes the optimizer; where whole tensors and parts of some meet, it takes them one by one."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if any(p.ndim == 0 for p in group["params"]):
                    group.update({key: False for key in ("foreach", "fused") if key in group})

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Returns the state of the module; its tensors are parts."""
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Returns the state of an optimizer as without sharding, but that its tensors are parts."""
        return Strategy.optimizer_state(self, optimizer)

    def load_model_state_dict(self, checkpoint: Any, strict: bool = True) -> None:
        """Loads the state of the module."""
        Strategy.load_model_state_dict(self, checkpoint, strict)

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        """Loads the state of the optimizers."""
        Strategy.load_optimizer_state_dict(self, checkpoint)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Writes a folder; all processes call this. See ``save_sharded``."""
        save_sharded(checkpoint, Path(self.broadcast(str(filepath))), self)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a folder or a file; its tensors are parts where those of the module are."""
        path = Path(self.broadcast(str(checkpoint_path)))
        return read_sharded(path, self.lightning_module, self.optimizers, self.device_mesh)


def is_sharding(trainer: Trainer) -> bool:
    """Whether a trainer shards its module."""
    return isinstance(trainer.strategy, FSDP2Strategy)


def shard_module(module: nn.Module, mesh: DeviceMesh, precision: str) -> None:
    """Shards a module in place, unit by unit, so that no device ever holds all of it.

    All processes get the weights of the first one. Parameters without a dimension stay whole; their gradients
    are averaged.

    Args:
        module: Stage; what is around its units is gathered for the time of a step.
        mesh: Processes, ``("shard",)`` or ``("replicate", "shard")``.
        precision: Lightning's name. With ``bf16-mixed``, units are gathered in bf16; weights and the sums of
            gradients stay in fp32.
    """
    dtype = torch.bfloat16 if precision == "bf16-mixed" else None
    policy = MixedPrecisionPolicy(dtype, torch.float32 if dtype else None, cast_forward_inputs=False)
    scalars = {p for p in module.parameters() if p.ndim == 0}
    units = [unit for unit in find_units(module) if unit is not module]
    seen: set[int] = set()
    for unit in units:
        _unify(unit, mesh, seen)
        last = unit is units[-1]  # its backward pass comes at once
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=not last, ignored_params=scalars)
    _unify(module, mesh, seen)
    fully_shard(module, mesh=mesh, ignored_params=scalars)
    for scalar in scalars:
        if scalar.requires_grad:
            scalar.register_post_accumulate_grad_hook(_average)
    for name in STEPS:  # Lightning calls these, not forward
        register_fsdp_forward_method(module, name)


def reshard(module: nn.Module) -> None:
    """Frees weights that are put together: after a change of the parts they would be old."""
    for child in module.modules():
        if isinstance(child, FSDPModule):
            child.reshard()


@torch.no_grad()
def _unify(module: nn.Module, mesh: DeviceMesh, seen: set[int]) -> None:
    """Moves tensors to the device, in the layout that FSDP2 takes, and makes them equal on all processes."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if id(tensor) not in seen and type(tensor) in (nn.Parameter, torch.Tensor):
            seen.add(id(tensor))
            tensor.data = tensor.data.to(mesh.device_type).contiguous()
            torch.distributed.broadcast(tensor.data, src=0)


def _average(parameter: torch.Tensor) -> None:
    """Averages a gradient over all processes; of what it held before, all had the same."""
    assert parameter.grad is not None
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= torch.distributed.get_world_size()
