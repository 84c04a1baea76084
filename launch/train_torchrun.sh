#!/usr/bin/env bash
# GRPO on several processes with DDP, started by torchrun.
set -euo pipefail

launcher=launch/train_torchrun.sh
torch_build=any

usage() {
    cat <<'TEXT'
usage: [NPROC=2] bash launch/train_torchrun.sh CONFIG [key=value ...] [--resume]

Runs `python -m launch.run grpo CONFIG key=value ...` on NPROC × NNODES processes. On several nodes, give each its
NODE_RANK and all the same MASTER_ADDR.

  NPROC        processes on this node (default: its GPUs, or 2 without any)
  NNODES       nodes (1)
  NODE_RANK    this node's number, from 0 (0)
  MASTER_ADDR  address of node 0 (127.0.0.1)
  MASTER_PORT  a free port there (default: on one node torchrun picks one; on several 29500)

Paths are relative to the root of the repository.

example:
  NPROC=2 bash launch/train_torchrun.sh quickstart name=two_ranks
TEXT
}

case ${1:---help} in
    --help | -h)
        usage
        exit
        ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
use_environment

gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
nproc=${NPROC:-$((gpus > 0 ? gpus : 2))}
nnodes=${NNODES:-1}
# The trainer stops when it finds another number of processes: a launcher that quietly starts one trains alone.
export TOOLSCOUT_WORLD_SIZE=$((nproc * nnodes))

if ((nnodes == 1)) && [ -z "${MASTER_PORT:-}" ]; then
    rendezvous=(--standalone)
else
    rendezvous=(--node_rank "${NODE_RANK:-0}" --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${MASTER_PORT:-29500}")
fi

toolscout grpo "$@" --dry-run >/dev/null # a mistake in the config is told once, before any process starts
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # torchrun's own default, without its warning
exec torchrun "${rendezvous[@]}" --nnodes "$nnodes" --nproc_per_node "$nproc" -m launch.run grpo "$@"
