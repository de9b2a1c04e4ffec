"""Judges many damaged files in processes that may hang, crash or take too much, and says what happened.

python tests/fuzz/harness.py                    # 2,000 of every subject, 15 minutes on two cores
python tests/fuzz/harness.py mp4 --num 100      # of one
python tests/fuzz/harness.py mp4 --seed 17      # one case again, with its traceback
"""

import argparse
import faulthandler
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

MAX_SECONDS = 10.0  # of computing
HANG = 60.0  # of waiting for one, on whatever machine; then its process is ended
MAX_MEMORY = 2.0  # GB more than before
LIMIT = 8 * 2**30  # bytes of data in a process, so that the machine survives what takes too much
KEPT = Path("outputs/fuzz")  # for the files that broke a law


@dataclass
class Outcome:
    """What became of one damaged file."""

    result: str  # counted; or what was wrong
    fault: str = ""  # where, if a law was broken
    seconds: float = 0.0
    memory: float = 0.0  # GB more than before, at most


@dataclass
class Summary:
    """What became of all damaged files of a subject."""

    results: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)  # seeds by what was wrong
    texts: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    memory: float = 0.0
    seconds: float = 0.0

    def add(self, seed: int, outcome: Outcome) -> None:
        """Counts one."""
        self.slowest, self.memory = max(self.slowest, outcome.seconds), max(self.memory, outcome.memory)
        if outcome.fault:
            self.faults.setdefault(outcome.result, []).append(seed)
            self.texts.setdefault(outcome.result, outcome.fault)
        else:
            self.results[outcome.result] += 1

    def describe(self, name: str) -> str:
        """All of it, as text."""
        mark = "refused: "
        refused = Counter({k.removeprefix(mark): n for k, n in self.results.items() if k.startswith(mark)})
        others = {k: n for k, n in self.results.items() if not k.startswith(mark)}
        parts = [f"{refused.total()} refused"] + [f"{n} {k}" for k, n in sorted(others.items())]
        reasons = "; ".join(f"{n} {k}" for k, n in refused.most_common(12))
        text = f"{name}: {self.results.total()} held: {', '.join(parts)}; "
        text += f"slowest {self.slowest:.1f} s, {self.memory:.2f} GB at most, {self.seconds:.0f} s in all"
        text += f"\n    refused: {reasons}" if reasons else ""
        for fault, seeds in self.faults.items():
            text += f"\n    WRONG, {len(seeds)} times, seeds {seeds[:5]}: {fault}\n{self.texts[fault]}"
        return text


def damaged(name: str, wholes: list[bytes], seed: int) -> tuple[bytes, bytes, Random]:
    """Returns the damaged file of a seed, the whole one, and the generator that goes on."""
    from subjects import SUBJECTS

    rng = Random(f"{name} {seed}")
    whole = rng.choice(wholes)
    return SUBJECTS[name].damage(whole, rng), whole, rng


def judge(name: str, wholes: list[bytes], seed: int) -> Outcome:
    """Judges one damaged file in this process."""
    from subjects import SUBJECTS

    data, whole, rng = damaged(name, wholes, seed)
    before = _reset_peak()
    folder, start = Path(tempfile.mkdtemp()), time.process_time()
    fault = ""
    try:
        result = SUBJECTS[name].judge(data, whole, rng, folder)
    except (Exception, SystemExit) as error:
        result, fault = _headline(error), traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds, memory = time.process_time() - start, max(0.0, _peak() - before)
    if not fault and seconds > MAX_SECONDS:
        result, fault = "takes too long", f"{seconds:.1f} s"
    if not fault and memory > MAX_MEMORY:
        result, fault = "takes too much memory", f"{memory:.2f} GB"
    return Outcome(result, fault, seconds, memory)


