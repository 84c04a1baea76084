#!/usr/bin/env bash
# The drills: tests that kill, restart and launch real processes. Minutes long; run by hand and before a release.
set -euo pipefail

launcher=launch/drill.sh
torch_build=any

case ${1:-} in
    --help | -h)
        cat <<'TEXT'
usage: bash launch/drill.sh [PYTEST ARGUMENT ...]

Runs `pytest -m drill` in .venv (made when missing), e.g. `bash launch/drill.sh -k resume`.
TEXT
        exit
        ;;
esac

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
has_cxx || fail "$cxx_remedy"
use_environment
exec python -m pytest -m drill "$@"
