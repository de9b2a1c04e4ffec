#!/bin/bash
# torchrun for a training that may be preempted: one on each machine. Arguments are those of torchrun, such as
#
#   launch/torchrun.sh --standalone --nproc-per-node=8 -m lightning_mav train decoder --scale base \
#     --trainer.devices=8 --trainer.strategy=ddp
#
# After SIGTERM or SIGUSR1 the step is saved and the exit status is 143: the same command goes on from there.
# The status is 143 also if it could not be saved; the log says why.
# torchrun alone would leave with 1, as if training had failed, and give it 30 seconds to save.

child= preempted=
trap 'preempted=143; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM USR1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}
torchrun "$@" &
child=$!
[ -z "$preempted" ] || kill -TERM "$child" # signalled before the child had a number
wait $child
status=$?
while kill -0 $child 2>/dev/null; do # a signal has ended the waiting, not torchrun
  wait $child
  status=$?
done
exit "${preempted:-$status}"
