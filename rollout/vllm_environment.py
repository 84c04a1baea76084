"""The environment that vLLM is installed in: where its interpreter is, and with which variables it is started.

Imports nothing heavy: a dry run asks it, too.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from retriever.base.errors import UserError

ROOT = Path(__file__).parents[1]


def vllm_interpreter(python: str) -> Path:
    """The interpreter of vLLM's environment, `python` relative to the repository. Raises UserError when it has none."""
    path = ROOT / Path(python).expanduser()  # ROOT is dropped where `python` is absolute
    remedy = "make it with bash launch/vllm_environment.sh, or give rollout.vllm.python"
    if not os.access(path, os.X_OK) or path.is_dir():
        raise UserError(f"rollout.engine=vllm: there is no interpreter {path}; {remedy}")
    asked = [str(path), "-P", "-c", "import importlib.util as u; print(u.find_spec('vllm') is not None)"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, env=vllm_variables({}))
    if found.stdout.strip() != "True":
        raise UserError(f"rollout.engine=vllm: {path} has no vLLM ({found.stderr.strip()[-200:]}); {remedy}")
    return path


def vllm_variables(own: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what belongs to our own interpreter, and with what vLLM is told by variables only."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    settled = {
        "PYTHONPATH": str(ROOT),
        "PYTHONNOUSERSITE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, and so nothing is left when it ends
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several workers share the cores
    }
    return {**kept, **settled, **own}
