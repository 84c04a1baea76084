#!/usr/bin/env bash
# Everything that must hold before a change is shared: ruff, mypy, pytest; in the .venv of launch/quickstart.sh.
set -euo pipefail

launcher=launch/test.sh
torch_build=any
tier=(-m "not slow and not drill")
slow=${CI:-false}

usage() {
    cat <<'TEXT'
usage: bash launch/test.sh [--slow] [PYTEST ARGUMENT ...]

Makes .venv when it is missing, then runs ruff (lint and format), mypy and pytest; the last line printed is pytest's.

  --slow       the slow tests too (the default where CI=true)
  --help       this text
TEXT
}

while (($#)); do
    case $1 in
        --slow) slow=true ;;
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
has_cxx || fail "$cxx_remedy"
use_environment
if [ "$slow" = true ]; then
    install_slow_model
    download_bfcl
    tier=(-m "not drill")
fi

say "ruff"
ruff check .
ruff format --check .
say "mypy"
mypy
say "pytest ${tier[*]} $*"
exec python -m pytest "${tier[@]}" "$@"
