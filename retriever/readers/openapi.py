"""OpenAPI 3.0 and 3.1 documents: one tool for each operation, its parameters and its body in one object schema.

Not read: servers, security, responses, callbacks, webhooks. Where an argument goes (path, query, header, cookie, body)
is told by the document alone; of two arguments with one name the later is called `name_query`, say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retriever.readers.openapi_references import flattened, resolved, with_definitions
from retriever.readers.place import Place, as_object, shortly, tool_at
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


@dataclass(slots=True)
class _Arguments:
    """The object schema that an operation's parameters and body are merged into."""

    place: Place
    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)

    def add(self, name: str, schema: Any, *, where: str, required: bool) -> None:
        if name in self.properties:
            name = f"{name}_{where}"
            if name in self.properties:
                raise self.place.bad(f"two arguments are called {name!r}; rename one of the two")
        self.properties[name] = schema
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
    arguments = _Arguments(place)
    _add_parameters(arguments, [*_parameters(operation.item, place), *_parameters(fields, place)], operation.document)
    _add_body(arguments, fields.get("requestBody"), operation.document)
    schema: dict[str, Any] = {"type": "object", "properties": arguments.properties}
    if arguments.required:
        schema["required"] = arguments.required
    words = re.sub(r"[^A-Za-z0-9]+", "_", operation.path).strip("_")
    tags = fields.get("tags")
    return tool_at(
        place,
        name=fields.get("operationId") or f"{operation.method.upper()} {operation.path}",
        call_as=None if fields.get("operationId") else f"{operation.method}_{words}",
        description="\n".join(filter(None, texts)),
        parameters=object_schema(with_definitions(schema, operation.document, place), place),
        origin="http",
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else (),
    )


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
        schema = parameter.get("schema", _of_media(parameter.get("content"), arguments.place))
        for text in ("description", "example"):
            if isinstance(schema, dict) and text in parameter:
                schema = {text: parameter[text], **schema}
        arguments.add(name, schema, where=where, required=where == "path" or parameter.get("required") is True)


def _add_body(arguments: _Arguments, published: Any, document: Mapping[str, Any]) -> None:
    """The properties of a body that is a plain object; of any other, one argument `body`."""
    if published is None:
        return
    place = arguments.place.at("requestBody")
    body = as_object(resolved(published, document, place), place)
    schema, needed = _of_media(body.get("content"), place), body.get("required") is True
    flat = flattened(schema, document, place)
    if flat is None:
        arguments.add("body", schema, where="body", required=needed)
        return
    properties, required = flat
    for name, child in properties.items():
        if not (isinstance(child, dict) and child.get("readOnly") is True):  # the server's to set
            arguments.add(name, child, where="body", required=needed and name in required)


def _of_media(content: Any, place: Place) -> Any:
    """The schema of a `content` map's JSON, or else of its first media type; {} when it says nothing."""
    media = as_object(content or {}, place.at("content"))
    chosen = next((name for name in media if "json" in name), next(iter(media), None))
    return {} if chosen is None else as_object(media[chosen], place.at("content", chosen)).get("schema", {})
