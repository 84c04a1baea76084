"""A task's own checker: a Python function that is named by its dotted path. Its module is imported, which RUNS it."""

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from envs.types import Task
from retriever.base.errors import UserError

Checker = Callable[[str, Task], Any]  # (answer, task) → bool, or a number in [0, 1]


@lru_cache(maxsize=1024)
def load_checker(path: str) -> Checker:
    """The function at `path`, such as "my_checks.holds". Raises UserError when there is none."""
    module_name, dot, name = path.rpartition(".")
    if not dot or not all(part.isidentifier() for part in path.split(".")):
        raise UserError(f"checker {path!r} is no dotted path; give module.function")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        raise UserError(
            f"checker {path!r}: {module_name} cannot be imported ({type(error).__name__}: {error}); "
            "mend it, or put its folder on PYTHONPATH"
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"checker {path!r}: {module_name} has no function {name}; check the name")
    checker: Checker = function
    return checker


def checked(path: str, answer: str, task: Task) -> float:
    """What the checker at `path` says of an answer, in [0, 1]. Raises UserError when it fails or says neither."""
    try:
        score = load_checker(path)(answer, task)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"checker {path!r} failed on task {task.id!r} ({type(error).__name__}: {error}); mend it: "
            "it gets (answer, task) and never raises"
        ) from error
    if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
        raise UserError(f"checker {path!r} gave {score!r} for task {task.id!r}; give a bool or a number in [0, 1]")
    return float(score)
