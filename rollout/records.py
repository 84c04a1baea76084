"""Trajectories on disk: one JSON object a line, token ids and log-probs included, so that a run can be replayed.

A line is `{"format": 1, "trajectory": {…}, **extra}`; what `extra` means (a reward, say) is its writer's business.
The codec follows the type hints of the dataclasses, so that a field added there is recorded without a change here.
Not here: rewards, and any reading of what a trajectory was worth.
"""

import dataclasses
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from retriever.base.errors import DataError
from retriever.base.files import existing_file, read_jsonl, write_lines
from rollout.types import Trajectory

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: a trajectory, and whatever its writer put beside it."""

    trajectory: Trajectory
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


def trajectory_to_dict(trajectory: Trajectory) -> dict[str, Any]:
    """`trajectory` in dicts, lists, strings and numbers."""
    encoded = _encode(trajectory)
    assert isinstance(encoded, dict)
    return encoded


def trajectory_from_dict(value: Mapping[str, Any]) -> Trajectory:
    """The inverse of `trajectory_to_dict`. Raises ValueError that names the field."""
    decoded = _decode(Trajectory, value, "trajectory")
    assert isinstance(decoded, Trajectory)
    return decoded


class RecordReader:
    """Iterates over the records of a file; `line` is where the last one stood, counted from 1."""

    def __init__(self, path: str | Path) -> None:
        self._path = existing_file(path, what="rollout records")
        self.line = 0

    def __iter__(self) -> Iterator[Record]:
        """Raises DataError at a line that is no record, or where the file breaks off."""
        for number, value in read_jsonl(self._path, what="rollout records"):
            self.line = number
            try:
                record = _record(value)
            except _OtherFormat as other:
                raise DataError(
                    f"a rollout record of format {other.args[0]!r}, this version reads {FORMAT}; "
                    "read it with the version that wrote it",
                    path=self._path,
                    line=number,
                ) from None
            except (ValueError, AssertionError, RecursionError) as error:  # AssertionError: the types' own invariants
                reason = str(error) or "the values contradict each other"
                raise DataError(
                    f"not a rollout record ({reason}); delete this line", path=self._path, line=number
                ) from None
            yield record


def write_records(path: Path, records: Iterable[Record]) -> None:
    """All of `records` to a new .jsonl or .jsonl.gz file in place of what is there, or nothing at all.

    A .gz is one member, for what its records share (prompts, tasks) is then written once. Raises OSError that names
    `path`, on a full disk say; whatever file was there before stays whole.
    """
    try:
        write_lines(path, map(_line, records))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_records(path: str | Path) -> Iterator[Trajectory]:
    """The trajectories of a file. Raises UserError (no such file) or DataError: see `RecordReader`."""
    for record in RecordReader(path):
        yield record.trajectory


class _OtherFormat(ValueError):
    """A record, but of another version; its argument is the format."""


def _line(record: Record) -> str:
    assert not {"format", "trajectory"} & set(record.extra), "extra may not replace the record's own keys"
    value = {"format": FORMAT, "trajectory": trajectory_to_dict(record.trajectory), **record.extra}
    # ASCII, and Python's spelling of infinities: a policy's arguments may hold lone surrogates or 1e999, and must come
    # back as they were. Nothing else writes either.
    return json.dumps(value, separators=(",", ":"))


def _record(value: Mapping[str, Any]) -> Record:
    if "trajectory" not in value:
        raise ValueError('no "trajectory" in it')
    if value.get("format") != FORMAT:
        raise _OtherFormat(value.get("format"))
    extra = {key: item for key, item in value.items() if key not in ("format", "trajectory")}
    return Record(trajectory=trajectory_from_dict(value["trajectory"]), extra=extra)


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _encode(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_encode(item) for item in value] if value and not isinstance(value[0], int | float) else list(value)
    if isinstance(value, StrEnum):
        return value.value
    return dict(value) if isinstance(value, Mapping) else value


_hints = cache(get_type_hints)


def _decode(hint: Any, value: Any, place: str) -> Any:
    """`value` as `hint` says. Raises ValueError naming `place`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):  # only X | None occurs
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, place)
    if origin is tuple:
        _check(isinstance(value, list), "a list", value, place)
        if arguments[0] in (int, float):
            _check(all(type(item) in (int, arguments[0]) for item in value), "a list of numbers", value, place)
            return tuple(value)
        return tuple(_decode(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if origin is not None:
        _check(isinstance(value, Mapping), "an object", value, place)
        return value
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, value, place)
    if issubclass(hint, StrEnum):
        _check(value in list(hint), f"one of {', '.join(hint)}", value, place)
        return hint(value)
    _check(isinstance(value, (int, float) if hint is float else hint), hint.__name__, value, place)
    return value


def _decode_dataclass(kind: Any, value: Any, place: str) -> Any:
    _check(isinstance(value, Mapping), "an object", value, place)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name in value.keys() - fields.keys():
        raise ValueError(f"{place} has an unknown field {name!r}")
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise ValueError(f"{place} lacks the field {name!r}")
    hints = _hints(kind)
    return kind(**{name: _decode(hints[name], item, f"{place}.{name}") for name, item in value.items()})


def _check(holds: bool, expected: str, value: Any, place: str) -> None:
    if not holds:
        raise ValueError(f"{place} is {str(value)[:60]!r}, not {expected}")
