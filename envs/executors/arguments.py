"""Arguments held against a tool's JSON schema before anything runs.

A schema's patterns are searched for within a bound of time: they and the arguments come from others.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from envs.patterns import found_in
from retriever.tools import ToolDoc

_KEPT = 4096  # validators
_PATTERN_S = 0.05  # of one search; what takes longer is no match


class ArgumentCheck:
    """Keeps the validator of each tool: making one takes longer than using it."""

    def __init__(self) -> None:
        self._validators: dict[tuple[str, str], tuple[ToolDoc, Any]] = {}

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


def _validator(parameters: Mapping[str, Any]) -> Any:
    return _Validator({"additionalProperties": False, **parameters})


def _matches(pattern: str, text: str) -> bool:
    return found_in(pattern, text, within_s=_PATTERN_S)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    for name, value in instance.items() if isinstance(instance, dict) else ():
        for pattern, inner in patterns.items():
            if _matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The library's, told of no pattern: what one of them matches is set aside before."""
    patterns = schema.get("patternProperties", {})
    if isinstance(instance, dict) and patterns:
        instance = {name: value for name, value in instance.items() if not any(_matches(p, name) for p in patterns)}
    plain = {key: value for key, value in schema.items() if key != "patternProperties"}
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, plain)


_Validator = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)


def _told(validator: Any, arguments: Mapping[str, Any]) -> str | None:
    error = best_match(validator.iter_errors(dict(arguments)))
    return None if error is None else f"error: invalid arguments: {error.message[:200]}"
