"""Generates the samples of a protocol with Lightning, on any number of devices."""

import logging
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from ...cascade import Cascade
from ...data.codecs.pixels import to_uint8
from ...models.sampling import Sampling
from ...stage_table import stages, video_stages
from ...utils.console import stage_progress
from ...utils.errors import UsageError, first_line
from .items import Item
from .real import window_of
from .settings import ProtocolSettings
from .store import SampleStore


class SampleModule(LightningModule):
    """Generates the missing items, one at a time; each device takes its share.

    Without batches a sample depends on its item alone, not on other items in a batch or on the number of
    devices. A single video of the cascade fills a GPU.

    Args:
        cascade: The cascade to sample from.
        items: All items of the protocol.
        store: Where samples go.
        settings: Settings of the protocol.
    """

    def __init__(
        self, cascade: Cascade, items: list[Item], store: SampleStore, settings: ProtocolSettings
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a device may have nothing left to do
        self.cascade = cascade
        self.items, self.store, self.settings = items, store, settings
        self.missing: list[int] = []

    def predict_dataloader(self) -> DataLoader:
        """Returns the numbers of this device's items."""
        # Only the first process looks, and tells the others: later it may already have added samples.
        missing = list[int]()
        if self.trainer.is_global_zero:
            self.store.lock()
            done = self.store.recover()
            missing = [item.id for item in self.items if item.id not in done]
        self.missing = self.trainer.strategy.broadcast(missing)
        share: Any = self.missing[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(share, batch_size=1, shuffle=False)

    def predict_step(self, batch: Tensor, batch_idx: int) -> None:
        """Generates an item and writes it to disk."""
        item = self.items[int(batch)]
        video, fps = generate(self.cascade, item, self.settings)
        self.store.add(item, to_uint8(video), fps)

    def teardown(self, stage: str) -> None:
        """Completes the shards of this device and waits for the others, even if it had nothing to do."""
        self.store.flush()
        self.trainer.strategy.barrier()


def generate(cascade: Cascade, item: Item, settings: ProtocolSettings) -> tuple[Tensor, float]:
    """Generates the window of an item's frames that is kept.

    If the last stage works frame by frame, it runs only on the frames that are kept.

    Returns:
        The video ``(3, F, H, W)`` in [-1, 1] and its frame rate.
    """
    sampling = Sampling(item.seed, item.prompt, settings.steps, settings.guidance_scale)
    embed = cascade.embed([item.prompt], sampling)
    spec, names = stages()[settings.until], video_stages()
    until = names[names.index(spec.name) - 1] if spec.frame_by_frame else spec.name
    made = cascade.render(
        embed, fps=settings.fps, frame_skip=settings.frame_skip, until=until, sampling=sampling
    )
    video = window_of(made.video[0, :, :: settings.stride], settings.num_frames, item.seed)[None]
    if spec.frame_by_frame:
        known = {"video": video.to(cascade.device), "image_embed": embed, "fps": settings.video_fps}
        given: dict[str, Any] = {name: known[name] for name in spec.inputs}
        video = cascade.run(spec.name, sampling, **given).cpu()
    return video[0], settings.video_fps


def make_trainer(**options: Any) -> Trainer:
    """Builds the Trainer for generation, without Lightning's own output.

    Args:
        options: ``accelerator``, ``devices``, ``strategy``, ``num_nodes`` of Lightning's Trainer.

    Raises:
        UsageError: If this machine has no such devices, or there is no such strategy.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:  # not the logger, which others may listen to
            handler.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # its advice on data loaders does not apply here
    try:
        return Trainer(
            **options,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            callbacks=[_Progress()],
        )
    except (MisconfigurationException, ValueError, TypeError, OverflowError, RuntimeError) as error:
        asked = ", ".join(f"{name}={value}" for name, value in options.items())
        raise UsageError(f"{asked}: not usable here ({first_line(error)}); choose others") from error


class _Progress(Callback):
    """Shows the progress of all devices, assuming that each is as far as the first."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._progress: Callable[[str, int, int], None] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SampleModule)
        self._total, missing = len(pl_module.items), len(pl_module.missing)
        if trainer.is_global_zero and missing:
            self._before = self._total - missing
            self._progress = self._open.enter_context(stage_progress("generating"))
            self._progress("samples", self._before, self._total)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._progress is not None:
            done = self._before + (batch_idx + 1) * trainer.world_size
            self._progress("samples", min(done, self._total), self._total)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._open.close()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open.close()
