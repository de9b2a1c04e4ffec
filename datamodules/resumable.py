"""The position of training in its data, as checkpoints store it, and the samples that were skipped."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_mav.datamodules.batches import FAILED, SKIPPED, Batch, Batches, Plan
from lightning_mav.datamodules.ledger import Ledger
from lightning_mav.utils.errors import UsageError


class Resumable(LightningDataModule):
    """Counts the samples that were trained on, so that a resumed run continues with the next one.

    Batches that reading processes have prepared but training has not used do not count.
    """

    kind: str  # of the samples: part of the name of the file that lists the skipped ones
    batch_size: int

    def __init__(self) -> None:
        super().__init__()
        self.start = {"num_samples": 0, "global_step": 0}  # where this run started or was resumed
        self.plan: Plan | None = None
        self.stream: Batches | None = None
        self.ledger: Ledger | None = None
        self.num_received = 0

    def follow(self, plan: Plan, batches: Batches) -> None:
        """Starts counting the batches of a new stream."""
        self.plan, self.stream, self.num_received = plan, batches, 0
        num_samples = len(batches.order)  # type: ignore[arg-type]
        if self.ledger is None or self.ledger.num_samples != num_samples:
            self.ledger = Ledger(num_samples)

    def num_consumed(self) -> int:
        """Returns how many samples all ranks together have trained on since the start of training."""
        if self.trainer is None:
            return 0
        num_steps = self.trainer.global_step - self.start["global_step"]
        return self.start["num_samples"] + num_steps * self.per_step

    @property
    def per_step(self) -> int:
        """How many samples all ranks together train on in a step."""
        accumulate = 1 if self.trainer is None else self.trainer.accumulate_grad_batches
        return accumulate * self.batch_size * self.rank_and_world_size()[1]

    def state_dict(self) -> dict[str, Any]:
        """Returns how far training has come, without batches that reading processes have prepared ahead."""
        step = 0 if self.trainer is None else self.trainer.global_step
        ledger = {} if self.ledger is None else self._written(self.ledger.gathered()).state_dict()
        state = {"num_samples": self.num_consumed(), "global_step": step, "ledger": ledger}
        return {**state, "per_step": self.per_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from the position that a checkpoint holds."""
        self.start = {name: state_dict[name] for name in self.start}
        before = state_dict.get("per_step", self.per_step)  # absent in older checkpoints
        if before != self.per_step:
            rank_zero_warn(
                f"a step takes {self.per_step} {self.kind}s now, {before} before: their order stays; "
                "to keep the steps, too, set --global_batch as it was"
            )
        if state_dict["ledger"]:
            self.ledger = Ledger.from_state_dict(state_dict["ledger"])
            if self.rank_and_world_size()[0]:  # only rank 0 keeps the counts of all ranks
                self.ledger = Ledger(self.ledger.num_samples)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Counts a training batch in the ledger."""
        return self.receive(batch) if self.trainer is not None and self.trainer.training else batch

    def receive(self, batch: Batch) -> Batch:
        """Counts a batch in the ledger, and returns it without the list of skipped positions.

        Raises:
            UsageError: If a reading process had an error and stopped.
        """
        if FAILED in batch:
            raise UsageError(batch[FAILED])
        if self.plan is None or self.ledger is None:
            return batch
        self.ledger.add(self.plan.positions(self.num_received), batch.get(SKIPPED, {}), self._name_at)
        self.num_received += 1
        size = self.plan.batch_size * self.plan.world_size
        end = self.plan.first_sample + self.num_received * size
        for number in range((end - size) // self.ledger.num_samples, end // self.ledger.num_samples):
            rank_zero_info(self._written(self.ledger.gathered()).line(number))
        return {key: value for key, value in batch.items() if key != SKIPPED}

    def _name_at(self, position: int) -> str:
        """Names the sample at a position."""
        assert self.stream is not None
        return self.stream.name(self.stream.order(position))

    def _written(self, ledger: Ledger) -> Ledger:
        """Lists skipped samples in a file of the run's folder, and returns the ledger of all ranks."""
        if self.trainer is not None and self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir)
            if folder.resolve() != Path.cwd():  # the folder of a run without one of its own
                ledger.write(folder / f"skipped_{self.kind}s.json")
        return ledger

    def rank_and_world_size(self) -> tuple[int, int]:
        """Returns the rank of this process, and how many there are."""
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
