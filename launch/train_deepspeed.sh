#!/usr/bin/env bash
# GRPO on several processes with DeepSpeed ZeRO, started by its launcher.
set -euo pipefail

launcher=launch/train_deepspeed.sh
torch_build=any

usage() {
    cat <<'TEXT'
usage: [ZERO=2] [NPROC=2] bash launch/train_deepspeed.sh CONFIG [key=value ...] [--resume]

Runs `python -m launch.run grpo CONFIG key=value ...` on NPROC × NNODES processes with configs/deepspeed/zero$ZERO.json.
The first run on a machine compiles for about a minute. On several nodes, give each its NODE_RANK and all the same
MASTER_ADDR; a shared hostfile is not needed.

  ZERO         2 shards gradients and optimizer state (default), 3 the weights too
  NPROC        processes on this node (default: its GPUs, or 2 without any)
  NNODES       nodes (1)
  NODE_RANK    this node's number, from 0 (0)
  MASTER_ADDR  address of node 0 (127.0.0.1)
  MASTER_PORT  a free port there (29500)

Paths are relative to the root of the repository.

example:
  ZERO=3 NPROC=2 bash launch/train_deepspeed.sh quickstart name=zero3
TEXT
}

case ${1:---help} in
    --help | -h)
        usage
        exit
        ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
has_cxx || fail "$cxx_remedy"
zero=${ZERO:-2}
[ "$zero" = 2 ] || [ "$zero" = 3 ] || fail "ZERO=$zero: give 2 or 3"
use_environment

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
nproc=${NPROC:-$((gpus > 0 ? gpus : 2))}
nnodes=${NNODES:-1}
# The trainer stops when it finds another number of processes: a launcher that quietly starts one trains alone.
export TOOLSCOUT_WORLD_SIZE=$((nproc * nnodes))

nodes=(--master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${MASTER_PORT:-29500}")
if ((nnodes > 1)); then
    hosts=$(mktemp) # the launcher wants a list of hosts; without ssh only its length matters
    for ((node = 0; node < nnodes; node++)); do printf 'node%d slots=%d\n' "$node" "$nproc"; done >"$hosts"
    nodes+=(--hostfile "$hosts" --num_nodes "$nnodes" --no_ssh --node_rank "${NODE_RANK:-0}")
fi

set -- "$@" "grpo.deepspeed=configs/deepspeed/zero$zero.json"
toolscout grpo "$@" --dry-run >/dev/null # a mistake in the config is told once, before any process starts
# as a module: the deepspeed script's first line breaks in a folder whose name has a space
exec python -m deepspeed.launcher.runner --num_gpus "$nproc" --no_local_rank "${nodes[@]}" --module launch.run grpo "$@"
