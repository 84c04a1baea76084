"""bfcl-eval's own checkers, out of its wheel, in a process of their own: a JSON line in, a JSON line out.

In: {"category", "functions", "output": [{name: arguments}], "answer"}, out: {"valid", "kind"}; or in:
{"calls": [[text, …], …], "id", "config", "classes"}, out: {"responses": [[text, …], …], "state"}; or in:
{"made": [[text, …], …], "gold": [[text, …], …], "id", "dialogue", "config", "classes"}, out: {"valid", "kind"}.

  python -m tests.benchmarks.bfcl_checker WHEEL
"""

import json
import sys
from types import ModuleType
from typing import Any

from envs.executors.bfcl_state import public_state


class _AnyModel:
    underscore_to_dot = False  # names are compared as they are published


class _Models(dict[str, _AnyModel]):
    def __missing__(self, name: str) -> _AnyModel:
        return _AnyModel()


def main() -> None:
    """Answer line by line. The package's table of models alone would import every vendor's client."""
    sys.path.insert(0, sys.argv[1])
    models = ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = _Models()  # type: ignore[attr-defined]
    sys.modules[models.__name__] = models
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import execute_multi_turn_func_call

    def checked(job: dict[str, Any]) -> dict[str, Any]:
        arguments = (job["functions"], job["output"], job["answer"], Language.PYTHON, job["category"], "any")
        try:
            verdict = ast_checker(*arguments)
        except Exception as error:  # noqa: BLE001 - that it fails is what is asked for
            return {"valid": None, "kind": f"{type(error).__name__}: {error}"}
        return {"valid": verdict["valid"], "kind": verdict.get("error_type", "")}

    def executed(job: dict[str, Any]) -> dict[str, Any]:
        responses, instances = [], {}
        for calls in job["calls"]:
            said, instances = execute_multi_turn_func_call(
                calls, job["config"], job["classes"], "any", job["id"], long_context="long_context" in job["id"]
            )
            responses.append(said)
        return {"responses": responses, "state": public_state(instances)}

    def judged(job: dict[str, Any]) -> dict[str, Any]:
        entry = {"id": job["dialogue"], "initial_config": job["config"], "involved_classes": job["classes"]}
        steps = [[[call] for call in calls] for calls in job["made"]]  # one call a step
        # It keeps its instances by model and dialogue: a model of its own for each job gets fresh ones.
        verdict = multi_turn_checker(steps, job["gold"], entry, "", f"m{job['id']}")
        return {"valid": verdict["valid"], "kind": verdict.get("error_type", "")}

    for line in sys.stdin:
        job = json.loads(line)
        answer = executed if "calls" in job else judged if "made" in job else checked
        print(json.dumps(answer(job)))


if __name__ == "__main__":
    main()
