"""BFCL: the readers on a small folder written by hand, and on the wheel where there is one; its stateful tools."""

import asyncio
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envs.datasets.bfcl import NO_CALL, SOME_CALL, WITH_GOLD_CALLS, Bfcl, concrete, read_bfcl
from envs.datasets.bfcl_dialogues import MULTI_TURN, STATEFUL, BfclDialogue, BfclDialogues, read_dialogues
from envs.datasets.bfcl_episodes import SPLIT, dialogue_task, dialogue_tasks
from envs.datasets.bfcl_files import BfclFiles
from envs.datasets.user_files import read_tasks
from envs.executors.bfcl_state import BfclStateBackend, load_classes
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import AllowedCall, AnswerCheck, StopReason, ToolCall, ToolStatus
from launch.fetching import WHEEL
from launch.run import main
from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from retriever.schemas import parameters_problem
from retriever.tools import ToolDoc
from rewards.answers import answer_score
from rewards.ast_rules import ast_verdict
from rollout.records import RecordReader
from tests.benchmarks.bfcl_agreement import compare
from tests.benchmarks.bfcl_dialogues import CHANGES, play_all, run_gold
from train.evaluation.metrics import trajectory_metrics

Lines = Sequence[Mapping[str, Any]]


def function(name: str, required: Sequence[str] = (), **types: str) -> dict[str, Any]:
    """As BFCL describes one."""
    properties = {key: {"type": kind, "description": ""} for key, kind in types.items()}
    return {
        "name": name,
        "description": f"Does {name}.",
        "parameters": {"type": "dict", "properties": properties, "required": list(required)},
    }


def record(id: str, *functions: dict[str, Any], asked: str = "Please.", **fields: Any) -> dict[str, Any]:
    question = [[{"role": "user", "content": asked}]]
    return {"id": id, "question": question, **({"function": list(functions)} if functions else {}), **fields}


ADD, ADD_FLOATS, PLAY = (
    function("math.add", ["a", "b"], a="integer", b="integer"),
    function("math.add", ["a", "b"], a="float", b="float"),
    function("play", ["artist"], artist="string", minutes="integer"),
)

# A counter for the dialogues' first class, as the package would have it; the other classes are empty.
COUNTER = """
class GorillaFileSystem:
    def __init__(self):
        self.count = 0
        self._hidden = 0

    def _load_scenario(self, scenario, long_context=False):
        self.count = scenario.get("count", 0) + (1000 if long_context else 0)

    def bump(self, by, note=""):
        self.count += by
        return {"count": self.count}

    def fail(self):
        raise StopIteration("no more")

    def refuse(self):
        return {"error": "not now"}
"""


