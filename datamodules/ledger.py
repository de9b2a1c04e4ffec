"""What became of every sample: read, or skipped for a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import distributed


class Ledger:
    """Counts what became of the samples in each pass over the shards: those read and those skipped are all.

    Args:
        num_samples: Samples of a pass.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.num_done: Counter[int] = Counter()  # by pass
        self.skipped: Counter[tuple[int, str]] = Counter()  # by pass and reason

    def add(self, positions: Iterable[int], skipped: dict[int, str]) -> None:
        """Enters a batch: its positions, and why those that were skipped were."""
        self.num_done.update(position // self.num_samples for position in positions)
        self.skipped.update((position // self.num_samples, reason) for position, reason in skipped.items())

    def reasons(self, number: int) -> Counter[str]:
        """Returns how many samples of a pass were skipped, by reason."""
        return Counter({reason: n for (done, reason), n in self.skipped.items() if done == number})

    def line(self, number: int) -> str:
        """Says in a line what became of a pass."""
        reasons = self.reasons(number)
        num_read = self.num_done[number] - reasons.total()
        text = f"pass {number + 1} over {self.num_samples:,} samples: {num_read:,} read"
        return f"{text}, {reasons.total():,} skipped ({describe(reasons)})" if reasons else text

    def gathered(self) -> Ledger:
        """Returns the ledgers of all ranks as one; all must ask."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        states: list[dict[str, Any]] = [{}] * distributed.get_world_size()
        distributed.all_gather_object(states, self.state_dict())
        total = Ledger(self.num_samples)
        for ledger in map(Ledger.from_state_dict, states):
            total.num_done += ledger.num_done
            total.skipped += ledger.skipped
        return total

    def state_dict(self) -> dict[str, Any]:
        """Returns plain numbers and words, for a checkpoint."""
        skipped = [[number, reason, n] for (number, reason), n in self.skipped.items()]
        return {"num_samples": self.num_samples, "num_done": dict(self.num_done), "skipped": skipped}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Ledger:
        """Returns the ledger that ``state_dict`` described."""
        ledger = cls(state["num_samples"])
        ledger.num_done.update(state["num_done"])
        ledger.skipped.update({(number, reason): n for number, reason, n in state["skipped"]})
        return ledger


def describe(reasons: Counter[str]) -> str:
    """Lists reasons, the most frequent first."""
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
