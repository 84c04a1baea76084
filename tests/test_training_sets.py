"""ToolRL's supervised format, Seal-Tools and ToolBench's trajectories: as published, on small files of that form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from envs.datasets.json_stream import stream_list
from envs.datasets.seal_tools import read_seal_tools
from envs.datasets.toolbench_training import read_toolbench_training
from envs.datasets.toolrl import read_toolrl
from envs.datasets.user_files import read_tasks
from envs.types import Task, ToolCall
from launch.run import main
from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from retriever.schemas import parameters_problem

TOOLRL = Path(__file__).parents[2] / "shared" / "data" / "toolrl" / "rlla_sft.json"


class TestStreamedList:
    @pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
    def test_items_come_whole_whatever_a_read_gives(
        self, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("envs.datasets.json_stream._CHUNK_CHARS", chunk)
        items = [1234567, -2.5e3, "a, ]", {"b": [1, {"c": "é\n"}]}, [], None, True]
        path = tmp_path / "list.json"
        for text in (json.dumps(items), json.dumps(items, indent=2), f" \n{json.dumps(items, ensure_ascii=False)} "):
            path.write_text(text)
            assert list(stream_list(path, what="x")) == list(enumerate(items))
        path.write_text(" [ ] ")
        assert list(stream_list(path, what="x")) == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "expected a JSON list"),
            ('{"a": 1}', "expected a JSON list"),
            ("[1, 2", "breaks off behind item 1"),
            ("[1 2]", "breaks off behind item 0"),
            ("[1, ", "item 1 is not valid JSON"),
            ("[1, ]", "item 1 is not valid JSON"),
            ('[{"a": ', "item 0 is not valid JSON"),
            ("[" + "[" * 100_000, "item 0 is not valid JSON"),
        ],
    )
    def test_names_where_a_list_ends_too_early(self, tmp_path: Path, text: str, says: str) -> None:
        (tmp_path / "list.json").write_text(text)
        with pytest.raises(DataError, match=says):
            list(stream_list(tmp_path / "list.json", what="x"))


def toolrl_record(asked: str, output: str, *tools: tuple[str, dict[str, Any]]) -> dict[str, str]:
    lines = [
        f"{number}. Name: {name}\nDescription: Does it.\nParameters: {json.dumps(parameters)}"
        for number, (name, parameters) in enumerate(tools, start=1)
    ]
    instruction = (
        "**Available Tools**\nYou can use:\n" + "\n".join(lines) + "\n\n**Steps for Each Turn**\n1. **Think:** …"
    )
    return {"instruction": instruction, "input": f"**Dialogue Records History**\n{asked}", "output": output}


def call_of(name: str, /, **arguments: Any) -> str:
    return f"<think> So. </think>\n<tool_call>\n{json.dumps({'name': name, 'parameters': arguments})}\n</tool_call>"


FIND = ("Find It", {
    "name": {"description": "Whom", "type": "string", "default": ""},
    "years": {"description": "", "type": "List[int]", "default": ""},
    "limit": {"description": "", "type": "int, optional", "default": 10},
    "any": {"description": "", "type": "Callable[[float], float]", "default": ""},
    "either": {"description": "", "type": ["string", "null"], "default": ""},
})  # fmt: skip


class TestToolRL:
    def test_tools_and_tasks(self, tmp_path: Path) -> None:
        path = tmp_path / "sft.json"
        records = [
            toolrl_record("<user> Find Ada. </user>", call_of("Find It", name="Ada", years=[1815]), FIND),
            toolrl_record("<user> Hello. </user>", "<think> … </think>\n<response> Hi. </response>", FIND),
            toolrl_record("<user> Find 7. </user>", call_of("Find It", name=7), FIND),
            toolrl_record("<user> A </user>\n<response> B </response>\n<user> C </user>", call_of("Find It"), FIND),
            toolrl_record("<user> Lose it. </user>", call_of("Lose It"), FIND),
            toolrl_record("<user> Find. </user>", call_of("Find It"), ("Find It", {})),
        ]
        path.write_text(json.dumps(records))
        found = read_toolrl(path)
        assert [tool.id for tool in found.catalogue] == ["toolrl/Find It", "toolrl/Find It~5"]
        first = found.catalogue["toolrl/Find It"]
        assert (first.name, first.origin) == ("Find_It", "simulator")
        assert first.parameters["properties"] == {
            "name": {"type": "string", "description": "Whom"},
            "years": {"type": "array", "description": ""},
            "limit": {"type": "integer", "description": "", "default": 10},
            "any": {"description": ""},
            "either": {"type": ["string", "null"], "description": ""},
        }
        made = ToolCall(name="toolrl/Find It", arguments={"name": "Ada", "years": [1815]})
        assert found.tasks[0] == Task(
            id="toolrl/0", instruction="Find Ada.", gold_tools=(made.name,), gold_calls=(made,), tags=("calls",)
        )
        assert found.tasks[1] == Task(id="toolrl/1", instruction="Hello.", gold_calls=(), tags=("answers",))
        assert (found.tasks[2].gold_tools, found.tasks[2].gold_calls) == (("toolrl/Find It",), None)
        assert [task.id for task in found.tasks[3:]] == ["toolrl/5"]
        assert found.left_out == {
            "goes on with a dialogue": 1,
            "calls a tool that is not offered": 1,
            "gold calls that do not fit their schema": 1,
        }

    @pytest.mark.parametrize(
        ("record", "says"),
        [
            ({"instruction": "x"}, r"field '\[0\]': expected an object of the texts"),
            ({"instruction": "x", "input": "", "output": ""}, r"'\[0\].instruction': no tool in it"),
            (toolrl_record("<user>A</user>", "<tool_call>\nfind()\n</tool_call>", FIND), r"'\[0\].output': expected"),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, record: dict[str, Any], says: str) -> None:
        (tmp_path / "sft.json").write_text(json.dumps([record]))
        with pytest.raises(DataError, match=says):
            read_toolrl(tmp_path / "sft.json")

    def test_as_published(self) -> None:
        if not TOOLRL.is_file():
            pytest.skip(f"needs ../shared/data: no {TOOLRL}")
        found = read_toolrl(TOOLRL)
        assert (len(found.catalogue), len(found.tasks)) == (1147, 359)  # of 400 records
        assert found.left_out == {
            "goes on with a dialogue": 40,
            "calls a tool that is not offered": 1,
            "gold calls that do not fit their schema": 61,
        }
        assert sum(task.gold_tools is not None for task in found.tasks) == 338
        assert [tool.id for tool in found.catalogue if parameters_problem(tool.parameters)] == []


def lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


SEAL_TOOL = {
    "api_name": "getShippingRate", "api_description": "Retrieve a rate", "field": "Logistics/Shipping",
    "parameters": {
        "origin": {"type": "str", "description": "From where"}, "weight": {"type": "float", "description": "kg"},
        "express": {"type": "bool", "description": ""},
    },
    "required": ["origin"], "responses": {"rate": {"type": "float", "description": ""}},
}  # fmt: skip


def seal_task(id: str, **parameters: Any) -> dict[str, Any]:
    calling = [{"api": "getShippingRate", "parameters": parameters, "responses": ["API_call_0"]}]
    return {"id": id, "query": "What does it cost?", "calling": calling}


class TestSealTools:
    def test_tools_and_tasks(self, tmp_path: Path) -> None:
        lines(tmp_path / "tool.jsonl", [SEAL_TOOL])
        dev = [
            seal_task("dev-easy-0", origin="Oslo", weight="67.8", express="True"),
            seal_task("dev-difficult-1", origin="API_call_0"),
            seal_task("dev-difficult-2", origin="Oslo", weight="much"),
        ]
        lines(tmp_path / "dev.jsonl", dev)
        lines(tmp_path / "test_in_domain.jsonl", [seal_task("test_in_domain-easy-0", origin="Oslo", weight=2)])
        found = read_seal_tools(tmp_path)
        (tool,) = found.catalogue
        assert (tool.id, tool.tags) == ("Logistics/getShippingRate", ("Logistics",))
        assert tool.parameters["properties"]["weight"] == {"type": "number", "description": "kg"}
        assert tool.parameters["required"] == ["origin"]
        made = {"origin": "Oslo", "weight": 67.8, "express": True}  # published as text
        assert found.tasks[0] == Task(
            id="dev-easy-0",
            instruction="What does it cost?",
            split="dev",
            gold_tools=(tool.id,),
            gold_calls=(ToolCall(name=tool.id, arguments=made),),
            tags=("dev-easy",),
        )
        assert [task.gold_calls for task in found.tasks[1:3]] == [None, None]
        assert (found.tasks[3].split, found.tasks[3].tags) == ("test", ("test_in_domain-easy",))
        assert found.left_out == {
            "a call takes the response of another": 1,
            "gold calls that do not fit their schema": 1,
        }

    def test_names_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no tool.jsonl in"):
            read_seal_tools(tmp_path)
        lines(tmp_path / "tool.jsonl", [SEAL_TOOL])
        with pytest.raises(UserError, match="no task in .*; there should be train.jsonl"):
            read_seal_tools(tmp_path)
        calling = [{"api": "fly", "parameters": {}}]
        lines(tmp_path / "dev.jsonl", [seal_task("a", origin="x"), {"id": "b", "query": "x", "calling": calling}])
        with pytest.raises(DataError, match=r"dev.jsonl:2: field 'calling': calls 'fly', which is no tool"):
            read_seal_tools(tmp_path)
        lines(tmp_path / "dev.jsonl", [{"id": "b"}])
        with pytest.raises(DataError, match=r'dev.jsonl:1: expected an "id" and a "query"'):
            read_seal_tools(tmp_path)


APIS = [
    {
        "name": "quote_for_olato",
        "description": "Shows quotes",
        "parameters": {
            "type": "object",
            "properties": {"kind": {"type": "string", "description": "", "example_value": "love"}},
            "required": [],
            "optional": ["kind"],
        },
    },
    {"name": "rate_for_olato", "description": "Rates", "parameters": {"type": "object", "properties": {}}},
    {"name": "Finish", "description": "Ends", "parameters": {"type": "object", "properties": {}}},
]
QUOTE, RATE = (f"\nThought: \nAction: {name}\nAction Input: {{}}" for name in ("quote_for_olato", "rate_for_olato"))
ANSWER = '\nThought: \nAction: Finish\nAction Input: {\n  "return_type": "give_answer",\n  "final_answer": "…"\n}'
GIVE_UP = '\nThought: \nAction: Finish\nAction Input: {"return_type": "give_up_and_restart"}'
FINE, BROKEN = '{"error": "", "response": "{\'quote\': 1}"}', '{"error": "down", "response": ""}'


def trajectory(query: str, *turns: str) -> dict[str, Any]:
    """`turns`: the assistant's and the functions', in turn."""
    system = f"You are AutoGPT.\nSpecifically, you have access to the following APIs: {APIS}"
    spoken = [{"from": "system", "value": system}, {"from": "user", "value": f"\n{query}\nBegin!\n"}]
    spoken += [
        {"from": "function" if number % 2 else "assistant", "value": value} for number, value in enumerate(turns)
    ]
    return {"id": f"Step {len(turns)}: {query}", "conversations": spoken}


class TestToolBenchTrajectories:
    def test_tools_and_tasks(self, tmp_path: Path) -> None:
        path = tmp_path / "toolllama.json"
        records = [
            trajectory("A quote?", QUOTE),
            trajectory("A quote?", RATE, BROKEN, QUOTE, FINE, QUOTE, FINE[:-4], ANSWER),
            trajectory("A quote?", RATE, BROKEN, QUOTE, FINE, QUOTE),  # a step on the way, wherever it stands
            trajectory("Hopeless?", QUOTE, FINE, GIVE_UP),
            trajectory("Down?", QUOTE, BROKEN, ANSWER),
        ]
        path.write_text(json.dumps(records, indent=1))
        found = read_toolbench_training(path)
        assert [tool.id for tool in found.catalogue] == ["toolbench/quote_for_olato", "toolbench/rate_for_olato"]
        assert found.catalogue["toolbench/quote_for_olato"].parameters == {
            "type": "object",
            "properties": {"kind": {"type": "string", "description": "", "examples": ["love"]}},
            "required": [],
        }
        (task,) = found.tasks
        assert (task.instruction, task.gold_tools) == ("A quote?", ("toolbench/quote_for_olato",))
        assert (task.gold_calls, task.gold_answer, task.split) == (None, None, "train")
        assert found.left_out == {"gave up": 1, "no tool answered": 1}

    @pytest.mark.parametrize(
        ("record", "says"),
        [
            ({}, r"\[0\].conversations': expected a list of turns"),
            ({"conversations": [{"from": "user", "value": "x"}]}, "expected a system's turn, then a user's"),
            (
                {"conversations": [{"from": "system", "value": "APIs: x"}, {"from": "user", "value": "x"}]},
                "its list of APIs cannot be read",
            ),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, record: dict[str, Any], says: str) -> None:
        (tmp_path / "t.json").write_text(json.dumps([record]))
        with pytest.raises(DataError, match=says):
            read_toolbench_training(tmp_path / "t.json")


def test_a_data_set_is_written_for_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not TOOLRL.is_file():
        pytest.skip(f"needs ../shared/data: no {TOOLRL}")
    out = tmp_path / "out"
    assert main(["tasks", "fetch", "toolrl", "--path", str(TOOLRL), "--out", str(out)]) == 0
    assert "1,147 tools, 359 tasks (train 359)" in capsys.readouterr().out
    assert len(read_tasks(out / "tasks.jsonl", Catalogue.load(out / "tools.jsonl"))) == 359
    assert main(["tasks", "fetch", "toolrl", "--path", str(TOOLRL), "--out", str(out)]) == 2
    assert "holds tools or tasks already" in capsys.readouterr().err
    assert main(["tasks", "fetch", "seal-tools", "--out", str(tmp_path / "other")]) == 2
    assert "give what you have of it as --path PATH" in capsys.readouterr().err
