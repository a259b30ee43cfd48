#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: SCRIPT CONFIG GPUS [arguments], through torchrun.
if [ $# -lt 3 ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/dist_$(basename "${1:-train.py}" .py).sh CONFIG GPUS [arguments]" \
        "(GPUS is a number, not '${3:-}')" >&2
    exit 2
fi
script=$1 config=$2 gpus=$3
shift 3

NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29500}
MAX_RESTARTS=${MAX_RESTARTS:-0}
# Time for a checkpoint between SIGTERM and SIGKILL.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}

case $MASTER_ADDR in
    127.0.0.1 | localhost) LOCAL_ADDR=${LOCAL_ADDR:-$MASTER_ADDR} ;;
esac
launch=(--nnodes "$NNODES" --nproc-per-node "$gpus")
[ -n "$LOCAL_ADDR" ] && launch+=(--local-addr "$LOCAL_ADDR")
if [ "$MAX_RESTARTS" -gt 0 ]; then
    # Only this rendezvous lets a machine come back; sharing its store, torch 2.13 tells the
    # address of rank 0 in the first round alone, and a machine that comes back waits for ever.
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    [ "$NODE_RANK" = 0 ] && host=true || host=false
    launch+=(--max-restarts "$MAX_RESTARTS" --rdzv-backend c10d
        --rdzv-endpoint "$MASTER_ADDR:$PORT" --rdzv-id "mae-$PORT"
        --rdzv-conf "is_host=$host,read_timeout=600")
    [[ " $* " == *" --resume"* ]] || set -- "$@" --resume auto
else
    launch+=(--node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "$PORT")
fi

PYTHONPATH="$(dirname "$0")/..:$PYTHONPATH" \
    "${PYTHON:-python}" -m torch.distributed.run "${launch[@]}" \
    "$script" "$config" "$@" --launcher pytorch &
child=$!

# torchrun reports any failure as 1; schedulers want to know that it was asked to leave.
asked=
trap 'asked=143; kill -TERM $child' TERM
trap 'asked=130; kill -INT $child' INT
status=0
while kill -0 $child 2> /dev/null; do
    wait $child
    status=$?
done
[ "$status" -ne 0 ] && [ -n "$asked" ] && exit $asked
exit "$status"
