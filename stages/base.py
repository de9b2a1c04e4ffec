"""What all stages share: the training step, the optimizer, validation and the panels in TensorBoard."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_mav.models import DiffusionModel
from lightning_mav.stages.muon import Muon
from lightning_mav.stages.old_checkpoints import bring_up_to_date
from lightning_mav.stages.panels import log_panel
from lightning_mav.utils.errors import UsageError
from lightning_mav.utils.numbers import Checked, check_number
from lightning_mav.utils.shards import clip_grad_norm, clip_grad_value, local

Batch = dict[str, Any]
RateSchedule = Literal["cosine", "constant"]


class Stage(LightningModule, Checked):
    """A module that is trained by itself, by AdamW or Muon.

    ``--optimizer`` on the command line replaces both optimizer and schedule.

    Args:
        model: Model to train; it is written as the stage's weights.
        lr: Peak learning rate.
        lr_schedule: What comes after the warm-up: a cosine down to a twentieth of the peak at
            ``trainer.max_steps``, or a constant rate.
        warmup_steps: Steps until the peak, with a rate that grows linearly; 0 starts at the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
        adam_eps: Epsilon of AdamW.
        muon: Whether matrices and convolutions are trained by Muon instead of AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 1e-4,
        lr_schedule: RateSchedule = "cosine",
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
        adam_eps: float = 1e-8,
        muon: bool = False,
    ) -> None:
        super().__init__()
        check_number("lr", lr, 0)
        if lr_schedule not in get_args(RateSchedule):
            raise ValueError(f"lr_schedule must be one of {get_args(RateSchedule)}, got {lr_schedule!r}")
        check_number("warmup_steps", warmup_steps, 0)
        check_number("weight_decay", weight_decay, 0)
        check_number("beta_2", beta_2, 0, 1)
        check_number("adam_eps", adam_eps, 0)
        self.model = model
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.warmup_steps = warmup_steps
        self.weight_decay = weight_decay
        self.beta_2 = beta_2
        self.adam_eps = adam_eps
        self.muon = muon

    @property
    def optimizer_class(self) -> type[AdamW] | type[Muon]:
        """Class of the optimizer, unless ``--optimizer`` names another."""
        return Muon if self.muon else AdamW

    def configure_optimizers(self) -> Any:
        """Returns the optimizer and its schedule; without ``trainer.max_steps`` the rate is not lowered."""
        settings: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        settings |= {"betas": (0.9, self.beta_2), "eps": self.adam_eps}
        if not self.muon:
            settings["fused"] = not self._has_scaled_gradients
        optimizer = self.optimizer_class(self.parameter_groups(), **settings)
        schedule = LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the parameters to train, in groups for the optimizer."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Brings a checkpoint of an earlier version up to date before it is loaded."""
        super().on_load_checkpoint(checkpoint)
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        groups = [
            [names[id(parameter)] for parameter in group["params"]] for group in self.parameter_groups()
        ]
        bring_up_to_date(checkpoint, groups, [*names.values()])

    def _rate(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.lr_schedule == "constant" or self.trainer.max_steps <= 0:
            return warmup
        progress = min(1.0, step / self.trainer.max_steps)
        return warmup * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Counts NaN and infinities in the batches of a step, for the message if its gradient is bad."""
        super().on_train_batch_start(batch, batch_idx)
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._num_bad: dict[str, Tensor] = {}
            self._largest = torch.zeros((), device=self.device)
        for name, value in _numbers_of(batch):
            self._num_bad[name] = self._num_bad.get(name, 0) + (~torch.isfinite(value)).sum()
            self._largest = torch.maximum(self._largest, torch.linalg.vector_norm(value, math.inf).float())

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradient's norm and logs it.

        Lightning refuses to clip beside a fused optimizer, though only fp16 gradients are scaled.

        Raises:
            UsageError: If the gradient is not finite: it must not reach the weights.
        """
        if self._has_scaled_gradients:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        by_norm = gradient_clip_algorithm in (None, "norm")
        limit = (gradient_clip_val or math.inf) if by_norm else math.inf
        norm = clip_grad_norm(self.parameters(), limit)
        if not torch.isfinite(norm):
            raise UsageError(self._blame())
        if not by_norm and gradient_clip_val:
            clip_grad_value(self.parameters(), gradient_clip_val)
        self.log("train/grad_norm", norm)

    def _blame(self) -> str:
        """Says why the gradient is not finite: the data of any rank, or else the learning rate."""
        reduce = self.trainer.strategy.reduce
        bad = {name: int(reduce(num, reduce_op="sum")) for name, num in self._num_bad.items()}
        largest = float(reduce(self._largest, reduce_op="max"))
        what = f"the gradient is not finite at step {self.global_step}"
        kept = "checkpoints up to here are kept"
        if counts := ", ".join(f"{num} in {name}" for name, num in bad.items() if num):
            return f"{what}: numbers of its batch are NaN or infinite ({counts}): mend the data; {kept}"
        return (
            f"{what}, though all numbers of its batch are, up to {largest:.2g} in size: lower --model.lr, or "
            f"train with --trainer.precision=32-true; {kept}"
        )

    @property
    def is_sharded(self) -> bool:
        """Whether other processes hold parts of the network."""
        return any(local(parameter) is not parameter for parameter in self.parameters())

    @property
    def _has_scaled_gradients(self) -> bool:
        return self.trainer.precision == "16-mixed"


def _numbers_of(batch: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors of a batch that may hold NaN, with their keys."""
    if isinstance(batch, dict):
        for key, value in batch.items():
            yield from _numbers_of(value, f"{name}.{key}" if name else key)
    elif isinstance(batch, Tensor) and batch.is_floating_point():
        yield name, batch


class DiffusionStage(Stage):
    """A stage that is trained to denoise.

    A batch holds images, videos, or both (``{"video": {...}, "image": {...}}``). With both, the loss is that
    of the videos plus ``image_weight`` times that of the images, so that what only images show is kept.

    Args:
        model: Network, diffusion and sampler.
        image_weight: Weight of the images beside the videos.
        num_samples: Samples drawn for TensorBoard after each validation.
        kwargs: See ``Stage``.
    """

    model: DiffusionModel

    def __init__(
        self, model: DiffusionModel, *, image_weight: float = 0.25, num_samples: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(model, **kwargs)
        check_number("image_weight", image_weight, 0)
        check_number("num_samples", num_samples, 0)
        self.image_weight = image_weight
        self.num_samples = num_samples

    @abstractmethod
    def prepare(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Returns ``x_0`` of a batch of one kind, and the conditions for the network."""

    @abstractmethod
    def sample_like(self, batch: Batch) -> dict[str, Tensor]:
        """Returns videos ``(n, 3, F, H, W)`` for TensorBoard by name: real ones, a baseline, and samples."""

    def loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch of one kind, a scalar."""
        x_0, cond = self.prepare(batch)
        return self.model.loss(x_0, **cond)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch, and logs it."""
        if isinstance(batch.get("video"), dict):
            video, image = self.loss(batch["video"]), self.loss(batch["image"])
            self.log_dict({"train/video_loss": video, "train/image_loss": image}, batch_size=1)
            loss = video + self.image_weight * image
        else:
            loss = self.loss(batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the loss at fixed noise; draws samples with the conditions of the first batch."""
        batch = batch["video"] if isinstance(batch.get("video"), dict) else batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            size = len(next(value for value in batch.values() if isinstance(value, Tensor)))
            self.log("val/loss", self.loss(batch), prog_bar=True, batch_size=size, sync_dist=True)
            # A sharded network is put together by all processes, or none.
            takes_part = self.trainer.is_global_zero or self.is_sharded
            if batch_idx == 0 and self.num_samples and takes_part:
                self.log_samples({key: value[: self.num_samples] for key, value in batch.items()})

    def log_samples(self, batch: Batch) -> None:
        """Draws samples like a batch, and puts them into TensorBoard beside what they are compared with."""
        rows = {name: video.float().cpu() for name, video in self.sample_like(batch).items()}
        if not self.trainer.is_global_zero:
            return
        captions = batch.get("text") or [f"{fps:.3g} fps" for fps in batch.get("fps", [])]
        for logger in self.loggers:
            log_panel(logger, "samples", rows, self.global_step, captions)
