"""Which MCP servers there are, from the `mcpServers` JSON file that desktop clients and editors read too.

    {"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}, "cwd": "/srv"},
                    "shop": {"url": "https://shop.example/mcp", "headers": {"Authorization": "Bearer ${SHOP_TOKEN}"}}}}

`${NAME}` in `args`, `url` or a value of `env` or `headers` is the environment variable NAME, so that no secret need
stand in the file.
What is ours: `"session": "episode"` gives each episode a server of its own, for one that remembers; `${SESSION_DIR}` in
`args`, `env` or `cwd` is a new empty folder, deleted with the session, for one that remembers in files; and `"hidden"`
lists names or patterns (`"reset*"`) of tools that nobody may call. What only others' clients read is passed over.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from envs.executors.stderr_tail import blotted
from retriever.base.errors import DataError
from retriever.base.files import read_json
from retriever.base.nearest import did_you_mean

_FIELDS = ("command", "args", "env", "cwd", "url", "headers", "type", "disabled", "session", "hidden")
_OF_OTHERS = frozenset(  # what Claude, Cursor, Cline, VS Code and Gemini keep beside it
    "alwaysAllow autoApprove description disabledTools envFile gallery icon name oauth timeout tools transportType "
    "trust version".split()
)
_TYPES = ("stdio", "http", "streamable-http", "streamableHttp", "streamable_http")
_SESSION_DIR = "${SESSION_DIR}"
_SECRET_OPTION = re.compile(r"-.*(auth|credential|header|key|pass|secret|token)[^=]*", re.IGNORECASE)
_STDIO_ONLY, _HTTP_ONLY = ("args", "env", "cwd"), ("headers",)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerConfig:
    """One server: a program to be started, or an address."""

    name: str  # tools' ids are name/tool
    command: str = ""  # of a program that speaks MCP on its standard input and output; "" where there is a url
    args: tuple[str, ...] = field(default=(), repr=False)  # repr: each of these may hold secrets
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    cwd: str | None = None
    url: str = field(default="", repr=False)  # of a streamable-HTTP endpoint; "" where there is a command
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    session: Literal["shared", "episode"] = "shared"
    hidden: tuple[str, ...] = ()  # names or patterns of tools
    path: Path = Path()  # the file that it is from, for messages
    filled: tuple[str, ...] = field(default=(), repr=False)  # values of the environment that went into all this

    @property
    def started_by(self) -> str:
        """The command and how many arguments it has, or the address without user and query: no secret is in it."""
        if not self.command:
            parts = urlsplit(self.url)
            return blotted(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", self.secrets)
        count = len(self.args)
        return f"{self.command}, {count} argument{'' if count == 1 else 's'}" if count else self.command

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is to be shown to nobody, as far as it can be told: of `args`, what was filled in, and the values of
        options that sound like it.
        """
        parts = urlsplit(self.url)
        in_url = (parts.username, parts.password, *(value for _, value in parse_qsl(parts.query)))
        in_args = []
        for before, arg in zip(("", *self.args), self.args, strict=False):
            option, _, value = arg.partition("=")
            if _SECRET_OPTION.fullmatch(option) and value:
                in_args.append(value)
            elif _SECRET_OPTION.fullmatch(before):
                in_args.append(arg)
        found = (*self.env.values(), *self.headers.values(), *self.filled, *in_args, *filter(None, in_url))
        # "Bearer abc" may come back as "abc", and "a%20b" of an address as "a b"
        return (*found, *(text.rpartition(" ")[2] for text in found), *map(unquote, found))

    @property
    def wants_folder(self) -> bool:
        """Whether a session needs a folder of its own."""
        return any(_SESSION_DIR in text for text in (*self.args, *self.env.values(), self.cwd or ""))

    def in_folder(self, folder: str) -> "McpServerConfig":
        """The same with `folder` as the session's."""
        return replace(
            self,
            args=tuple(arg.replace(_SESSION_DIR, folder) for arg in self.args),
            env={name: value.replace(_SESSION_DIR, folder) for name, value in self.env.items()},
            cwd=self.cwd and self.cwd.replace(_SESSION_DIR, folder),
        )

    def hides(self, tool: str) -> bool:
        """Whether the tool of this name may not be called."""
        return any(fnmatchcase(tool, pattern) for pattern in self.hidden)


def is_mcp_config(path: Path) -> bool:
    """Whether a file is JSON with `mcpServers` in it."""
    if path.suffix != ".json" or not path.is_file() or b'"mcpServers"' not in path.read_bytes():
        return False
    try:
        document = read_json(path, what="MCP servers")
    except DataError:
        return False
    return isinstance(document, dict) and "mcpServers" in document


