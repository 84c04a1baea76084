"""Strict YAML to frozen dataclasses: every mistake is one line that names the key, the place and the remedy.

Not a general YAML reader: scalars follow YAML 1.2's core rules (`off` is text, `1e-5` a number, `010` text), and
anchors, tags and duplicate keys are refused.
"""

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from retriever.base.errors import UserError
from retriever.base.files import existing_file

PRESETS = Path(__file__).parent

T = TypeVar("T")

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A value as written, with the place where it was written."""

    value: Any  # a scalar, list[_Node] or dict[str, _Node]
    place: str  # "file.yaml:7" or "override 'key=value'"


_DIGITS = "[0-9][0-9_]*"
_FLOAT = rf"[-+]?(?:{_DIGITS}\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|{_DIGITS}[eE][-+]?[0-9]+)"
_CORE_SCALARS = (  # name, pattern, what its first character may be
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]),
)


def _implicit_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, firsts in _CORE_SCALARS:
        for first in firsts:
            table.setdefault(first, []).append((f"tag:yaml.org,2002:{name}", re.compile(rf"^(?:{pattern})$")))
    return table


class _Resolver(yaml.resolver.BaseResolver):
    """YAML 1.2's core scalars, so that `off` stays text and `1e-5` is a number; `1_000` stays allowed."""

    yaml_implicit_resolvers = _implicit_resolvers()


class _Loader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, _Resolver):
    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)


class _Dumper(yaml.emitter.Emitter, yaml.serializer.Serializer, yaml.representer.SafeRepresenter, _Resolver):
    def __init__(self, stream: Any, **options: Any) -> None:
        yaml.emitter.Emitter.__init__(self, stream, width=120, allow_unicode=True)
        yaml.serializer.Serializer.__init__(self)
        yaml.representer.SafeRepresenter.__init__(self, default_flow_style=False, sort_keys=False)
        _Resolver.__init__(self)


def is_override(argument: str) -> bool:
    """Is this command-line argument a `key.sub=value`, not a file or preset?"""
    return _OVERRIDE.match(argument) is not None


def load_config(schema: type[T], path: str | Path | None = None, overrides: Sequence[str] = ()) -> T:
    """`schema` built from a YAML file (and what it extends) with `key.sub=value` overrides on top.

    Raises UserError: no such file, broken YAML, an unknown key (naming the nearest known one), a wrong type or value.
    """
    tree = _Node(value={}, place="defaults") if path is None else _read(existing_file(path, what="config"), ())
    for override in overrides:
        tree = _merge(tree, _override(override))
    built = _build(schema, tree, "", _dotted_keys(schema))
    assert isinstance(built, schema)
    return built


def from_dict(schema: type[T], values: Any, *, source: str, overrides: Sequence[str] = ()) -> T:
    """`schema` from what `to_dict` made of one; as strict as `load_config`. `source` names the origin in errors."""
    tree = _as_node(values, source)
    for override in overrides:
        tree = _merge(tree, _override(override))
    built = _build(schema, tree, "", _dotted_keys(schema))
    assert isinstance(built, schema)
    return built


def to_dict(config: Any) -> Any:
    """Plain JSON-able values: dataclasses and mappings as dicts, tuples as lists, enums and paths as text."""
    if is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_dict(getattr(config, field.name)) for field in fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(value) for value in config]
    if isinstance(config, Enum):
        return config.value
    return str(config) if isinstance(config, Path) else config


def dump_yaml(config: Any) -> str:
    """YAML that `load_config` reads back to an equal config."""
    return yaml.dump_all([to_dict(config)], Dumper=_Dumper)


# --- reading ---