class Pool:
    """Processes that judge damaged files; one that hangs or dies is replaced.

    Args:
        num_workers: How many.
    """

    def __init__(self, num_workers: int) -> None:
        self.workers = [_Worker() for _ in range(num_workers)]

    def close(self) -> None:
        """Ends them."""
        for worker in self.workers:
            worker.end()

    def fuzz(self, name: str, num: int, report: "Report | None" = None) -> Summary:
        """Judges ``num`` damaged files of a subject, with seeds from 0; tells ``report`` how far it is."""
        from subjects import SUBJECTS

        wholes = SUBJECTS[name].make()
        summary, start = Summary(), time.monotonic()
        seeds, done = iter(range(num)), 0
        for worker in self.workers:
            worker.begin(name, wholes, next(seeds, None))
        while busy := [worker for worker in self.workers if worker.seed is not None]:
            ready = wait([worker.link for worker in busy], timeout=1.0)
            for worker in busy:
                if worker.link in ready:
                    outcome = worker.outcome()
                elif time.monotonic() - worker.since > HANG:
                    outcome = Outcome("hangs", f"{HANG:.0f} s")
                else:
                    continue
                seed = worker.seed
                if outcome is None or outcome.result == "hangs":
                    code, log = worker.end()
                    outcome = outcome or Outcome(f"the process dies, exit code {code}", log)
                    worker = self.workers[self.workers.index(worker)] = _Worker()
                summary.add(seed, outcome)
                if outcome.fault:
                    KEPT.mkdir(parents=True, exist_ok=True)
                    (KEPT / f"{name}-{seed}.bin").write_bytes(damaged(name, wholes, seed)[0])
                done += 1
                if report is not None:
                    report(name, done, num)
                worker.begin(name, wholes, next(seeds, None))
        summary.seconds = time.monotonic() - start
        return summary


class Report:
    """A line on the terminal that says how far it is."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, name: str, done: int, num: int) -> None:
        """Shows it, a few times a second."""
        if time.monotonic() - self.last > 0.5 or done == num:
            self.last = time.monotonic()
            end = "\n" if done == num else ""
            print(f"\rfuzz: {name}: {done} of {num} ", end=end, file=sys.__stderr__, flush=True)


class _Worker:
    """A process that judges one file after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - closed with the process
        self.process = context.Process(target=_serve, args=(theirs, self.log.name), daemon=True)
        self.process.start()
        theirs.close()
        self.name = ""
        self.seed: int | None = None

    def begin(self, name: str, wholes: list[bytes], seed: int | None) -> None:
        """Gives it the file of a seed, if there is one left."""
        if seed is not None and name != self.name:
            self.name = name
            self.link.send((name, wholes))
            assert self.link.recv() == "ready"  # not before the clock runs
        self.seed, self.since = seed, time.monotonic()
        if seed is not None:
            self.link.send(seed)

    def outcome(self) -> Outcome | None:
        """What became of the file; None if the process has died of it."""
        try:
            return self.link.recv()
        except (EOFError, ConnectionError):
            return None

    def end(self) -> tuple[int | None, str]:
        """Ends it; returns its exit code and what it said last."""
        self.process.join(0.5 if self.seed is not None else 0)  # one that is dying does so by itself
        self.process.kill()
        self.process.join()
        self.link.close()
        self.log.seek(0)
        said = self.log.read()[-3000:] or "it said nothing"
        self.log.close()
        return self.process.exitcode, said


def _serve(link: Connection, log: str) -> None:
    """Judges what comes by seed, until the other end closes."""
    import torch

    torch.set_num_threads(1)
    file = Path(log).open("w")  # noqa: SIM115 - as long as the process
    faulthandler.enable(file)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    name, wholes = "", list[bytes]()
    while True:
        try:
            message = link.recv()
        except EOFError:
            return
        if isinstance(message, tuple):
            name, wholes = message
            judge(name, wholes, -1)  # imports what the first would be charged for
            link.send("ready")
        else:
            link.send(judge(name, wholes, message))


def _headline(error: BaseException) -> str:
    """The kind of an exception and the innermost line of the project that it passed through."""
    from subjects import Wrong

    if isinstance(error, Wrong):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    root = Path(__file__).parents[2]
    own = [f for f in frames if f.filename.startswith(str(root)) and "/tests/" not in f.filename]
    own = [f for f in own if "site-packages" not in f.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return f"{type(error).__name__} at {place}"


def _reset_peak() -> float:
    """Lets the peak of this process's memory start anew, where Linux can; returns GB in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("inf")
    return _peak()


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


def main() -> None:
    """Fuzzes from the command line."""
    from subjects import SUBJECTS

    from lightning_mav.utils.threads import num_cores

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--num", type=int, default=2000, help="damaged files of each (2000)")
    parser.add_argument("--seed", type=int, help="judge this one here, and show its traceback")
    args = parser.parse_args()
    names = args.subjects or list(SUBJECTS)
    if args.seed is not None:
        for name in names:
            outcome = judge(name, SUBJECTS[name].make(), args.seed)
            sys.stdout.write(f"{name} {args.seed}: {outcome.result}\n{outcome.fault}\n")
        return
    pool, ok = Pool(num_cores()), True
    for name in names:
        summary = pool.fuzz(name, args.num, Report())
        sys.stdout.write(summary.describe(name) + "\n")
        sys.stdout.flush()
        ok &= not summary.faults
    pool.close()
    sys.exit(not ok)


if __name__ == "__main__":
    main()
