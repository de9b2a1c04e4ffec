"""How far training has come in its data: what a checkpoint says of it, and which samples were skipped."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info

from lightning_mav.datamodules.batches import FAILED, SKIPPED, Batch, Batches, Plan
from lightning_mav.datamodules.ledger import Ledger
from lightning_mav.utils.errors import UsageError


class Resumable(LightningDataModule):
    """Counts the samples that were trained on, so that a resumed run goes on with those that come next.

    Batches that reading processes have made ahead do not count.
    """

    kind: str  # of the samples, in the name of the file that lists those that were skipped
    batch_size: int

    def __init__(self) -> None:
        super().__init__()
        self.start = {"num_samples": 0, "global_step": 0}  # of the run, or of what it was resumed from
        self.plan: Plan | None = None
        self.stream: Batches | None = None
        self.ledger: Ledger | None = None
        self.num_received = 0

    def follow(self, plan: Plan, batches: Batches) -> None:
        """Counts the batches of a stream from its beginning on."""
        self.plan, self.stream, self.num_received = plan, batches, 0
        num_samples = len(batches.order)  # type: ignore[arg-type]
        if self.ledger is None or self.ledger.num_samples != num_samples:
            self.ledger = Ledger(num_samples)

    def num_consumed(self) -> int:
        """Returns how many samples all ranks together have trained on since the start of training."""
        if self.trainer is None:
            return 0
        num_steps = self.trainer.global_step - self.start["global_step"]
        _, world_size = self.rank_and_world_size()
        per_step = self.trainer.accumulate_grad_batches * self.batch_size * world_size
        return self.start["num_samples"] + num_steps * per_step

    def state_dict(self) -> dict[str, Any]:
        """Returns what has been trained on, not what reading processes have made beyond it."""
        step = 0 if self.trainer is None else self.trainer.global_step
        ledger = {} if self.ledger is None else self._written(self.ledger.gathered()).state_dict()
        return {"num_samples": self.num_consumed(), "global_step": step, "ledger": ledger}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what a checkpoint says has been trained on."""
        self.start = {name: state_dict[name] for name in self.start}
        if state_dict["ledger"]:
            self.ledger = Ledger.from_state_dict(state_dict["ledger"])
            if self.rank_and_world_size()[0]:  # what all have done stands in one process's ledger alone
                self.ledger = Ledger(self.ledger.num_samples)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Enters a training batch into the ledger."""
        return self.receive(batch) if self.trainer is not None and self.trainer.training else batch

    def receive(self, batch: Batch) -> Batch:
        """Takes out of a batch what is not for the stage: what was skipped, or why there is none.

        Raises:
            UsageError: If a reading process found that it cannot go on.
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
        """Lists samples that were skipped in a file of the run, and returns the ledger of all ranks."""
        if self.trainer is not None and self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir)
            if folder.resolve() != Path.cwd():  # which is where a run without a folder of its own is
                ledger.write(folder / f"skipped_{self.kind}s.json")
        return ledger

    def rank_and_world_size(self) -> tuple[int, int]:
        """Returns the rank of this process, and how many there are."""
        if self.trainer is not None:
            return self.trainer.global_rank, self.trainer.world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
