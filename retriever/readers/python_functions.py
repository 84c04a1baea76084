"""The public functions of a Python file or module as tools: type hints become the schema, docstrings the descriptions.

Reading them imports the module, that is, **runs the user's code**.
"""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar, get_type_hints

from retriever.base.canonical import canonical_json
from retriever.readers.docstrings import parse_docstring
from retriever.readers.hints import hint_schema
from retriever.readers.place import Place, published_version, tool_at
from retriever.tools import ToolDoc

WHAT = "the public functions of a Python file (.py) or module"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A public function and where it was found."""

    name: str  # in the module; the function may think it is called otherwise
    function: FunctionType
    module: ModuleType


def import_file(path: Path, place: Place) -> ModuleType:
    """The module in `path`, run under a name of its own; its folder's other modules may be imported by it.

    Raises DataError when it cannot be imported.
    """
    name = f"toolscout_source_{path.stem}"  # never that of an installed module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and get_type_hints look a module up by its name
    _import(partial(spec.loader.exec_module, module), folder=path.parent, place=place)
    return module


def import_named(name: str, place: Place) -> ModuleType:
    """The installed module `name`, or one of the working folder. Raises DataError when it cannot be imported."""
    return _import(partial(importlib.import_module, name), folder=Path.cwd(), place=place)


def recognises(document: Any, place: Place) -> bool:
    """Whether `document` is a module."""
    return isinstance(document, ModuleType)


def entries(documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Entry]]:
    """The public functions of each module, in its order: those in `__all__`, or those defined there without a "_"."""
    for place, module in documents:
        listed = getattr(module, "__all__", None)
        for name, value in list(vars(module).items()):
            if not inspect.isfunction(value):
                continue
            if name in listed if listed is not None else value.__module__ == module.__name__ and name[0] != "_":
                yield place.at(name), Entry(name=name, function=value, module=module)


def tool(entry: Entry, place: Place) -> ToolDoc:
    """The tool of one function. Raises DataError for a parameter that no JSON call could give."""
    function = entry.function
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:  # noqa: BLE001 - hints that are texts are evaluated: the user's code
        raise place.bad(f"its hints cannot be read ({type(error).__name__}: {error}); mend them") from None
    docstring = parse_docstring(function.__doc__)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in parameters:
        schema = _schema(parameter, hints.get(parameter.name, Any), place)
        if schema is None:
            continue
        if parameter.name in docstring.parameters:
            schema.setdefault("description", docstring.parameters[parameter.name])
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    return tool_at(
        place,
        name=entry.name,
        description=docstring.description,
        parameters={"type": "object", "properties": properties, **({"required": required} if required else {})},
        origin="python",
        version=_version(entry),
    )


def _version(entry: Entry) -> str:
    """Changes with the file that is read, and with the one that the function is written in. What those import is not
    looked into.
    """
    code = getattr(inspect.unwrap(entry.function), "__code__", None)  # what is wrapped may be anything that is called
    files = dict.fromkeys((entry.module.__file__, getattr(code, "co_filename", None)))
    sources = [Path(file).read_bytes() for file in files if file is not None and Path(file).is_file()]
    return published_version(b"".join(sources))


def _schema(parameter: inspect.Parameter, hint: Any, place: Place) -> dict[str, Any] | None:
    """The schema of a parameter; None for one that calls leave to its default."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    try:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError("it can be given by position only, and calls go by name")
        schema = dict(hint_schema(hint))
    except Exception as error:  # noqa: BLE001 - the hints of a dataclass are evaluated: the user's code
        if parameter.default is not parameter.empty:
            return None
        problem = f"parameter {parameter.name!r}: {error}; give it another hint, a default, or take the function out"
        raise place.bad(problem) from None
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    if default is not parameter.empty and default is not None:
        with suppress(TypeError, ValueError):  # where it is no value of JSON's, it is not shown
            schema["default"] = json.loads(canonical_json(default))
    return schema


def _import(load: Callable[[], _T], *, folder: Path, place: Place) -> _T:
    """Run the user's code: its folder is looked into last, and what goes wrong is a DataError."""
    added = str(folder) not in sys.path
    if added:
        sys.path.append(str(folder))
    try:
        return load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may go wrong in the user's code
        raise place.bad(f"cannot be imported ({type(error).__name__}: {error}); mend it or leave it out") from None
    finally:
        if added:
            sys.path.remove(str(folder))
