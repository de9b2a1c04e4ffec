"""Counts which samples were read, and which were skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import distributed

from lightning_mav.utils.textfile import write_json

MAX_NAMED = 200  # samples listed for each reason


class Ledger:
    """Counts the samples read and skipped in each pass over the shards; together these are all samples.

    It counts in the training process, for messages. The ``Tally`` of each reading process decides whether too
    many samples are broken.

    Args:
        num_samples: Number of samples in a pass.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.num_done: Counter[int] = Counter()  # by pass
        self.skipped: Counter[tuple[int, str]] = Counter()  # by pass and reason
        self.named: dict[str, dict[str, None]] = {}  # by reason: the first samples of each

    def add(
        self, positions: Iterable[int], skipped: dict[int, str], name: Callable[[int], str] | None = None
    ) -> None:
        """Counts a batch.

        Args:
            positions: Positions of its samples.
            skipped: Reason for each position whose sample was skipped.
            name: Returns the name of the sample at a position.
        """
        self.num_done.update(position // self.num_samples for position in positions)
        self.skipped.update((position // self.num_samples, reason) for position, reason in skipped.items())
        for position, reason in skipped.items() if name else ():
            named = self.named.setdefault(reason, {})
            if name and len(named) < MAX_NAMED:
                named[name(position)] = None

    def reasons(self, number: int) -> Counter[str]:
        """Returns how many samples of a pass were skipped, by reason."""
        return Counter({reason: n for (done, reason), n in self.skipped.items() if done == number})

    def line(self, number: int) -> str:
        """Returns one line on how many samples of a pass were read and skipped."""
        reasons = self.reasons(number)
        num_read = self.num_done[number] - reasons.total()
        text = f"pass {number + 1} over {self.num_samples:,} samples: {num_read:,} read"
        return f"{text}, {reasons.total():,} skipped ({describe(reasons)})" if reasons else text

    def gathered(self) -> Ledger:
        """Returns the sum of the ledgers of all ranks; every rank must call this."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        states: list[dict[str, Any]] = [{}] * distributed.get_world_size()
        distributed.all_gather_object(states, self.state_dict())
        total = Ledger(self.num_samples)
        for ledger in map(Ledger.from_state_dict, states):
            total.num_done += ledger.num_done
            total.skipped += ledger.skipped
            for reason, names in ledger.named.items():
                named = total.named.get(reason, {}) | names
                total.named[reason] = dict.fromkeys(list(named)[:MAX_NAMED])
        return total

    def write(self, path: Path) -> None:
        """Lists the first samples that were skipped for each reason, if any were; a help, no more."""
        if self.named:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {reason: list(names) for reason, names in sorted(self.named.items())})

    def state_dict(self) -> dict[str, Any]:
        """Returns the state in plain numbers and strings, for a checkpoint."""
        skipped = [[number, reason, n] for (number, reason), n in self.skipped.items()]
        named = {reason: list(names) for reason, names in self.named.items()}
        done = dict(self.num_done)
        return {"num_samples": self.num_samples, "num_done": done, "skipped": skipped, "named": named}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Ledger:
        """Returns the ledger that ``state_dict`` described."""
        ledger = cls(state["num_samples"])
        ledger.num_done.update(state["num_done"])
        ledger.skipped.update({(number, reason): n for number, reason, n in state["skipped"]})
        named = state.get("named", {})  # missing in checkpoints of earlier versions
        ledger.named = {reason: dict.fromkeys(names) for reason, names in named.items()}
        return ledger


def describe(reasons: Counter[str]) -> str:
    """Lists reasons, the most frequent first."""
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