def _read(path: Path, children: tuple[Path, ...]) -> _Node:
    """The tree of a file merged over what it extends. `children`: the files that led here, to catch a circle."""
    resolved = path.resolve()
    if resolved in children:
        circle = " -> ".join(child.name for child in (*children, resolved))
        raise UserError(f"{path}: extends itself ({circle}); break the circle")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    tree = _parse(text, str(path))
    if tree.value is None:
        tree = _Node(value={}, place=str(path))
    if not isinstance(tree.value, dict):
        raise UserError(f"{tree.place}: expected keys and values at the top, got {_shown(tree)}")
    parent = tree.value.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent.value, str):
        raise UserError(f"{parent.place}: extends={_shown(parent)}: expected a preset, or a path from this file on")
    base = next((file for file in _extended(path, parent.value) if file.is_file()), None)
    if base is None:
        presets = sorted(file.stem for file in PRESETS.glob("*.yaml"))
        near = _nearest(Path(parent.value).stem, presets)
        hint = f"did you mean {near}?" if near else f"presets: {', '.join(presets)}"
        raise UserError(f"{parent.place}: extends={parent.value}: neither a file there nor a preset; {hint}")
    return _merge(_read(base, (*children, resolved)), tree)


def _extended(path: Path, name: str) -> tuple[Path, Path]:
    """What `extends: name` in the file `path` may mean, the likelier first."""
    return path.parent / name, PRESETS / f"{name}.yaml"


def _override(text: str) -> _Node:
    key, equals, value = text.partition("=")
    place = f"override {text!r}"
    if not equals or not all(key.split(".")):
        raise UserError(f"{place}: expected key=value or section.key=value")
    node = _parse(value, place)
    for part in reversed(key.split(".")):
        node = _Node(value={part: node}, place=place)
    return node


def _as_node(value: Any, place: str) -> _Node:
    if isinstance(value, dict):
        value = {str(key): _as_node(item, place) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_as_node(item, place) for item in value]
    return _Node(value=value, place=place)


def _merge(under: _Node, over: _Node) -> _Node:
    """Mappings merge key by key; anything else is replaced whole."""
    if not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(under.value)
    for key, node in over.value.items():
        merged[key] = _merge(merged[key], node) if key in merged else node
    return _Node(value=merged, place=over.place)


def _parse(text: str, source: str) -> _Node:
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = source if mark is None else _place(source, mark)
        raise UserError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    return _Node(value=None, place=source) if node is None else _convert(node, source, set())


def _place(source: str, mark: yaml.Mark) -> str:
    return source if source.startswith("override ") else f"{source}:{mark.line + 1}"


