#!/bin/bash
#SBATCH --job-name=mav
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300

# Like slurm.sh, but srun starts one torchrun on each node, and torchrun starts one process for each GPU. Submit it in
# the root folder of the repository, because it calls launch/torchrun.sh:
#
#   sbatch launch/slurm_torchrun.sh decoder --phase video --scale base

trap : TERM USR1 # do not stop this script on a signal: it waits until the training has saved

first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun launch/torchrun.sh --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$SLURM_GPUS_ON_NODE" \
  --rdzv-backend=c10d --rdzv-endpoint="$first_node:29500" --rdzv-id="$SLURM_JOB_ID" \
  -m lightning_mav train "$@" --trainer.strategy=ddp \
  --trainer.num_nodes="$SLURM_JOB_NUM_NODES" --trainer.devices="$SLURM_GPUS_ON_NODE"
status=$?
if [ $status = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