def read_mcp_config(path: str | Path) -> tuple[McpServerConfig, ...]:
    """The servers of a file, those with `"disabled": true` left out. Raises UserError, or DataError with the field."""
    file = Path(path).expanduser()
    document = read_json(file, what="MCP servers")
    servers = document.get("mcpServers") if isinstance(document, dict) else None
    if not isinstance(servers, dict):
        raise DataError('expected {"mcpServers": {"name": {"command": …}}}', path=file, field="mcpServers")
    read = [_Entry(file, name, value) for name, value in servers.items()]
    found = tuple(entry.server() for entry in read if not entry.value.get("disabled", False))
    if not found:
        raise DataError("names no server, or disabled ones only; add one", path=file, field="mcpServers")
    return found


class _Entry:
    """One entry of the file as it is checked: every error names the file and the field."""

    def __init__(self, path: Path, name: str, value: Any) -> None:
        self.path, self.name = path, name
        self._filled_in: list[str] = []
        if not isinstance(value, dict):
            raise self.bad(f"expected an object, got {value!r}", "")
        self.value: dict[str, Any] = value

    def server(self) -> McpServerConfig:
        self._check_fields()
        session = self.value.get("session", "shared")
        if session not in ("shared", "episode"):
            raise self.bad(f'expected "shared" or "episode", got {session!r}', "session")
        return McpServerConfig(
            name=self.name,
            command=self._text("command"),
            args=tuple(self._filled(text, f"args[{number}]") for number, text in enumerate(self._texts("args"))),
            env=self._mapping("env"),
            cwd=self._text("cwd") or None,
            url=self._url(),
            headers=self._mapping("headers"),
            session=cast(Literal["shared", "episode"], session),
            hidden=self._texts("hidden"),
            path=self.path,
            filled=tuple(self._filled_in),  # last: the fields above fill it
        )

    def _check_fields(self) -> None:
        if not self.name.strip("/ ") or not self.name.isprintable():
            raise self.bad("its name is empty or holds control characters; tools' ids begin with it", "")
        for key in self.value:
            if key not in _FIELDS and key not in _OF_OTHERS:
                raise self.bad(f"unknown{did_you_mean(key, _FIELDS)}; a server has {', '.join(_FIELDS)}", key)
        kind = self.value.get("type", _TYPES[0])
        if kind not in _TYPES:
            raise self.bad(f"{kind!r} is not spoken here; give one of {', '.join(_TYPES)}", "type")
        if bool(self._text("command")) == bool(self._text("url")):
            raise self.bad("expected either a command to start or a url to call", "command")
        has, useless = ("command", _HTTP_ONLY) if self._text("command") else ("url", _STDIO_ONLY)
        for key in useless:
            if self.value.get(key):
                raise self.bad(f"means nothing beside {has}; delete it", key)

    def _url(self) -> str:
        if not self._text("url"):
            return ""
        url = self._filled(self._text("url"), "url")
        try:
            sound = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
        except ValueError:
            sound = False
        if not sound:
            raise self.bad("expected http://host… or https://host…", "url")  # not shown: it may hold a secret
        return url

    def _text(self, key: str) -> str:
        value = self.value.get(key) or ""
        if not isinstance(value, str) or "\0" in value:
            raise self.bad(f"expected a string, got {value!r}", key)
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self.value.get(key) or []
        if not _are_texts(value):
            raise self.bad("expected a list of strings", key)  # not shown: it may be a secret
        return tuple(value)

    def _mapping(self, key: str) -> dict[str, str]:
        value = self.value.get(key) or {}
        if not isinstance(value, dict) or not _are_texts(list(value.values())):
            raise self.bad("expected an object of strings", key)  # not shown: it may be a secret
        return {name: self._filled(text, f"{key}.{name}") for name, text in value.items()}

    def _filled(self, text: str, key: str) -> str:
        def variable(match: re.Match[str]) -> str:
            if match[0] == _SESSION_DIR:
                return match[0]
            if (value := os.environ.get(match[1])) is None:
                raise self.bad(f"the environment variable {match[1]} is not set; export it", key)
            self._filled_in.append(value)
            return value

        return re.sub(r"\$\{(\w+)\}", variable, text)

    def bad(self, message: str, key: str) -> DataError:
        return DataError(message, path=self.path, field=".".join(filter(None, ("mcpServers", self.name, key))))


def _are_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(text, str) for text in value)
