#!/bin/bash
#SBATCH --job-name=mav
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300

# Trains one stage on SLURM; srun starts one process for each GPU:
#
#   sbatch launch/slurm.sh decoder --phase video --scale base
#
# SIGTERM comes 300 seconds before the time is up, and when the job is preempted. Training then saves its step and
# leaves with 143, and the job is queued again. It goes on from there. Any other status ends the job.

trap : TERM USR1 # this script waits for training, whoever the signal was for

srun mav train "$@" --trainer.strategy=ddp \
  --trainer.num_nodes="$SLURM_JOB_NUM_NODES" --trainer.devices="$SLURM_NTASKS_PER_NODE"
status=$?
if [ $status = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
