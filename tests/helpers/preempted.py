"""Trains with one or two processes, as srun or torchrun start them, and sends them signals.

Run as a script: ``python preempted.py RANKS SIGNALS SEED STEPS ARGUMENTS...`` in an empty folder. It prints a
line of JSON for each start. All processes are forked from this one, which has imported everything: that saves
seconds each time.
"""

import importlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

PRELOADED = (  # what a training imports
    "lightning_mav.cli.train",
    "lightning_mav.datamodules",
    "lightning_mav.stages",
    "lightning_mav.training.trainer",
    "torch._dynamo",
)
HANG_SECONDS = 60  # on an idle machine all leave within two; here other programs may have the processors
RUN_SECONDS = 900


def environment(launcher, rank, num_ranks, port):
    """Returns what a launcher sets for one of its processes."""
    ranks = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if num_ranks == 1:
        return {}
    if launcher == "srun":
        where = {"PROCID": rank, "LOCALID": rank, "NODEID": 0, "JOB_ID": 1, "NNODES": 1}
        where |= {"NTASKS": num_ranks, "NTASKS_PER_NODE": num_ranks}
        return ranks | {f"SLURM_{name}": str(value) for name, value in where.items()}
    where = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": num_ranks}
    where |= {"LOCAL_WORLD_SIZE": num_ranks, "TORCHELASTIC_RUN_ID": 1}
    return ranks | {name: str(value) for name, value in where.items()}


def report(events):
    """Lets training write a byte at the start of each step and each writing of a file."""
    from lightning_mav.training import callbacks, checkpoints
    from lightning_mav.training.sharding import strategy

    def reporting(function, letter):
        def method(*args):
            os.write(events, letter)
            return function(*args)

        return method

    start = callbacks.StepSeed.on_train_batch_start
    callbacks.StepSeed.on_train_batch_start = reporting(start, b"t")
    checkpoints._save = reporting(checkpoints._save, b"s")
    strategy.save_sharded = reporting(strategy.save_sharded, b"s")


def start(arguments, rank, num_ranks, launcher, port, group):
    """Forks a process that trains, and returns its number and the pipe of its events."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid:
        os.setpgid(pid, group)  # here, too: the second process may be the first to run, and find no group
        os.close(writes)
        return pid, reads
    status = 70
    try:
        os.setpgid(0, group)
        os.environ.update(environment(launcher, rank, num_ranks, port))
        log = os.open(f"log{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from lightning.pytorch.utilities import rank_zero_only

        from lightning_mav.cli import main

        rank_zero_only.rank = rank  # found out when Lightning is imported
        report(writes)
        main(["train", *arguments])
        status = 0
    except SystemExit as left:
        status = left.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pids, seconds):
    """Waits for processes and returns their statuses; one that hangs is killed, and its status None."""
    end, statuses = time.monotonic() + seconds, dict.fromkeys(pids)
    while None in statuses.values() and time.monotonic() < end:
        for pid in [pid for pid, status in statuses.items() if status is None]:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                statuses[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    for pid, status in statuses.items():
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return list(statuses.values())


def train(arguments, num_ranks, draw=None, launcher="torchrun"):
    """Trains until the end or, given random numbers, until a signal, and returns what happened."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids, pipes = [], []
    for rank in range(num_ranks):
        pid, pipe = start(arguments, rank, num_ranks, launcher, port, pids[0] if pids else 0)
        pids.append(pid)
        pipes.append(pipe)
    found = {"launcher": launcher if num_ranks > 1 else "", "sent": False}
    if draw is not None:
        signum = draw.choice([signal.SIGTERM, signal.SIGUSR1])
        to = draw.choice(["all", *range(num_ranks)])
        letter, count = draw.choice([(b"t", draw.randint(1, 4)), (b"s", draw.randint(1, 2))])
        found |= {"signal": signum.name, "to": to, "within": {b"t": "step", b"s": "save"}[letter]}
        seen = 0
        while seen < count and (byte := os.read(pipes[0], 1)):
            seen += byte == letter
        time.sleep(draw.uniform(0, 0.05 if letter == b"t" else 0.01))
        found["sent"] = seen == count
        for pid in (pids if to == "all" else [pids[to]]) if found["sent"] else []:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                os.kill(pid, signum)
    begin = time.monotonic()
    found["statuses"] = wait(pids, HANG_SECONDS if found["sent"] else RUN_SECONDS)
    found["seconds"] = round(time.monotonic() - begin, 2)
    for pipe in pipes:
        os.close(pipe)
    return found


def main(num_ranks, num_signals, seed, steps, *arguments):
    """Trains undisturbed, then again and again with one signal in each start, until all are sent."""
    for name in PRELOADED:
        importlib.import_module(name)
    num_ranks, draw, place = int(num_ranks), random.Random(int(seed)), Path.cwd()
    arguments = [*arguments, f"--trainer.max_steps={steps}"]
    if num_ranks > 1:
        arguments += [f"--trainer.devices={num_ranks}"]
        if not any(argument.startswith("--trainer.strategy") for argument in arguments):
            arguments += ["--trainer.strategy=ddp"]

    def run_in(folder, *how):
        (place / folder).mkdir(exist_ok=True)
        os.chdir(place / folder)
        found = train(arguments, num_ranks, *how)
        found["weights"] = len(list(Path().rglob("*.safetensors")))
        found["checkpoints"] = sorted(path.name for path in Path().rglob("step=*.ckpt"))
        print(json.dumps({"folder": folder, **found}), flush=True)  # noqa: T201
        return found

    run_in("whole")
    sent, folders = 0, (f"stopped{i}" for i in range(int(num_signals)))
    while sent < int(num_signals):
        folder, found = next(folders), {"statuses": [None]}
        while any(status != 0 for status in found["statuses"]) and sent < int(num_signals):
            found = run_in(folder, draw, draw.choice(["srun", "torchrun"]))
            sent += found["sent"]
        if any(status != 0 for status in found["statuses"]):
            run_in(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
