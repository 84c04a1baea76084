"""Arguments held against a tool's JSON schema before anything runs."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from retriever.tools import ToolDoc

_KEPT = 4096  # validators


class ArgumentCheck:
    """Keeps the validator of each tool: making one takes longer than using it."""

    def __init__(self) -> None:
        self._validators: dict[tuple[str, str], tuple[ToolDoc, Draft202012Validator]] = {}

    def problem(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with `arguments`, in a line for the policy; None when they fit."""
        known, validator = self._validators.get((tool.id, tool.version), (None, None))
        if known is not tool or validator is None:
            if len(self._validators) >= _KEPT:
                self._validators.clear()
            validator = _validator(tool.parameters)
            self._validators[tool.id, tool.version] = tool, validator
        return _told(validator, arguments)


def invalid_arguments(parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with `arguments` by the JSON schema `parameters`, in a line for the policy; None when valid."""
    return _told(_validator(parameters), arguments)


def _validator(parameters: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"additionalProperties": False, **parameters})


def _told(validator: Draft202012Validator, arguments: Mapping[str, Any]) -> str | None:
    error = best_match(validator.iter_errors(dict(arguments)))
    return None if error is None else f"error: invalid arguments: {error.message[:200]}"
