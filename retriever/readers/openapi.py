"""OpenAPI 3.0 and 3.1 documents: one tool for each operation, its parameters and its body in one object schema.

Not read: security, responses, callbacks, webhooks. Where an argument goes (path, query, header, cookie, body) and which
server is asked stands not in the tool but in its request form; of two arguments with one name the later is called
`name_query`, say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retriever.readers.openapi_references import flattened, resolved, with_definitions
from retriever.readers.place import Place, as_object, published_version, shortly, tool_at
from retriever.readers.schema_dialects import object_schema
from retriever.tools import ToolDoc

WHAT = "an OpenAPI 3 document (.json, .yaml)"

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_SET_BY_CLIENTS = frozenset({"accept", "content-type", "authorization"})  # headers that are no parameters, says OpenAPI


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, as published."""

    document: Mapping[str, Any]
    path: str
    method: str
    item: Mapping[str, Any]  # what is said of the path: its methods, and parameters that they share


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentPlace:
    """Where in a request an argument goes, and how it is written there."""

    name: str  # as the document has it; the tool's argument may be called otherwise
    where: str  # path, query, header, cookie; body: a member of a body that is an object; whole_body
    style: str = ""  # OpenAPI's: simple, form, deepObject …
    explode: bool = False
    as_json: bool = False  # a parameter with `content` in place of a schema


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForm:
    """What a request of one operation looks like, without its values."""

    method: str  # "get"
    path: str  # "/pets/{id}"
    server: str  # "https://pets.example/v1", variables at their defaults; "" where the document names none
    media_type: str  # of the body; "" where there is none
    arguments: Mapping[str, ArgumentPlace] = field(hash=False)  # by the name that the tool has for it


@dataclass(slots=True)
class _Arguments:
    """The object schema that an operation's parameters and body are merged into."""

    place: Place
    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    places: dict[str, ArgumentPlace] = field(default_factory=dict)
    media_type: str = ""

    def add(self, schema: Any, place: ArgumentPlace, *, required: bool) -> None:
        name, where = place.name, place.where.removeprefix("whole_")
        if name in self.properties:
            name = f"{name}_{where}"
            if name in self.properties:
                raise self.place.bad(f"two arguments are called {name!r}; rename one of the two")
        self.properties[name] = schema
        self.places[name] = place
        if required:
            self.required.append(name)


def recognises(document: Any, place: Place) -> bool:
    """Whether `document` says that it is OpenAPI, or its forerunner Swagger."""
    return isinstance(document, dict) and ("openapi" in document or "swagger" in document)


def entries(documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Operation]]:
    """Every operation with its place. Raises DataError for what is no OpenAPI 3 document."""
    for place, published in documents:
        document = as_object(published, place)
        version = document.get("openapi", document.get("swagger"))
        if not str(version).startswith("3."):
            raise place.bad(f"expected OpenAPI 3.0 or 3.1, got version {shortly(version)}; convert the document")
        for path, value in as_object(document.get("paths") or {}, place.at("paths")).items():
            if path.startswith("x-"):
                continue
            spot = place.at("paths", path)
            item = as_object(resolved(value, document, spot), spot)
            for method in (method for method in item if method in _METHODS):
                yield spot.at(method), Operation(document=document, path=path, method=method, item=item)


def tool(entry: Operation, place: Place) -> ToolDoc:
    """The tool of one operation. Raises DataError."""
    operation, fields = entry, as_object(entry.item[entry.method], place)
    texts = [fields.get("summary") or "", fields.get("description") or ""]
    if not all(isinstance(text, str) for text in texts):
        raise place.bad(f"summary and description must be texts, got {shortly(texts)}")
    arguments = _arguments(operation, fields, place)
    schema: dict[str, Any] = {"type": "object", "properties": arguments.properties}
    if arguments.required:
        schema["required"] = arguments.required
    parameters = object_schema(with_definitions(schema, operation.document, place), place)
    words = re.sub(r"[^A-Za-z0-9]+", "_", operation.path).strip("_")
    tags = fields.get("tags")
    return tool_at(
        place,
        name=fields.get("operationId") or f"{operation.method.upper()} {operation.path}",
        call_as=None if fields.get("operationId") else f"{operation.method}_{words}",
        description="\n".join(filter(None, texts)),
        parameters=parameters,
        origin="http",
        version=published_version(_definition(operation, fields, parameters)),
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else (),
    )


