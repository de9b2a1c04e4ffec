#!/bin/bash
# Runs torchrun for a training that may be preempted. Start it once on each machine, with the arguments of torchrun:
#
#   launch/torchrun.sh --standalone --nproc-per-node=8 -m lightning_mav train decoder --scale base \
#     --trainer.devices=8 --trainer.strategy=ddp
#
# After SIGTERM or SIGUSR1 the training saves a checkpoint, and this script exits with 143. Run the same command again
# to resume. The status is 143 even if the checkpoint could not be saved; then the log says why.
# torchrun alone would exit with 1, as if the training had failed, and would give the training only 30 seconds to save.
# Here it is given 240 seconds, unless TORCH_ELASTIC_SHUTDOWN_TIMEOUT says otherwise.

child= preempted=
trap 'preempted=143; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM USR1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}
torchrun "$@" &
child=$!
[ -z "$preempted" ] || kill -TERM "$child" # a signal came before the process ID of torchrun was known
wait $child
status=$?
while kill -0 $child 2>/dev/null; do # wait was interrupted by a signal, and torchrun still runs
  wait $child
  status=$?
done
exit "${preempted:-$status}"
