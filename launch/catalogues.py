"""Catalogues on the command line: others' files made into one, and what is to be said of it."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from envs.datasets.stabletoolbench import read_stabletoolbench
from envs.executors.mcp_config import is_mcp_config, read_mcp_config
from launch.display import new_console
from retriever.base.bad_entries import BadEntries, OnBad, refuse
from retriever.catalogue import Catalogue
from retriever.duplicates import NearDuplicates, near_duplicates, shared_names
from retriever.readers import read
from retriever.tools import ToolDoc

_STABLETOOLBENCH = "stabletoolbench"
_MCP_SERVERS = "mcp-servers"
FORMATS = (read.AUTO, *read.FORMATS, _MCP_SERVERS, _STABLETOOLBENCH)

_SHOWN = 10  # of each kind of remark, and of files


def import_tools(sources: Sequence[str], *, format: str, skip_bad: bool, out: Path | None) -> None:
    """Read `sources`, say what they gave and write it to `out`, if given. Raises UserError or DataError."""
    bad, console = BadEntries(keep=_SHOWN), new_console()
    files = list(_read(sources, format, bad if skip_bad else refuse, console))
    catalogue = Catalogue.of(itertools.chain.from_iterable(file.tools for file in files))
    console.print(_files_table(files))
    _say(console, _remarks(catalogue, near_duplicates(catalogue), bad))
    if out is not None:
        catalogue.save(out)
    what = "would write" if out is None else f"{out}:"
    _say(console, [f"{what} {len(catalogue)} tools, content hash {catalogue.content_hash[:12]}"])


def check(path: str, *, skip_bad: bool, duplicates: bool) -> None:
    """Say what is in a catalogue's file. Raises UserError, or DataError for the first bad line unless it is skipped."""
    bad = BadEntries(keep=_SHOWN)
    catalogue = Catalogue.load(path, on_bad=bad if skip_bad else refuse)
    console = new_console()
    console.print(_origins_table(catalogue))
    _say(console, _remarks(catalogue, near_duplicates(catalogue) if duplicates else (), bad))
    _say(console, [f"{path}: {len(catalogue)} tools, content hash {catalogue.content_hash[:12]}"])


def _read(sources: Sequence[str], format: str, on_bad: OnBad, console: Console) -> Iterator[read.FileTools]:
    kinds = {source: _kind(source) if format == read.AUTO else format for source in sources}
    apart = (_STABLETOOLBENCH, _MCP_SERVERS)
    if others := [source for source, kind in kinds.items() if kind not in apart]:
        yield from read.read_tools(*others, format=format, on_bad=on_bad)
    for source, kind in kinds.items():
        if kind == _STABLETOOLBENCH:
            tools = read_stabletoolbench(source).catalogue.tools
        elif kind == _MCP_SERVERS:
            tools = asyncio.run(_list_servers(source, on_bad, console))
        else:
            continue
        yield read.FileTools(path=Path(source), format=kind, tools=tools)


async def _list_servers(source: str, on_bad: OnBad, console: Console) -> tuple[ToolDoc, ...]:
    """What the servers of an `mcpServers` file list, started one after the other, and ended. A line for each."""
    from envs.executors.mcp_servers import McpServers  # here: it takes half a second, and few imports need it

    servers = McpServers(read_mcp_config(source))
    tools: list[ToolDoc] = []
    try:
        for config in servers.servers:
            _say(console, [f"{config.name}: {'starting' if config.command else 'calling'} {config.started_by}"])
            began = time.monotonic()
            listed = await servers.list_tools(config.name, on_bad=on_bad)
            _say(console, [f"{config.name}: {len(listed):,} tools in {time.monotonic() - began:.1f} s"])
            tools += listed
    finally:
        await servers.close()
    return tuple(tools)


def _kind(source: str) -> str:
    """The formats that retriever/readers do not know, or AUTO."""
    if any(Path(source).expanduser().glob("**/test_instruction")):
        return _STABLETOOLBENCH
    return _MCP_SERVERS if is_mcp_config(Path(source).expanduser()) else read.AUTO


def _files_table(files: Sequence[read.FileTools]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    table.add_column("format")
    table.add_column("tools", justify="right")
    for file in files[:_SHOWN]:
        table.add_row(escape(str(file.path)), file.format or "not read", f"{len(file.tools):,}")
    if rest := files[_SHOWN:]:
        table.add_row(f"… and {len(rest)} more", "", f"{sum(len(file.tools) for file in rest):,}")
    table.add_section()
    counts: Counter[str] = Counter()
    for file in files:
        counts[file.format or ""] += len(file.tools)
    for format, count in counts.items():
        if format:
            table.add_row("in all", format, f"{count:,}")
    return table


def _origins_table(catalogue: Catalogue) -> Table:
    table = Table("origin", box=box.SIMPLE_HEAD)
    table.add_column("tools", justify="right")
    table.add_column("categories", justify="right")
    for origin, count in Counter(tool.origin for tool in catalogue).items():
        categories = {tool.tags[:1] for tool in catalogue if tool.origin == origin}
        table.add_row(escape(origin), f"{count:,}", f"{len(categories):,}")
    return table


def _remarks(catalogue: Catalogue, groups: Sequence[NearDuplicates], bad: BadEntries) -> Iterator[str]:
    if names := shared_names(catalogue):
        yield f"names that several tools share, a model calls one of them: {len(names):,}"
        yield from _some(f"{name}: {', '.join(ids[:3])}" for name, ids in names.items())
    if groups:
        yield f"groups of near-duplicates, by the words of name and description: {len(groups):,}"
        yield from _some(f"{', '.join(group.ids[:3])} ({group.similarity:.2f})" for group in groups)
    if silent := [tool.id for tool in catalogue if not tool.description.strip()]:
        yield (
            f"tools without a description to be found by: {len(silent):,}; write one here, or where they are defined "
            "and import them again"
        )
        yield from _some(silent)
    if bad.count:
        yield f"bad entries left out: {bad.count:,}"
        yield from _some((str(error) for error in bad.first), count=bad.count)


def _some(items: Iterable[str], *, count: int | None = None) -> Iterator[str]:
    """The first few, and how many more there are of `count`, or else of the items."""
    listed = list(items)
    yield from (f"  {item}" for item in listed[:_SHOWN])
    if (more := (count or len(listed)) - _SHOWN) > 0:
        yield f"  … and {more:,} more"


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
