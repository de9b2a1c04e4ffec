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
# The training gets SIGTERM 300 seconds before the time is up, and when the job is preempted. It then saves a
# checkpoint and exits with 143. This script puts the job back into the queue, and the job resumes from that checkpoint.
# After any other exit status the job is not queued again.

trap : TERM USR1 # do not stop this script on a signal: it waits until the training has saved

srun mav train "$@" --trainer.strategy=ddp \
  --trainer.num_nodes="$SLURM_JOB_NUM_NODES" --trainer.devices="$SLURM_NTASKS_PER_NODE"
status=$?
if [ $status = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
