"""StableToolBench's cache of API responses (Guo et al. 2024, arXiv 2403.07714) into a record of tool calls.

Reads `<Category>/<tool>_for_<Category>/<api>.json`: one object from Python's `str(arguments)` to {"error", "response"}.
Written from the published server's code; the published cache itself has not been read by us.
"""

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.datasets.stabletoolbench import identifier, parse_tool_id, standardize
from envs.executors.call_key import CallKey
from envs.executors.error_response import error_response
from envs.executors.record_store import Record, RecordStore
from retriever.base.bad_entries import OnBad, refuse
from retriever.base.errors import DataError, UserError
from retriever.base.files import read_json
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheImport:
    """What an import found."""

    files: int  # of tools in the catalogue
    other_files: int  # of tools that it does not have: left unread
    responses: int  # readable, in those files
    recorded: int  # new in the store; the others repeat a call that the store or the cache already has


def import_stabletoolbench_cache(
    folder: str | Path,
    store: RecordStore,
    tools: Iterable[ToolDoc],
    *,
    on_bad: OnBad = refuse,
    progress: Callable[[int, int], None] | None = None,
) -> CacheImport:
    """Record the cached responses of `tools`, whose ids are `category/tool/api` as `read_stabletoolbench` makes them.

    A call that is recorded already is left as it is; of two spellings of one call in a file, the first counts. `folder`
    is `tool_response_cache` or the folder that holds it. `on_bad` is told of each file or entry that cannot be read,
    `progress` of (files done, files). Raises UserError when there is no such folder, InfraError when the store fails.
    """
    root = _root(Path(folder).expanduser())
    by_path: defaultdict[Path, list[ToolDoc]] = defaultdict(list)
    for tool in tools:
        if tool.id.count("/") == 2:
            by_path[cache_path(tool.id)].append(tool)
    paths = sorted(path.relative_to(root) for path in root.glob("*/*/*.json"))
    wanted = [path for path in paths if path in by_path]
    responses = 0

    def records() -> Iterator[Record]:
        nonlocal responses
        for done, path in enumerate(wanted, start=1):
            for arguments, content in _entries(root / path, on_bad):
                responses += 1
                reply = error_response(content, served_from="live")
                for tool in by_path[path]:
                    yield Record(key=CallKey.of(tool, arguments), reply=reply)
            if progress is not None:
                progress(done, len(wanted))

    recorded = store.put_all(records())
    return CacheImport(files=len(wanted), other_files=len(paths) - len(wanted), responses=responses, recorded=recorded)


def cache_path(tool_id: str) -> Path:
    """Where StableToolBench's server keeps the responses of a tool, under `tool_response_cache`."""
    category, tool, api = parse_tool_id(tool_id)
    for separator in " ,/":
        category = category.replace(separator, "_")
    category = category.replace("__", "_")
    return Path(category, f"{standardize(tool)}_for_{category}", f"{identifier(api)}.json")


def _root(folder: Path) -> Path:
    for root in (folder / "tool_response_cache", folder):
        if next(root.glob("*/*_for_*/*.json"), None) is not None:
            return root
    raise UserError(f"no <Category>/<tool>_for_<Category>/<api>.json in {folder}; give the tool_response_cache folder")


def _entries(path: Path, on_bad: OnBad) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(arguments, {"error", "response"}) of each readable entry of a file."""
    try:
        content = read_json(path, what="StableToolBench cache")
        if not isinstance(content, dict):
            raise DataError(f"expected an object, got {type(content).__name__}; fetch the file again", path=path)
    except DataError as error:
        on_bad(error)
        return
    for written, answer in content.items():
        arguments = _arguments(written)
        if arguments is None:
            on_bad(DataError("not the str() of a dict of arguments; delete the entry", path=path, field=written[:80]))
        elif not isinstance(answer, dict) or not {"error", "response"} & answer.keys():
            on_bad(DataError('expected {"error", "response"}; delete the entry', path=path, field=written[:80]))
        else:
            yield arguments, answer


def _arguments(written: str) -> dict[str, Any] | None:
    """The arguments behind their text: JSON from some writers, Python's spelling from the others."""
    if not written:
        return {}  # the server's reading of no input
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(written)
            if isinstance(value, dict):
                value = json.loads(json.dumps(value, allow_nan=False))  # sets and bytes are no JSON
                return value if isinstance(value, dict) else None
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
