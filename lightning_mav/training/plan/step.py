"""Runs a training step on tensors without content, and counts operations and the bytes in use."""

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ...clip import Clip
from ...utils.precision import PRECISIONS
from .build import batch_of, fill
from .emulation import Decided, as_on_gpu


@dataclass
class Measured:
    """What a step needs on one device.

    Attributes:
        flops: Operations of a forward and backward pass.
        update_flops: Operations of the optimizer.
        states: Parameters, gradients and states of the optimizer, by kind: tensors without content.
        fullest: Bytes by kind, at the moment when the most memory is in use.
    """

    flops: int
    update_flops: int
    states: dict[str, list[Tensor]]
    fullest: dict[str, int]


class Ledger(TorchDispatchMode):
    """Counts operations, and the bytes of existing tensors by kind; keeps the counts of the largest total.

    Operations are counted as torch's ``FlopCounterMode`` does it. That class is not used, because it keeps
    tensors alive that are recomputed in the backward pass.

    A new tensor gets the current value of ``kind`` as its kind. A copy of a parameter in another precision
    gets the kind ``casts``.

    Args:
        shares: Share of the bytes of each kind that a device holds; 1 for kinds that are not named. The
            largest total is found with these shares, but the counts themselves are of all bytes.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        super().__init__()
        self.kind = "activations"
        self.flops = 0
        self.shares = shares
        self.now: Counter[str] = Counter()
        self.fullest: Counter[str] = Counter()
        self.sum = self.most = 0.0
        self._held: dict[int, tuple[weakref.ref, str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls ``func`` and counts the tensors that it returns."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=out)
        is_cast = func is torch.ops.aten._to_copy.default and self._kind_of(args[0]) == "parameters"
        self.enter(
            [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)], "casts" if is_cast else None
        )
        return out

    def enter(self, tensors: Iterable[Tensor], kind: str | None = None) -> None:
        """Counts those tensors whose memory is not counted yet."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._held:
                gone = weakref.ref(storage, partial(self._remove, storage._cdata))
                self._held[storage._cdata] = (gone, kind or self.kind, storage.nbytes())
                self._count(kind or self.kind, storage.nbytes())

    def move(self, tensor: Tensor, kind: str) -> None:
        """Changes the kind of a tensor from now on."""
        self._remove(tensor.untyped_storage()._cdata)
        self.enter([tensor], kind)

    def _kind_of(self, tensor: Tensor) -> str | None:
        found = self._held.get(tensor.untyped_storage()._cdata)
        return found[1] if found else None

    def _remove(self, key: int, _: object = None) -> None:
        _, kind, size = self._held.pop(key, (None, "", 0))
        self._count(kind, -size)

    def _count(self, kind: str, size: int) -> None:
        self.now[kind] += size
        self.sum += size * self.shares.get(kind, 1)
        if self.sum > self.most:
            self.most, self.fullest = self.sum, self.now.copy()


def measure(
    stage: Any, data: Any, *, on_gpu: bool, accumulate: int = 1, shares: Mapping[str, float] | None = None
) -> Measured:
    """Measures a training step of a stage that ``build`` has made; the stage cannot be used again.

    Args:
        stage: Stage.
        data: Its datamodule.
        on_gpu: Whether layers compute as on a GPU.
        accumulate: Batches in a step; with more than one, the gradients exist all the time.
        shares: See ``Ledger``.
    """
    ledger = Ledger(shares or {})
    with FakeTensorMode(), as_on_gpu() if on_gpu else nullcontext(), Decided():
        _prepare(stage)
        batch = batch_of(data)
        optimizer = stage.configure_optimizers()
        optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        _step_once(optimizer, trained, keep=accumulate > 1)
        states = _states(stage, optimizer, trained)
        for kind, tensors in states.items():
            ledger.enter(tensors, kind)
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(lambda p: ledger.move(p.grad, "gradients"))
        ledger.enter([leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)], "activations")
        with ledger:
            with autocast(stage.trainer.precision):
                loss = stage.training_step(batch, 0)
            ledger.kind = "temporaries"
            loss.backward()
            flops = ledger.flops
            ledger.kind = "updates"
            optimizer.step()
    states["gradients"] = [p.grad for p in trained if p.grad is not None]
    return Measured(flops, ledger.flops - flops, states, dict(ledger.fullest))


def autocast(precision: str) -> Any:
    """Returns autocast on the CPU to a precision, named as in ``PRECISIONS``."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def _prepare(stage: Any) -> None:
    """Does what Lightning does before the first step, without files."""
    fill(stage)
    if clip := stage.__dict__.get("clip"):
        fill(clip)
        clip.to = lambda *_: clip  # torch cannot move tensors without content, and need not
    for module in (clip, stage.model):
        if isinstance(module, Clip):  # captions have the greatest length
            module.encode_text = partial(module.encode_text, length=module.context_length)  # type: ignore[method-assign]
    stage.setup("validate")
    stage.train()


def _step_once(optimizer: Any, trained: list[Tensor], keep: bool) -> None:
    """Creates the states of the optimizer by a first step."""
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    if not keep:
        optimizer.zero_grad()


def _states(stage: Any, optimizer: Any, trained: list[Tensor]) -> dict[str, list[Tensor]]:
    clip = stage.__dict__.get("clip")
    frozen = [*clip.parameters(), *clip.buffers()] if clip else []
    return {
        "parameters": [*stage.parameters()],
        "frozen": [*frozen, *stage.buffers()],
        "gradients": [p.grad for p in trained if p.grad is not None],
        "optimiser": [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)],
    }
