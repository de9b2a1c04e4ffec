"""Launch files queue a job again if its training was preempted, and only then."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.runs import arguments
from lightning_mav.training.checkpoints import read_newest

LAUNCH = Path(__file__).parents[2] / "launch"
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_JOB_NODELIST": "node[3-4]",
}
PROGRAMS = {  # in place of those of a cluster
    "srun": 'exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then printf "node3\\nnode4\\n"; else echo "$@" >> requeued; fi',
    "mav": 'echo mav "$@" > trained; exit $STATUS',
    "torchrun": """
        trap 'kill $!; exit 1' TERM
        echo torchrun "$@" > trained
        sleep $SLEEP & wait $!
        exit $STATUS""",
}


@pytest.fixture
def cluster(tmp_path):
    """The variables of a job, and the programs of a cluster, which note what they are asked for."""
    for name, script in PROGRAMS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
    (tmp_path / "launch").symlink_to(LAUNCH)
    return {**os.environ, **SLURM, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLEEP": "0"}


@pytest.mark.parametrize("status", [0, 1, 2, 130, 143])
@pytest.mark.parametrize("script", ["slurm.sh", "slurm_torchrun.sh"])
def test_only_a_preempted_job_is_queued_again(script, status, cluster, tmp_path):
    command = ["bash", LAUNCH / script, "decoder", "--scale", "base"]
    env = {**cluster, "STATUS": str(status)}
    assert subprocess.run(command, cwd=tmp_path, env=env, check=False, timeout=60).returncode == status
    requeued = tmp_path / "requeued"
    assert (requeued.read_text() if requeued.exists() else "") == ("requeue 7\n" if status == 143 else "")
    trained = (tmp_path / "trained").read_text()
    assert "train decoder --scale base --trainer.strategy=ddp" in trained
    assert "--trainer.num_nodes=2 --trainer.devices=8" in trained
    assert script == "slurm.sh" or "--nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d" in trained


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_torchrun_that_was_signalled_leaves_with_the_status_of_a_preemption(signum, cluster, tmp_path):
    command, env = ["bash", LAUNCH / "torchrun.sh", "--standalone"], {**cluster, "STATUS": "0", "SLEEP": "60"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    while not (tmp_path / "trained").exists() or not (tmp_path / "trained").read_text():
        assert process.poll() is None
    process.send_signal(signum)
    assert process.wait(timeout=60) == 143


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_launch_files_can_be_run(path):
    assert os.access(path, os.X_OK)
    text = path.read_text()
    if path.name.startswith("slurm"):
        assert "#SBATCH --requeue\n" in text
        assert "#SBATCH --signal=TERM@" in text  # without B:, which would signal the script alone


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_under_torchrun_save_their_step_when_they_are_preempted(tmp_path, micro_world):
    torchrun = tmp_path / "torchrun"
    torchrun.write_text(f'#!/bin/bash\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    torchrun.chmod(0o755)
    command = ["bash", LAUNCH / "torchrun.sh", "--standalone", "--nproc-per-node=2", "-m", "lightning_mav"]
    command += ["train", "sr_h", *arguments("sr_h", 5000, micro_world), "--trainer.val_check_interval=5000"]
    command += ["--trainer.strategy=ddp", "--trainer.devices=2", "--checkpoint.every_n_train_steps=2"]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
    folder = tmp_path / "outputs/micro/sr_h/checkpoints"
    while not list(folder.glob("step=*.ckpt")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=300) == 143
    (step,) = re.findall(
        r"mav: stopped by SIGTERM at step (\d+), which is saved", (tmp_path / "log").read_text()
    )
    assert read_newest(folder)[1]["global_step"] == int(step)
    assert not list(tmp_path.rglob("*.safetensors"))