def write(path: Path, lines: Lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def folder(root: Path, records: Mapping[str, Lines] = {}, answers: Mapping[str, Mapping[str, Any]] = {}) -> Path:
    """A folder as the wheel unpacks into it, with these records and answers; all other files are empty."""
    data = root / "bfcl_eval" / "data"
    for category in (*WITH_GOLD_CALLS, *NO_CALL, *SOME_CALL, "web_search", "memory", *MULTI_TURN):
        write(data / f"BFCL_v4_{category}.json", records.get(category, ()))
        known = [{"id": id, "ground_truth": truth} for id, truth in answers.get(category, {}).items()]
        write(data / "possible_answer" / f"BFCL_v4_{category}.json", known)
    docs = data / "multi_turn_func_doc"
    for name in ("web_search", "memory_kv", "memory_vector", "memory_rec_sum", *(doc for _, doc in STATEFUL.values())):
        write(docs / f"{name}.json", ())
    bump = function("bump", ["by"], by="integer", note="string")
    write(docs / "gorilla_file_system.json", [bump, function("fail"), function("refuse")])
    write(docs / "web_search.json", [function("search", ["keywords"], keywords="string")])
    package = root / "bfcl_eval" / "eval_checker" / "multi_turn_eval" / "func_source_code"
    package.mkdir(parents=True)
    for place in (package, *list(package.parents)[:3]):
        (place / "__init__.py").touch()
    for name, (module, _) in STATEFUL.items():
        (package / f"{module}.py").write_text(COUNTER if name == "GorillaFileSystem" else f"class {name}:\n    pass\n")
    return root


RECORDS = {
    "simple_python": [
        record("simple_python_0", ADD, asked="4 and 5?"),
        record("simple_python_1", ADD_FLOATS, asked="4.5 and 5?"),
    ],
    "parallel_multiple": [record("parallel_multiple_0", PLAY, ADD, asked="Play, add, add.")],
    "live_simple": [record("live_simple_0-0-0", PLAY)],
    "irrelevance": [record("irrelevance_0", function("boil", ["egg"], egg="string"))],
    "live_relevance": [record("live_relevance_0-0-0", PLAY)],
    "web_search": [record("web_search_0", involved_classes=["WebSearchAPI"], asked="How old?")],
}
ANSWERS: dict[str, dict[str, Any]] = {
    "simple_python": {
        "simple_python_0": [{"math.add": {"a": [4], "b": [5]}}],
        "simple_python_1": [{"math.add": {"a": [4.5], "b": [5]}}],
    },
    "parallel_multiple": {
        "parallel_multiple_0": [
            {"play": {"artist": ["Toto", "TOTO band"], "minutes": ["", 3]}},
            {"math.add": {"a": [1], "b": [2]}},
            {"math.add": {"a": [2, 3], "b": [2]}},
        ]
    },
    "live_simple": {"live_simple_0-0-0": [{"play": {"artist": [None], "minutes": [1]}}]},
    "web_search": {"web_search_0": ["35", "thirty five"]},
}


class TestReader:
    @pytest.fixture
    def bfcl(self, tmp_path: Path) -> Bfcl:
        return read_bfcl(BfclFiles(folder(tmp_path, RECORDS, ANSWERS)))

    def test_one_open_catalogue(self, bfcl: Bfcl) -> None:
        assert [tool.id for tool in bfcl.catalogue] == ["bfcl/math.add", "bfcl/math.add~simple_python_1", "bfcl/play"]
        assert [tool.name for tool in bfcl.catalogue] == ["math_add", "math_add", "play"]  # as a model can call them
        assert bfcl.catalogue["bfcl/math.add"].parameters == {
            "type": "object",
            "properties": {"a": {"type": "integer", "description": ""}, "b": {"type": "integer", "description": ""}},
            "required": ["a", "b"],
        }
        assert [tool.id for tool in bfcl.functions if tool.id not in bfcl.catalogue] == ["bfcl/boil", "bfcl/search"]

    def test_tasks_with_gold_calls_and_all_that_is_right(self, bfcl: Bfcl) -> None:
        assert [task.id for task in bfcl.tasks] == [
            *("simple_python_0", "simple_python_1", "parallel_multiple_0", "live_simple_0-0-0"),
        ]
        several = bfcl.tasks[2]
        assert (several.instruction, several.split, several.tags) == ("Play, add, add.", "test", ("parallel_multiple",))
        assert several.gold_tools == ("bfcl/play", "bfcl/math.add")
        assert several.gold_calls == (
            ToolCall(name="bfcl/play", arguments={"artist": "Toto"}),  # minutes may be left out, and "" comes first
            ToolCall(name="bfcl/math.add", arguments={"a": 1, "b": 2}),
            ToolCall(name="bfcl/math.add", arguments={"a": 2, "b": 2}),
        )
        assert several.allowed_calls is not None
        assert several.allowed_calls[0].arguments == {"artist": ["Toto", "TOTO band"], "minutes": ["", 3]}
        assert bfcl.tasks[1].gold_tools == ("bfcl/math.add~simple_python_1",)

    def test_values_that_fit_no_schema_make_no_gold_call(self, bfcl: Bfcl) -> None:
        null_for_a_string = bfcl.tasks[3]
        assert (null_for_a_string.gold_calls, null_for_a_string.gold_tools) == (None, ("bfcl/play",))
        assert bfcl.counts()["live_simple"] == {"records": 1, "gold_calls": 1, "not_concrete": 1}

    def test_records_without_gold_calls(self, bfcl: Bfcl) -> None:
        (nothing,) = bfcl.records["irrelevance"]
        assert (nothing.task.allowed_calls, nothing.offered) == ((), ("bfcl/boil",))
        (something,) = bfcl.records["live_relevance"]
        assert (something.task.allowed_calls, something.offered) == (None, ("bfcl/play",))
        (searched,) = bfcl.records["web_search"]
        assert (searched.task.answer_check, searched.offered) == (AnswerCheck.REGEX, ("bfcl/search",))
        answers = ("She is Thirty  Five.", "35", "135", "")
        assert [answer_score(answer, searched.task) for answer in answers] == [1.0, 1.0, 0.0, 0.0]

    def test_a_wheel_reads_as_its_folder(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "x", RECORDS, ANSWERS)
        with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
            for path in sorted(root.rglob("*")):
                wheel.write(path, path.relative_to(root))
        packed, unpacked = read_bfcl(BfclFiles(tmp_path / "a.whl")), read_bfcl(BfclFiles(root))
        assert packed.tasks == unpacked.tasks
        assert packed.catalogue.content_hash == unpacked.catalogue.content_hash

    def test_names_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no bfcl_eval/data in .*; give the wheel of bfcl-eval"):
            BfclFiles(tmp_path)
        (tmp_path / "no.whl").write_text("x")
        with pytest.raises(UserError, match="no.whl is no wheel"):
            BfclFiles(tmp_path / "no.whl")
        for name, answers, says in (
            ("a", {}, "BFCL_v4_simple_python.json:1: no possible answer for this record"),
            ("b", {"s": [{"sub": {}}]}, "calls 'sub', which the record does not offer"),
            ("c", {"s": ["math.add"]}, "expected a possible answer"),
        ):
            root = folder(tmp_path / name, {"simple_python": [record("s", ADD)]}, {"simple_python": answers})
            with pytest.raises(DataError, match=says):
                read_bfcl(BfclFiles(root))
        lost = folder(tmp_path / "d", {}, {})
        (lost / "bfcl_eval/data/BFCL_v4_multiple.json").unlink()
        with pytest.raises(UserError, match=r"no .*BFCL_v4_multiple.json; this is not bfcl-eval"):
            read_bfcl(BfclFiles(lost))

    def test_concrete_objects(self) -> None:
        """Objects list the right values of each key, one level deep."""
        box = {"type": "object", "properties": {"w": {"type": "integer"}}}
        schema = {"type": "object", "properties": {"box": box, "boxes": {"type": "array", "items": box}}}
        tool = ToolDoc(id="t", name="t", description="", parameters=schema)
        gold = AllowedCall(
            name="t", arguments={"box": [{"w": [1, 2], "h": ["", "x"]}], "boxes": [[{"w": ["", 3]}, {"w": [4]}]]}
        )
        found = concrete(gold, tool)
        assert found == ToolCall(name="t", arguments={"box": {"w": 1}, "boxes": [{}, {"w": 4}]})
        assert ast_verdict([found], [gold], lambda _: schema).right


DIALOGUE: dict[str, Any] = {
    "id": "multi_turn_base_0",
    "question": [[{"role": "user", "content": "Up."}], [], [{"role": "user", "content": "Again."}]],
    "initial_config": {"GorillaFileSystem": {"count": 5}},
    "involved_classes": ["GorillaFileSystem"],
    "missed_function": {"1": ["fail"]},
    "excluded_function": ["refuse"],
}
GOLD = [["bump(2)", "bump(by=1, note='x')"], [], ["bump(-1)"]]


@pytest.fixture
def small(tmp_path: Path) -> tuple[BfclDialogues, BfclDialogue, Path]:
    root = folder(
        tmp_path,
        {"multi_turn_base": [DIALOGUE], "multi_turn_long_context": [{**DIALOGUE, "id": "multi_turn_long_context_0"}]},
        {"multi_turn_base": {DIALOGUE["id"]: GOLD}, "multi_turn_long_context": {"multi_turn_long_context_0": GOLD}},
    )
    read = read_dialogues(BfclFiles(root))
    return read, read.dialogues["multi_turn_base"][0], root


class TestDialogues:
    def test_turns_tools_and_calls(self, small: tuple[BfclDialogues, BfclDialogue, Path]) -> None:
        read, dialogue, _ = small
        prefix = "bfcl/GorillaFileSystem."
        assert [tool.id for tool in read.catalogue] == [prefix + name for name in ("bump", "fail", "refuse")]
        assert dialogue.tools == (prefix + "bump",)  # one comes with turn 1, one is excluded
        assert [turn.text for turn in dialogue.turns] == ["Up.", "", "Again."]
        assert dialogue.turns[1].added == (prefix + "fail",)
        assert dialogue.turns[0].gold == (
            ToolCall(name=prefix + "bump", arguments={"by": 2}),
            ToolCall(name=prefix + "bump", arguments={"by": 1, "note": "x"}),
        )

    def test_a_gold_call_that_is_none_is_named(self, tmp_path: Path) -> None:
        for number, text in enumerate(("bump(2", "bump(by=x)", "walk()", "a.bump()")):
            gold = {"multi_turn_base": {DIALOGUE["id"]: [[text], [], []]}}
            root = folder(tmp_path / str(number), {"multi_turn_base": [DIALOGUE]}, gold)
            with pytest.raises(DataError, match=r"multi_turn_base_0: gold call .* of turn 0 cannot be read"):
                read_dialogues(BfclFiles(root))


def load_apart(monkeypatch: pytest.MonkeyPatch, root: Path) -> Mapping[str, type]:
    """The classes of `root`, whatever of the package was loaded before and will be after."""
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        monkeypatch.delitem(sys.modules, name)
    classes = load_classes(root)
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        sys.modules.pop(name)
    return classes


class TestStatefulBackend:
    def test_sessions_share_nothing(
        self, small: tuple[BfclDialogues, BfclDialogue, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, dialogue, root = small
        bump, task = read.catalogue["bfcl/GorillaFileSystem.bump"], dialogue_task(dialogue, read.catalogue)
        backend = BfclStateBackend(load_apart(monkeypatch, root))

        async def play() -> None:
            async with backend.session(task) as one, backend.session(task) as other:
                assert (await one.run(bump, {"by": 2}, timeout_s=5)).text == '{"count": 7}'
                assert (await other.run(bump, {"by": 1}, timeout_s=5)).text == '{"count": 6}'
                assert await one.state() == {"GorillaFileSystem": {"count": 7}}
                assert await other.state() == {"GorillaFileSystem": {"count": 6}}
            async with backend.session(task) as fresh:
                assert await fresh.state() == {"GorillaFileSystem": {"count": 5}}
            async with backend.session() as nobodys:
                assert (await nobodys.run(bump, {"by": 2}, timeout_s=5)).status is ToolStatus.UNKNOWN_TOOL

        asyncio.run(play())

    def test_long_context_and_calls_at_once(
        self, small: tuple[BfclDialogues, BfclDialogue, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, _, root = small
        (long,) = read.dialogues["multi_turn_long_context"]
        bump, task = read.catalogue["bfcl/GorillaFileSystem.bump"], dialogue_task(long, read.catalogue)

        async def play() -> None:
            async with BfclStateBackend(load_apart(monkeypatch, root)).session(task) as one:
                await asyncio.gather(*(one.run(bump, {"by": 1}, timeout_s=5) for _ in range(50)))
                assert await one.state() == {"GorillaFileSystem": {"count": 1055}}

        asyncio.run(play())

    def test_what_goes_wrong_is_a_typed_result(
        self, small: tuple[BfclDialogues, BfclDialogue, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, dialogue, root = small
        backend = BfclStateBackend(load_apart(monkeypatch, root))
        task = dialogue_task(dialogue, read.catalogue)
        foreign = ToolDoc(id="bfcl/MathAPI.add", name="add", description="", parameters={}, origin="bfcl")

        async def play() -> list[tuple[ToolStatus, str]]:
            async with RoutedExecutor({"bfcl": backend}, CallLimits()).session(task) as executor:
                tools = [*(read.catalogue[f"bfcl/GorillaFileSystem.{name}"] for name in ("fail", "refuse")), foreign]
                results = [await executor.call(tool, {}) for tool in tools]
                wrong = await executor.call(read.catalogue["bfcl/GorillaFileSystem.bump"], {"by": "two"})
                return [(result.status, result.text) for result in (*results, wrong)]

        assert asyncio.run(play()) == [
            (ToolStatus.TOOL_ERROR, "error: no more"),
            (ToolStatus.TOOL_ERROR, '{"error": "not now"}'),
            (ToolStatus.UNKNOWN_TOOL, "error: 'add' cannot be called here"),
            (ToolStatus.INVALID_ARGUMENTS, "error: invalid arguments: 'two' is not of type 'integer'"),
        ]

    def test_names_a_source_without_the_classes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UserError, match="cannot be loaded from"):
            load_apart(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """TOOLSCOUT_BFCL, or where launch/test.sh --slow downloads it to."""
    named = os.environ.get("TOOLSCOUT_BFCL")
    path = Path(named) if named else Path(sys.prefix) / "bfcl" / WHEEL
    if not path.exists():
        pytest.skip(f"needs bfcl-eval: no {path}; launch/test.sh --slow downloads it, or set TOOLSCOUT_BFCL")
    return path


@pytest.fixture(scope="module")
def published(wheel: Path) -> Bfcl:
    return read_bfcl(BfclFiles(wheel))


class TestAsPublished:
    def test_every_record_with_python_functions(self, published: Bfcl, wheel: Path) -> None:
        single = {category: counts["records"] for category, counts in published.counts().items()}
        assert single == {
            "simple_python": 400, "multiple": 200, "parallel": 200, "parallel_multiple": 200,
            "live_simple": 258, "live_multiple": 1053, "live_parallel": 16, "live_parallel_multiple": 24,
            "irrelevance": 240, "live_irrelevance": 884, "live_relevance": 16, "web_search": 100, "memory": 155,
        }  # fmt: skip
        dialogues = read_dialogues(BfclFiles(wheel)).dialogues
        assert [len(dialogues[category]) for category in MULTI_TURN] == [200] * 4
        # The wheel has 4,696 records; 150 of them are of Java and JavaScript.
        assert sum(single.values()) + sum(map(len, dialogues.values())) == 4696 - 150

    def test_the_open_catalogue(self, published: Bfcl) -> None:
        assert (len(published.catalogue), len(published.functions), len(published.tasks)) == (2405, 3142, 2351)
        assert [tool.id for tool in published.functions if parameters_problem(tool.parameters)] == []
        assert all(gold in published.catalogue for task in published.tasks for gold in task.gold_tools or ())

    def test_every_gold_call_is_right_by_the_rules(self, published: Bfcl) -> None:
        gold = [task for task in published.tasks if task.gold_calls is not None]
        assert len(gold) == 2351 - 23  # of which no values listed fit the schema
        wrong = [
            task.id
            for task in gold
            if not ast_verdict(
                task.gold_calls or (),
                task.allowed_calls or (),
                lambda tool_id: published.functions[tool_id].parameters,
            ).right
        ]
        assert wrong == []

    def test_the_rules_agree_with_the_packages_own_checker(self, wheel: Path) -> None:
        counts, valid, found = compare(wheel, seed=0, wrong=1)
        assert counts["gold"] == 2351
        assert counts.total() - counts["gold"] - counts["another value"] >= 5000
        assert all(0 < valid[change] < counts[change] for change in ("another value", "wrong value", "missing"))
        greedy = "parallel_function_checker_no_order:cannot_find_match"
        assert [one for one in found if (one.theirs, one.kind, one.ours.right) != (False, greedy, True)] == []
        assert len(found) <= 3

    def test_gold_dialogues_end_as_the_package_says(self, wheel: Path) -> None:
        """All 4,625 gold calls, 1,142 of them of the base category: the same responses, the same states."""
        figures = run_gold(wheel)
        assert list(figures.calls.values()) == [1142, 1140, 1140, 1203]
        assert (figures.responses_differ, figures.states_differ) == (0, 0)

    def test_dialogues_are_judged_as_the_package_judges_them(self, wheel: Path) -> None:
        """Ten of them in all their variants, played rightly and not quite; the benchmark plays all 3,560."""
        episodes, no_task = play_all(wheel, numbers=(0, 12, 49, 64, 90, 118, 141, 166, 173, 199))
        assert no_task == 5  # 173 calls its function with a text for a number; 49 one that is not there yet
        assert {(one.ours, one.theirs) for one in episodes if one.change == "gold"} == {(True, True)}
        assert {one.ours for one in episodes if one.change == "a call left out"} == {False}
        assert [(one.trajectory.id, one.change) for one in episodes if one.ours is not one.theirs] == []
        assert {one.change for one in episodes} == set(CHANGES)

    def test_fetch_writes_what_a_run_reads(
        self, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if wheel.is_dir():
            pytest.skip("needs bfcl-eval: TOOLSCOUT_BFCL is a folder, and a wheel is what is checked")
        out = tmp_path / "bfcl"
        assert main(["tasks", "fetch", "bfcl", "--out", str(out), "--path", str(wheel), "--train-share", "0.5"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "2,533 tools, 2,351 tasks of split test" in said
        assert "in all 4,546 3,146" in said
        assert "4 dialogues left out: a gold call does not fit its function's schema" in said
        assert "1 dialogues left out: a gold call is of a function that is not there yet" in said
        assert "392 dialogues of split dialogues and 403 of split train" in said
        tasks = read_tasks(out / "tasks.jsonl", Catalogue.load(out / "tools.jsonl"))
        assert tasks[:2351] == read_bfcl(BfclFiles(wheel)).tasks
        read, classes = read_dialogues(BfclFiles(wheel)), load_classes(wheel)
        assert tasks[2351:] == dialogue_tasks(read, classes, train_share=0.5).tasks
        numbers = [{task.id.rpartition("_")[2] for task in tasks if task.split == name} for name in ("train", SPLIT)]
        assert numbers[0] & numbers[1] == set()  # the variants of a scenario stay together
        assert main(["tasks", "fetch", "bfcl", "--out", str(out), "--path", str(wheel)]) == 2
        assert "--overwrite" in capsys.readouterr().err


ON_TWO_CORES = (
    *("model.path=nano", "model.dtype=float32", "model.lora=false", "model.gradient_checkpointing=false"),
    *("rollout.gpus_per_worker=0", "rollout.max_new_tokens=80", "retriever.kind=bm25", "tracking.wandb=false"),
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_policy_plays_dialogues_from_the_command_line(wheel: Path, tmp_path: Path) -> None:
    """By the preset; the nano policy knows nothing of such tasks, and every one of its episodes is scored."""
    out = tmp_path / "bfcl"
    assert main(["tasks", "fetch", "bfcl", "--out", str(out), "--path", str(wheel)]) == 0
    places = (f"world.data={out}", f"executor.bfcl={wheel}", f"output_dir={tmp_path}", "evaluation.tasks_per_split=12")
    command = [sys.executable, "-m", "launch.run", "eval", "bfcl_dialogues", *ON_TWO_CORES, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    (file,) = (tmp_path / "bfcl_dialogues-eval" / "evaluation").glob("*/dialogues.jsonl.gz")
    played = [record.trajectory for record in RecordReader(file)]
    assert len(played) == 12
    assert all(trajectory.task.requests and trajectory.stop is not StopReason.INFRA_FAILURE for trajectory in played)
    assert [trajectory_metrics(trajectory)["pass_rate"] for trajectory in played] == [0.0] * 12


def test_a_file_that_is_not_the_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.whl").write_bytes(b"x")
    assert main(["tasks", "fetch", "bfcl", "--out", str(tmp_path / "out"), "--path", str(tmp_path / "a.whl")]) == 2
    assert "is not bfcl-eval" in capsys.readouterr().err
