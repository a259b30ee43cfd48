#!/usr/bin/env bash
# Train on a Slurm cluster, one process per GPU.
#
#   GPUS=16 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
#
# Environment:
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5   GPUS_PER_NODE=0: processes on CPUs
#   SRUN_ARGS                                more arguments for srun
#   PORT=29500
#
# The run resumes from the newest whole checkpoint in WORK_DIR, if there is one. Under sbatch a
# preempted run is queued again by itself: have Slurm send SIGTERM early enough for a checkpoint,
#   sbatch --requeue --signal=TERM@120 --wrap "tools/slurm_train.sh ..."
if [ $# -lt 4 ]; then
    sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
shift 4

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
per_node=$((GPUS_PER_NODE > 0 ? GPUS_PER_NODE : GPUS))
[ "$per_node" -gt "$GPUS" ] && per_node=$GPUS
gres=()
[ "$GPUS_PER_NODE" -gt 0 ] && gres=(--gres "gpu:$per_node")
[[ " $* " == *" --resume"* ]] || set -- "$@" --resume auto

export MASTER_PORT=${PORT:-29500}
# shellcheck disable=SC2086  # SRUN_ARGS is several words
PYTHONPATH="$(dirname "$0")/..:$PYTHONPATH" \
    srun -p "$partition" --job-name "$job_name" "${gres[@]}" --ntasks "$GPUS" \
    --ntasks-per-node "$per_node" --cpus-per-task "$CPUS_PER_TASK" --kill-on-bad-exit=1 \
    ${SRUN_ARGS} "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" \
    --work-dir "$work_dir" --launcher slurm "$@"
status=$?
if [ "$status" -eq 143 ] && [ -n "$SLURM_JOB_ID" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
