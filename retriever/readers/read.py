"""Tools from others' formats, by file, folder or module."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from retriever.base.bad_entries import OnBad, refuse
from retriever.base.errors import DataError, UserError
from retriever.base.nearest import did_you_mean
from retriever.entries import light
from retriever.readers import mcp_tools, openai_functions, openapi, own_form, python_functions
from retriever.readers.documents import CODE_SUFFIX, DATA_SUFFIXES, read_documents
from retriever.readers.place import Place
from retriever.tools import ToolDoc


class Format(Protocol):
    """What the module of a format offers: pure functions over what a file holds."""

    WHAT: str  # for messages

    def recognises(self, document: Any, place: Place) -> bool:
        """Whether a file is in this format, judged by the first document in it."""

    def entries(self, documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
        """What describes one tool each, in all documents of a file."""

    def tool(self, entry: Any, place: Place) -> ToolDoc:
        """The tool that an entry describes. Raises DataError."""


FORMATS: Mapping[str, Format] = {  # in the order in which they are tried on a file
    "python": python_functions,
    "openapi": openapi,
    "toolscout": own_form,
    "mcp": mcp_tools,
    "openai": openai_functions,
}
AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTools:
    """What one file gave."""

    path: Path  # of a module, its name
    format: str | None  # a key of FORMATS; None: a folder's file in none of them
    tools: tuple[ToolDoc, ...]


def read_tools(*sources: str | Path, format: str = AUTO, on_bad: OnBad = refuse) -> tuple[FileTools, ...]:
    """The tools of files and folders, in the order given, a folder's files in that of their paths.

    A tool's id is the file's path in its folder without the ending, "/", and the name as published; no two are equal.
    A folder's files of other endings, and names that begin with "_" or ".", are passed over. Python files are imported:
    that **runs them**. With `format="python"` a source may also be a module's dotted name.

    Raises UserError when there is nothing to read, and DataError with file, line and field for the first tool that is
    wrong, or for an id that is given twice; with another `on_bad` those are told to it and left out.
    """
    if format != AUTO and format not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"format {format!r} is unknown{did_you_mean(format, FORMATS)}; give {AUTO} or one of {known}")
    places: dict[str, Place] = {}  # of each tool that was found, by its id
    files: list[FileTools] = []
    for source in sources:
        named = not Path(source).expanduser().is_dir()
        for place in _files(source, format):
            files.append(_read_file(place, format=format, named=named, on_bad=on_bad, places=places))
    if not places:
        raise UserError(f"no tool in {', '.join(map(str, sources))}; give {_understood()}")
    return tuple(files)


def read_request_forms(*sources: str | Path, on_bad: OnBad = refuse) -> dict[str, tuple[str, openapi.RequestForm]]:
    """Of the OpenAPI documents among files and folders: by tool id, as `read_tools` gives it, the prefix of the ids of
    its document and how the operation is asked. Other documents are passed over. Raises as `read_tools` does.
    """
    forms: dict[str, tuple[str, openapi.RequestForm]] = {}
    for place in (place for source in sources for place in _files(source, AUTO)):
        if place.path.name.endswith(CODE_SUFFIX):
            continue
        with _left_out_if_bad(place, on_bad):
            documents = [each for each in read_documents(place, on_bad=on_bad) if openapi.recognises(each[1], place)]
            for spot, entry in openapi.entries(documents):
                with _left_out_if_bad(spot, on_bad):
                    forms[openapi.tool(entry, spot).id] = place.prefix, openapi.request_form(entry, spot)
    return forms


def _understood() -> str:
    return "; ".join(f"{form.WHAT}" for form in FORMATS.values())


def _files(source: str | Path, format: str) -> Iterator[Place]:
    """The files that a source stands for. Raises UserError when there is no such source."""
    path = Path(source).expanduser()
    if path.is_dir():
        code, data = (CODE_SUFFIX,), DATA_SUFFIXES
        wanted = code if format == "python" else data if format != AUTO else data + code
        for file in sorted(path.rglob("*")):
            inner = file.relative_to(path)
            if file.name.endswith(wanted) and not any(part[0] in "_." for part in inner.parts) and file.is_file():
                yield Place(path=file, prefix=_without_suffix(inner))
    elif path.is_file():
        if format != AUTO and (format == "python") != path.name.endswith(CODE_SUFFIX):
            raise UserError(f"{source} cannot be of format {format}, which is {FORMATS[format].WHAT}; leave format out")
        yield Place(path=path, prefix=_without_suffix(Path(path.name)))
    elif format == "python" and all(part.isidentifier() for part in str(source).split(".")):
        yield Place(path=path, prefix=str(source))
    else:
        raise UserError(f"no file or folder {source}; check the path")


def _without_suffix(path: Path) -> str:
    text = path.as_posix()
    return next((text.removesuffix(end) for end in (*DATA_SUFFIXES, CODE_SUFFIX) if text.endswith(end)), text)


def _read_file(place: Place, *, format: str, named: bool, on_bad: OnBad, places: dict[str, Place]) -> FileTools:
    """The tools of one file or module; `places` learns where each was found. A file that was named must be known."""
    tools: list[ToolDoc] = []
    chosen = None if format == AUTO else format
    with _left_out_if_bad(place, on_bad):
        documents = read_documents(place, on_bad=on_bad)
        if chosen is None:
            first = list(islice(documents, 1))
            chosen = _recognised(first)
            documents = chain(first, documents)
        if chosen is None:
            if named:
                raise place.bad(f"nothing that is understood; give {_understood()}")
            return FileTools(path=place.path, format=None, tools=())
        form = FORMATS[chosen]
        for spot, entry in form.entries(documents):
            with _left_out_if_bad(spot, on_bad):
                tool = light(form.tool(entry, spot))
                if tool.id in places:
                    raise spot.bad(f"{tool.id!r} is already the id of {places[tool.id]}; rename or drop one of the two")
                places[tool.id] = spot
                tools.append(tool)
    return FileTools(path=place.path, format=chosen, tools=tuple(tools))


def _recognised(first: Sequence[tuple[Place, Any]]) -> str | None:
    known = (name for place, document in first for name, form in FORMATS.items() if form.recognises(document, place))
    return next(known, None)


@contextmanager
def _left_out_if_bad(place: Place, on_bad: OnBad) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        on_bad(error)
    except RecursionError:
        on_bad(place.bad("is nested too deeply to be read; nest less"))
