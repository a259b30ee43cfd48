#!/usr/bin/env bash
# Train on several GPUs (or, without GPUs, several CPU processes), on one machine or more.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# Environment, as everywhere in OpenMMLab:
#   NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500   the same command on every machine,
#                                                           with its own NODE_RANK
#   MAX_RESTARTS=0   more than 0: when a process or machine fails, all start again together, at
#                    most so often, from the newest whole checkpoint (adds --resume auto)
#   LOCAL_ADDR       this machine's address, where its host name does not resolve
#
# SIGTERM and SIGINT reach every process: the run saves a checkpoint and the script exits with
# 143 or 130, which asks a scheduler to queue the job again with --resume auto.
exec bash "$(dirname "$0")/launch.sh" "$(dirname "$0")/train.py" "$@"
