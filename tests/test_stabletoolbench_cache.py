"""StableToolBench's cache as a record: found under the published names, its arguments read from either spelling."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.datasets.stabletoolbench_cache import CacheImport, cache_path, import_stabletoolbench_cache
from envs.executors.record import Recorded
from envs.executors.record_store import RecordStore
from envs.types import ToolStatus
from launch.run import main
from retriever.base.bad_entries import BadEntries
from retriever.base.errors import DataError, UserError
from retriever.tools import ToolDoc


def tool(tool_id: str) -> ToolDoc:
    return ToolDoc(id=tool_id, name="t", description="", parameters={"type": "object"}, origin="simulator")


QUOTE, MEDIA = tool("Finance/Yahoo Finance/stock%2FPrice"), tool("News, Media/24-7 News/id")
PATHS = {
    QUOTE: "Finance/yahoo_finance_for_Finance/stock_price.json",
    MEDIA: "News_Media/get_24_7_news_for_News_Media/is_id.json",
}
CACHE: dict[str, dict[str, Any]] = {
    PATHS[QUOTE]: {
        "{'symbol': 'O\\'Neil', 'days': 3, 'live': True, 'none': None}": {"error": "", "response": "12.5"},
        '{"days": 3, "live": true, "none": null, "symbol": "O\'Neil"}': {"error": "", "response": "the same call"},
        "{}": {"error": "symbol is missing", "response": {"code": 400}},
    },
    PATHS[MEDIA]: {"": {"error": "", "response": ["a", "b"]}},
    "Finance/other_for_Finance/api.json": {"{}": {"error": "", "response": "of no tool"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, content in CACHE.items():
        write(tmp_path / "tool_response_cache" / path, json.dumps(content))
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    store = RecordStore(tmp_path / "record.sqlite")
    yield store
    store.close()


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def replayed(store: RecordStore, tool: ToolDoc, arguments: dict[str, Any]) -> tuple[ToolStatus, str]:
    reply = asyncio.run(Recorded(None, store, policy="replay_only").run(tool, arguments, timeout_s=1))
    return reply.status, reply.text


def test_names_are_those_of_the_published_server() -> None:
    assert {tool: str(cache_path(tool.id)) for tool in PATHS} == PATHS


def test_cached_responses_replay(folder: Path, store: RecordStore) -> None:
    steps: list[tuple[int, int]] = []
    counts = import_stabletoolbench_cache(
        folder, store, [QUOTE, MEDIA, tool("not.of.toolbench")], progress=lambda *step: steps.append(step)
    )
    assert counts == CacheImport(files=2, other_files=1, responses=4, recorded=3)
    assert steps == [(1, 2), (2, 2)]
    arguments = {"none": None, "live": True, "days": 3, "symbol": "O'Neil"}
    assert replayed(store, QUOTE, arguments) == (ToolStatus.OK, "12.5")  # the first of the two
    assert replayed(store, QUOTE, {}) == (ToolStatus.TOOL_ERROR, 'error: symbol is missing\n{"code": 400}')
    assert replayed(store, MEDIA, {}) == (ToolStatus.OK, '["a", "b"]')
    assert replayed(store, MEDIA, {"x": 1})[0] is ToolStatus.INFRA_ERROR


def test_importing_again_changes_nothing(folder: Path, store: RecordStore) -> None:
    import_stabletoolbench_cache(folder, store, [QUOTE, MEDIA])
    assert import_stabletoolbench_cache(folder / "tool_response_cache", store, [QUOTE, MEDIA]).recorded == 0
    assert len(store) == 3


def test_what_cannot_be_read_is_named(folder: Path, store: RecordStore) -> None:
    good = {"{'a': 1}": {"error": "", "response": "good"}}
    bad = {"[1]": good, "{'a': {1, 2}}": good, "{'a': f()}": good, "{'b': 1}": "text", "{'c': 1}": {"other": 1}}
    write(folder / "tool_response_cache" / PATHS[QUOTE], json.dumps({**bad, **good}))
    write(folder / "tool_response_cache" / PATHS[MEDIA], '{"{}": ')
    with pytest.raises(DataError, match=r"stock_price.json: field '\[1\]': not the str\(\) of a dict of arguments"):
        import_stabletoolbench_cache(folder, store, [QUOTE])
    left_out = BadEntries()
    counts = import_stabletoolbench_cache(folder, store, [QUOTE, MEDIA], on_bad=left_out)
    assert counts == CacheImport(files=2, other_files=1, responses=1, recorded=1)
    assert left_out.count == 6
    assert "is_id.json: not valid JSON" in str(left_out.first[-1])
    assert replayed(store, QUOTE, {"a": 1}) == (ToolStatus.OK, "good")


def test_another_folder_is_refused(tmp_path: Path, store: RecordStore) -> None:
    with pytest.raises(UserError, match="give the tool_response_cache folder"):
        import_stabletoolbench_cache(tmp_path, store, [QUOTE])


def test_the_command_makes_a_record_of_the_cache(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"category_name": "Finance", "tool_name": "Yahoo Finance", "api_name": "stock/Price"}
    api = {
        **names,
        "api_description": "A price.",
        "method": "GET",
        "required_parameters": [],
        "optional_parameters": [],
    }
    query = {"query_id": 1, "query": "q", "api_list": [api], "relevant APIs": [["Yahoo Finance", "stock/Price"]]}
    write(tmp_path / "data" / "test_instruction" / "G1_tool.json", json.dumps([query]))
    write(tmp_path / "data" / "test_query_ids" / "G1_tool.json", json.dumps({"1": 0}))
    out = tmp_path / "calls.sqlite"
    arguments = ["records", "import", str(folder), "--data", str(tmp_path / "data"), "--out", str(out)]
    assert main(arguments) == 0
    assert f"{out}: 2 of 3 responses are new; 2 calls in all" in capsys.readouterr().out
    assert main(arguments) == 0
    assert f"{out}: 0 of 3 responses are new; 2 calls in all" in capsys.readouterr().out
    write(folder / "tool_response_cache" / PATHS[QUOTE], "{")
    assert main(arguments) == 2
    assert "--skip-bad" in capsys.readouterr().err
    assert main([*arguments, "--skip-bad"]) == 0
    assert "left out: 1 in all" in capsys.readouterr().out
