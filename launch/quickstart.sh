#!/usr/bin/env bash
# Makes .venv when it is missing, then runs the main job: toolscout quickstart.
set -euo pipefail

launcher=launch/quickstart.sh
torch_build=any

usage() {
    cat <<'TEXT'
usage: bash launch/quickstart.sh [--cuda] [ARGUMENT ...]

Makes .venv at the root of the repository (about 2.5 GB and 3 to 6 minutes, once), then runs
`toolscout quickstart ARGUMENT ...`: world, expert, SFT, GRPO, evaluation, export and report, under 10 minutes on
2 cores. After the installation nothing is downloaded. Needs Python 3.11 or newer, g++ and a package index.

  --cuda       install PyTorch's default build (on Linux: CUDA) instead of the CPU build
  --help       this text; `toolscout quickstart --help` tells the job's own arguments

examples:
  bash launch/quickstart.sh
  bash launch/quickstart.sh --resume
  bash launch/quickstart.sh -- seed=1 name=second
TEXT
}

while (($#)); do
    case $1 in
        --cuda) torch_build=cuda ;;
        --help | -h)
            usage
            exit
            ;;
        --)
            shift
            break
            ;;
        *) break ;;
    esac
    shift
done

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
has_cxx || say "warning: $cxx_remedy. The quickstart does without."
use_environment
exec toolscout quickstart "$@"