def request_form(entry: Operation, place: Place) -> RequestForm:
    """How the operation is asked. Raises DataError where `tool` does, and for a server that cannot be made out."""
    fields = as_object(entry.item[entry.method], place)
    arguments = _arguments(entry, fields, place)
    return RequestForm(
        method=entry.method,
        path=entry.path,
        server=_server(fields.get("servers") or entry.item.get("servers") or entry.document.get("servers"), place),
        media_type=arguments.media_type,
        arguments=arguments.places,
    )


def _definition(operation: Operation, fields: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All that is said of an operation: its own fields, what it shares with others, and what its references stand for
    in its arguments. Those of its responses are not followed.
    """
    shared = {key: value for key, value in operation.item.items() if key not in _METHODS}
    api = {key: operation.document.get(key) for key in ("info", "servers")}
    return {**api, "path": [operation.path, operation.method, shared], "fields": fields, "parameters": parameters}


def _server(servers: Any, place: Place) -> str:
    """The first server's URL, each of its variables at its default."""
    if not servers:
        return ""
    first = servers[0] if isinstance(servers, list) else servers
    url = first.get("url") if isinstance(first, dict) else None
    if not isinstance(url, str):
        raise place.at("servers", 0).bad(f"expected a server with a url, got {shortly(first)}")
    for name, variable in as_object(first.get("variables") or {}, place.at("servers", 0, "variables")).items():
        default = variable.get("default") if isinstance(variable, dict) else None
        url = url.replace(f"{{{name}}}", str(default))
    return url


def _arguments(operation: Operation, fields: Mapping[str, Any], place: Place) -> _Arguments:
    arguments = _Arguments(place)
    _add_parameters(arguments, [*_parameters(operation.item, place), *_parameters(fields, place)], operation.document)
    _add_body(arguments, fields.get("requestBody"), operation.document)
    return arguments


def _parameters(item: Mapping[str, Any], place: Place) -> list[tuple[Place, Any]]:
    listed = item.get("parameters") or []
    if not isinstance(listed, list):
        raise place.at("parameters").bad(f"expected a list, got {shortly(listed)}")
    return [(place.at("parameters", number), parameter) for number, parameter in enumerate(listed)]


def _add_parameters(arguments: _Arguments, published: list[tuple[Place, Any]], document: Mapping[str, Any]) -> None:
    last: dict[tuple[str, str], dict[str, Any]] = {}  # the operation's own stand in for the path's
    for place, value in published:
        parameter = as_object(resolved(value, document, place), place)
        name, where = parameter.get("name"), parameter.get("in")
        if not isinstance(name, str) or not isinstance(where, str):
            raise place.bad(f"expected a parameter with name and in, got {shortly(parameter)}")
        last[name, where] = parameter
    for (name, where), parameter in last.items():
        if where == "header" and name.lower() in _SET_BY_CLIENTS:
            continue
        schema = parameter.get("schema", _of_media(parameter.get("content"), arguments.place)[1])
        for text in ("description", "example"):
            if isinstance(schema, dict) and text in parameter:
                schema = {text: parameter[text], **schema}
        style = parameter.get("style") or ("form" if where in ("query", "cookie") else "simple")
        written = ArgumentPlace(
            name=name,
            where=where,
            style=style,
            explode=parameter.get("explode", style == "form") is True,
            as_json="schema" not in parameter and "content" in parameter,
        )
        arguments.add(schema, written, required=where == "path" or parameter.get("required") is True)


def _add_body(arguments: _Arguments, published: Any, document: Mapping[str, Any]) -> None:
    """The properties of a body that is a plain object; of any other, one argument `body`."""
    if published is None:
        return
    place = arguments.place.at("requestBody")
    body = as_object(resolved(published, document, place), place)
    arguments.media_type, schema = _of_media(body.get("content"), place)
    needed = body.get("required") is True
    flat = flattened(schema, document, place)
    if flat is None:
        arguments.add(schema, ArgumentPlace(name="body", where="whole_body"), required=needed)
        return
    properties, required = flat
    for name, child in properties.items():
        if not (isinstance(child, dict) and child.get("readOnly") is True):  # the server's to set
            arguments.add(child, ArgumentPlace(name=name, where="body"), required=needed and name in required)


def _of_media(content: Any, place: Place) -> tuple[str, Any]:
    """(media type, schema) of a `content` map's JSON, or else of its first media type; ("", {}) when it has none."""
    media = as_object(content or {}, place.at("content"))
    chosen = next((name for name in media if "json" in name), next(iter(media), None))
    return (
        ("", {})
        if chosen is None
        else (chosen, as_object(media[chosen], place.at("content", chosen)).get("schema", {}))
    )
