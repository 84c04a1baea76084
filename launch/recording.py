"""Records of tool calls, on the command line."""

from pathlib import Path

from envs.datasets.stabletoolbench import read_stabletoolbench
from envs.datasets.stabletoolbench_cache import import_stabletoolbench_cache
from envs.executors.record_store import RecordStore
from launch.display import Display, new_console
from retriever.base.bad_entries import BadEntries, refuse


def import_cache(cache: Path, *, data: Path, out: Path, skip_bad: bool) -> None:
    """Record StableToolBench's cached responses in `out`, and say what was found. Raises UserError or DataError."""
    tools = read_stabletoolbench(data).catalogue.tools
    display, bad = Display(new_console()), BadEntries()
    store = RecordStore(out)
    try:
        with display.steps("files") as step:
            found = import_stabletoolbench_cache(
                cache,
                store,
                tools,
                on_bad=bad if skip_bad else refuse,
                progress=lambda done, total: step(done, total, ""),
            )
        held = len(store)
    finally:
        store.close()
    for line in (
        *(f"left out: {error}" for error in bad.first),
        *([f"left out: {bad.count:,} in all"] if bad.count else []),
        f"{found.files:,} files of tools in {data}, and {found.other_files:,} of others, which were not read",
        f"{out}: {found.recorded:,} of {found.responses:,} responses are new; {held:,} calls in all",
    ):
        display.say(line)
