"""A request from the arguments of a call, as OpenAPI 3 says that they are written. Pure: nothing is sent here.

By https://spec.openapis.org/oas/v3.1.0#style-values; the styles matrix and label are written as simple.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from retriever.readers.openapi import ArgumentPlace, RequestForm

_SET_BY_CLIENTS = frozenset({"host", "content-length", "transfer-encoding", "connection"})  # no policy may set them
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|"}
_FORM = "application/x-www-form-urlencoded"
_BOUNDARY = "toolscout-3f9a4c1be2d07c58"


class BadArgument(Exception):
    """A value that cannot stand where it must; the message is the policy's to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent, below the server's address."""

    method: str  # "GET"
    target: str  # "/pets/7?fields=name"
    headers: tuple[tuple[str, str], ...]
    body: bytes


def build_request(form: RequestForm, arguments: Mapping[str, Any]) -> Request:
    """`arguments` are under the tool's names and fit its schema. Raises BadArgument."""
    path, query, body = form.path, list[tuple[str, str]](), dict[str, Any]()
    headers: dict[str, str] = {}
    cookies: list[str] = []
    whole: tuple[Any, ...] = ()
    refuse_half_characters(arguments)
    for name, value in arguments.items():
        place = form.arguments.get(name)
        if place is None:
            raise BadArgument(f"{name!r} is no argument of {form.method.upper()} {form.path}")
        if place.where == "path":
            path = path.replace(f"{{{place.name}}}", _segment(name, _joined(place, value)))
        elif place.where == "query":
            query += _pairs(place, value)
        elif place.where == "header" and place.name.lower() not in _SET_BY_CLIENTS:
            headers[_header_name(name, place)] = _one_line(name, _joined(place, value))
        elif place.where == "cookie":
            cookies += [f"{quote(key)}={quote(text)}" for key, text in _pairs(place, value)]
        elif place.where == "body":
            body[place.name] = value
        elif place.where == "whole_body":
            whole = (value,)
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    content = b""
    if whole or body:
        content = _body(form.media_type, whole[0] if whole else body)
        boundary = f"; boundary={_BOUNDARY}" if form.media_type == "multipart/form-data" else ""
        headers["Content-Type"] = form.media_type + boundary
    return Request(
        method=form.method.upper(),
        target=path + (f"{'&' if '?' in path else '?'}{urlencode(query, quote_via=quote)}" if query else ""),
        headers=tuple(headers.items()),
        body=content,
    )


def refuse_half_characters(arguments: Mapping[str, Any]) -> None:
    """Raises BadArgument for half a surrogate pair, which JSON can write and UTF-8 cannot."""
    for name, value in arguments.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problem = f"{name!r} holds half of a surrogate pair, which cannot be sent; write the character as it is"
            raise BadArgument(problem) from None


def _segment(name: str, text: str) -> str:
    """One segment of a path. What would lead to another path is refused: servers and proxies decode it too soon."""
    if text in ("", ".", ".."):
        raise BadArgument(f"{name!r} may not be {text!r}: it stands in the address")
    return quote(text, safe="")


def _header_name(name: str, place: ArgumentPlace) -> str:
    if not _HEADER_NAME.fullmatch(place.name):
        raise BadArgument(
            f"{name!r} cannot be sent: the document gives it to {place.name!r}, which no header is called"
        )
    return place.name


def _one_line(name: str, text: str) -> str:
    if not text.isprintable() or not text.isascii():
        raise BadArgument(f"{name!r} may hold printable ASCII only: it stands in a header")
    if text != text.strip():
        raise BadArgument(f"{name!r} may not begin or end with a blank: it stands in a header")
    return text


def _pairs(place: ArgumentPlace, value: Any) -> list[tuple[str, str]]:
    """The names and values of a query or a cookie."""
    if isinstance(value, dict) and not place.as_json:
        if place.style == "deepObject":
            return [(f"{place.name}[{key}]", _text(item)) for key, item in value.items()]
        if place.explode:
            return [(key, _text(item)) for key, item in value.items()]
    if isinstance(value, list) and place.explode and not place.as_json:
        return [(place.name, _text(item)) for item in value]
    return [(place.name, _joined(place, value))]


def _joined(place: ArgumentPlace, value: Any) -> str:
    if place.as_json:
        return json.dumps(value, ensure_ascii=False)
    separator = _SEPARATORS.get(place.style, ",")
    if isinstance(value, list):
        return separator.join(_text(item) for item in value)
    if isinstance(value, dict):
        if place.explode:
            return separator.join(f"{key}={_text(item)}" for key, item in value.items())
        return separator.join(f"{key}{separator}{_text(item)}" for key, item in value.items())
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _body(media_type: str, value: Any) -> bytes:
    if isinstance(value, dict) and media_type == _FORM:
        pairs = [
            (key, item) for key, items in value.items() for item in (items if isinstance(items, list) else [items])
        ]
        return urlencode([(key, _text(item)) for key, item in pairs]).encode()
    if isinstance(value, dict) and media_type == "multipart/form-data":
        return _multipart({key: _text(item) for key, item in value.items()})
    if isinstance(value, str) and "json" not in media_type:
        return value.encode()
    return json.dumps(value, ensure_ascii=False).encode()


def _multipart(texts: Mapping[str, str]) -> bytes:
    if any(_BOUNDARY in text for text in texts.values()):
        raise BadArgument("a value of the body may not hold the boundary between them")
    head = '--{}\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    parts = [head.format(_BOUNDARY, quote(key, safe=" []"), text) for key, text in texts.items()]
    return ("".join(parts) + f"--{_BOUNDARY}--\r\n").encode()
