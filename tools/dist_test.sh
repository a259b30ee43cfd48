#!/usr/bin/env bash
# Test a checkpoint on several GPUs (or CPU processes).
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT as for dist_train.sh.
if [ $# -lt 3 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec bash "$(dirname "$0")/launch.sh" "$(dirname "$0")/test.py" "$config" "$gpus" \
    "$checkpoint" "$@"
