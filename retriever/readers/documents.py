"""Files as the readers see them: a stream of JSON values, or an imported module, each with its place."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from retriever.base.bad_entries import OnBad
from retriever.base.files import read_jsonl
from retriever.readers.place import Place
from retriever.readers.python_functions import import_file, import_named

DATA_SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".yaml", ".yml")
CODE_SUFFIX = ".py"

_MOST_VALUES = 5_000_000  # in a YAML file, aliases written out: a few lines of them can stand for any number


def read_documents(place: Place, *, on_bad: OnBad) -> Iterator[tuple[Place, Any]]:
    """What a file holds: the value of JSON or YAML, that of each line of JSONL, a Python module.

    A name of another ending is read as JSON; a path where no file is stands for a module. Raises DataError; `on_bad` is
    told of lines that are not JSON objects.
    """
    name = place.path.name
    if not place.path.exists():
        yield place, import_named(place.prefix, place)
    elif name.endswith(CODE_SUFFIX):
        yield place, import_file(place.path, place)
    elif name.endswith((".yaml", ".yml")):
        yield place, _yaml(place)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        yield from _lines(place, on_bad)
    else:
        yield from _json(place, on_bad)


def _lines(place: Place, on_bad: OnBad) -> Iterator[tuple[Place, Any]]:
    for line, value in read_jsonl(place.path, what="tools", on_bad=on_bad):
        yield replace(place, line=line), value


def _json(place: Place, on_bad: OnBad) -> Iterator[tuple[Place, Any]]:
    try:
        value = json.loads(place.path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":  # BFCL calls its JSONL .json
            yield from _lines(place, on_bad)
            return
        raise place.bad(f"not valid JSON ({error}); mend or regenerate the file") from None
    yield place, value


def _yaml(place: Place) -> Any:
    """As JSON: keys are texts, and so are dates."""
    try:
        loaded = yaml.load(place.path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if _expanded(loaded, {}) > _MOST_VALUES:
            raise place.bad(f"its aliases stand for more than {_MOST_VALUES:,} values; write them out, or fewer")
        return json.loads(json.dumps(loaded, default=str))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise place.bad(f"not valid YAML ({error}); mend or regenerate the file") from None


def _expanded(value: Any, known: dict[int, int]) -> int:
    """How many values there are once every alias is written out. Raises RecursionError for one that holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_expanded(each, known) for each in inner)
    return known[id(value)]