def _convert(node: yaml.Node, source: str, seen: set[int]) -> _Node:
    place = _place(source, node.start_mark)
    if id(node) in seen:
        raise UserError(f"{place}: YAML anchors are not read here; write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        entries: dict[str, _Node] = {}
        for key_node, value_node in node.value:
            key, at = key_node.value, _place(source, key_node.start_mark)
            if not isinstance(key, str):
                raise UserError(f"{at}: a key must be a plain word, not a {key_node.id}")
            if key in entries:
                raise UserError(f"{at}: key {key!r} is given twice (first at {entries[key].place}); keep one")
            value = _convert(value_node, source, seen)
            entries[key] = _Node(value=value.value, place=at)
        return _Node(value=entries, place=place)
    if isinstance(node, yaml.SequenceNode):
        return _Node(value=[_convert(item, source, seen) for item in node.value], place=place)
    return _Node(value=_scalar(node, place), place=place)


def _scalar(node: yaml.Node, place: str) -> str | int | float | bool | None:
    tag, text = node.tag.rpartition(":")[2], node.value
    match tag:
        case "str":
            return str(text)
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
    raise UserError(f"{place}: YAML tag {node.tag!r} is not read here; write a plain value")


# --- building ---


def _build(wanted: Any, node: _Node, key: str, known: Sequence[str]) -> Any:
    """`node` as the annotation `wanted`, or a UserError that names `key`, the value and what was expected."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return _plain(node)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _build_dataclass(wanted, node, key, known)
    if origin is Literal:
        for choice in arguments:
            if type(choice) is type(node.value) and choice == node.value:
                return choice
        raise _no_choice(node, key, [str(choice) for choice in arguments])
    if origin in (Union, types.UnionType):
        return _build_union(arguments, node, key, known)
    if origin is tuple:
        return _build_tuple(wanted, node, key, known)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(node.value, dict):
            raise _wrong(node, key, "a mapping")
        return {name: _build(arguments[1], item, f"{key}.{name}", known) for name, item in node.value.items()}
    return _build_scalar(wanted, node, key)


def _build_dataclass(wanted: type[Any], node: _Node, key: str, known: Sequence[str]) -> Any:
    if not isinstance(node.value, dict):
        raise _wrong(node, key or "the config", "a section of keys")
    prefix = f"{key}." if key else ""
    hints = get_type_hints(wanted)
    expected = {field.name: field for field in fields(wanted) if field.init}
    for name, item in node.value.items():
        if name not in expected:
            raise UserError(f"{item.place}: unknown key {prefix}{name}; {_suggestion(name, prefix, expected, known)}")
    for name, field in expected.items():
        if name not in node.value and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{node.place}: missing key {prefix}{name}; give it a value")
    return wanted(**{name: _build(hints[name], item, prefix + name, known) for name, item in node.value.items()})


def _build_union(arguments: tuple[Any, ...], node: _Node, key: str, known: Sequence[str]) -> Any:
    if node.value is None and type(None) in arguments:
        return None
    options = [option for option in arguments if option is not type(None)]
    if len(options) == 1:
        return _build(options[0], node, key, known)
    for option in options:
        try:
            return _build(option, node, key, known)
        except UserError:
            continue
    raise _wrong(node, key, " or ".join(_type_name(option) for option in arguments))


def _build_tuple(wanted: Any, node: _Node, key: str, known: Sequence[str]) -> tuple[Any, ...]:
    arguments = get_args(wanted)
    if not isinstance(node.value, list):
        raise _wrong(node, key, "a list, e.g. [a, b]")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(node.value)
    if len(arguments) != len(node.value):
        raise _wrong(node, key, f"a list of {len(arguments)}")
    pairs = enumerate(zip(arguments, node.value, strict=True))
    return tuple(_build(argument, item, f"{key}[{index}]", known) for index, (argument, item) in pairs)


def _build_scalar(wanted: Any, node: _Node, key: str) -> Any:
    value = node.value
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        choices = [str(member.value) for member in wanted]
        if value in choices:
            return wanted(value)
        raise _no_choice(node, key, choices)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if wanted in (bool, int, float, str) and type(value) is wanted:  # not isinstance: True is an int to Python
        return value
    hint = "; quote it" if wanted is str and isinstance(value, int | float) else ""
    raise _wrong(node, key, _type_name(wanted) + hint)


def _wrong(node: _Node, key: str, expected: str) -> UserError:
    return UserError(f"{node.place}: {key}={_shown(node)}: expected {expected}")


def _no_choice(node: _Node, key: str, choices: Sequence[str]) -> UserError:
    near = _nearest(str(node.value), choices)
    return _wrong(node, key, f"one of {', '.join(choices)}" + (f"; did you mean {near}?" if near else ""))


def _suggestion(name: str, prefix: str, siblings: Mapping[str, Any], known: Sequence[str]) -> str:
    """Nearest first among the section's own keys, then the same word in another section, then the list."""
    if near := _nearest(name, siblings):
        return f"did you mean {prefix}{near}?"
    elsewhere = {key.rpartition(".")[2]: key for key in sorted(known, key=lambda key: -key.count("."))}
    if near := _nearest(name, elsewhere):
        return f"did you mean {elsewhere[near]}?"
    return f"known here: {', '.join(siblings)}"


def _nearest(word: str, choices: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(word, list(choices), n=1)
    return found[0] if found else None


def _dotted_keys(schema: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    hints = get_type_hints(schema)
    for field in fields(schema):
        keys.append(prefix + field.name)
        if is_dataclass(hints[field.name]):
            keys += _dotted_keys(hints[field.name], f"{prefix}{field.name}.")
    return keys


def _plain(node: _Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def _shown(node: _Node) -> str:
    text = "nothing" if node.value is None else str(_plain(node))
    return text if len(text) <= 60 else text[:57] + "..."


def _type_name(wanted: Any) -> str:
    names: dict[Any, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    return names.get(wanted, getattr(wanted, "__name__", str(wanted)))
