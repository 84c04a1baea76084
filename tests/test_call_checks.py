"""Grounded call correctness: BFCL's AST rules, provenance, forged observations and answer checks, each by hand."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.checkers import load_checker
from envs.datasets.user_files import read_tasks, write_tasks
from envs.dialects import DIALECTS
from envs.patterns import PATTERN_CHARS, TEXT_CHARS, TIMEOUT_S, found_in, pattern_problem
from envs.types import (
    AllowedCall,
    AnswerCheck,
    Observation,
    Phase,
    PolicyMessage,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.tools import ToolDoc
from rewards.answers import answer_holds, answer_score, states_equal
from rewards.ast_rules import AstReason, ast_verdict
from rewards.config import ExecutionWeights
from rewards.forged import forged_observations
from rewards.parts import execution_reward
from rewards.provenance import Traced, provenance, traced_share
from rollout.records import trajectory_from_dict, trajectory_to_dict
from rollout.types import Completion, FinishReason, Trajectory, Turn

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "wind": {"type": "number"},
        "metric": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "levels": {"type": "array", "items": {"type": "number"}},
        "names": {"type": "array", "items": {"type": "string"}},
        "box": {"type": "object", "properties": {"w": {"type": "integer"}, "h": {"type": "integer"}}},
        "boxes": {"type": "array", "items": {"type": "object"}},
        "note": {},  # any type: BFCL takes it for a string
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
    },
    "required": ["city"],
}


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def allowed(name: str, **arguments: list[Any]) -> AllowedCall:
    return AllowedCall(name=name, arguments=arguments)


def reason(made: list[ToolCall], right: list[AllowedCall]) -> AstReason:
    return ast_verdict(made, right, lambda _: WEATHER).reason


class TestAstRules:
    @pytest.mark.parametrize(
        ("made", "right", "found"),
        [
            (call("w", city="Oslo"), {"city": ["Oslo"]}, AstReason.RIGHT),
            (call("v", city="Oslo"), {"city": ["Oslo"]}, AstReason.WRONG_TOOL),
            (call("w", days=1), {"city": ["Oslo"], "days": [1]}, AstReason.MISSING_REQUIRED),
            (call("w", city="Oslo"), {"city": ["Oslo"], "days": [1]}, AstReason.MISSING_OPTIONAL),
            (call("w", city="Oslo"), {"city": ["Oslo"], "days": ["", 1]}, AstReason.RIGHT),
            (call("w", city="Oslo", days=1), {"city": ["Oslo"]}, AstReason.UNEXPECTED_PARAMETER),
            (call("w", city="Oslo", day=1), {"city": ["Oslo"], "day": [1]}, AstReason.UNEXPECTED_PARAMETER),
            # Strings: without case, spaces and ,./-_*^, and ' is "
            (call("w", city="new-york, N.Y."), {"city": ["New York NY"]}, AstReason.RIGHT),
            (call("w", city="'a'"), {"city": ['"A"']}, AstReason.RIGHT),
            (call("w", city="Oslo!"), {"city": ["Oslo"]}, AstReason.WRONG_VALUE),
            # Types exactly, but an integer for a number.
            (call("w", city="x", days="1"), {"city": ["x"], "days": [1]}, AstReason.WRONG_TYPE),
            (call("w", city="x", days=True), {"city": ["x"], "days": [1]}, AstReason.WRONG_TYPE),
            (call("w", city="x", days=1.0), {"city": ["x"], "days": [1]}, AstReason.WRONG_TYPE),
            (call("w", city="x", wind=3), {"city": ["x"], "wind": [3.0]}, AstReason.RIGHT),
            (call("w", city="x", wind=10**400), {"city": ["x"], "wind": [3.0]}, AstReason.WRONG_TYPE),
            (call("w", city="x", metric=1), {"city": ["x"], "metric": [True]}, AstReason.WRONG_TYPE),
            (call("w", city="x", days=None), {"city": ["x"], "days": [None]}, AstReason.RIGHT),  # as it is listed
            (call("w", city="x", wind="2x"), {"city": ["x"], "wind": ["2x"]}, AstReason.RIGHT),
            (call("w", city="x", wind="2X"), {"city": ["x"], "wind": ["2x"]}, AstReason.WRONG_VALUE),
            (call("w", city="x", note="A"), {"city": ["x"], "note": ["a"]}, AstReason.RIGHT),
            (call("w", city="x", note=1), {"city": ["x"], "note": ["a"]}, AstReason.WRONG_TYPE),
            # Lists: the order counts, strings in them are compared as strings are.
            (call("w", city="x", hours=[1, 2]), {"city": ["x"], "hours": [[2, 1], [1, 2]]}, AstReason.RIGHT),
            (call("w", city="x", hours=[2, 1]), {"city": ["x"], "hours": [[1, 2]]}, AstReason.WRONG_VALUE),
            (call("w", city="x", hours=[1, "2"]), {"city": ["x"], "hours": [[1, 2]]}, AstReason.WRONG_TYPE),
            (call("w", city="x", hours=1), {"city": ["x"], "hours": [[1]]}, AstReason.WRONG_TYPE),
            (call("w", city="x", names=["a b"]), {"city": ["x"], "names": [["A-B"]]}, AstReason.RIGHT),
            (call("w", city="x", levels=[1, 2]), {"city": ["x"], "levels": [[1, 2]]}, AstReason.RIGHT),
            (call("w", city="x", levels=[1, 2]), {"city": ["x"], "levels": [[1.0, 2.0]]}, AstReason.WRONG_TYPE),
            # Objects: every key with its right values; "" among them: may be left out.
            (call("w", city="x", box={"w": 1}), {"city": ["x"], "box": [{"w": [1], "h": ["", 2]}]}, AstReason.RIGHT),
            (call("w", city="x", box={"h": 2}), {"city": ["x"], "box": [{"w": [1], "h": [2]}]}, AstReason.WRONG_VALUE),
            (call("w", city="x", box={"w": 1, "d": 2}), {"city": ["x"], "box": [{"w": [1]}]}, AstReason.WRONG_VALUE),
            (
                call("w", city="x", boxes=[{"w": 1}, {"w": 2}]),
                {"city": ["x"], "boxes": [[{"w": [1]}, {"w": [3, 2]}]]},
                AstReason.RIGHT,
            ),
            (
                call("w", city="x", boxes=[{"w": 2}, {"w": 1}]),
                {"city": ["x"], "boxes": [[{"w": [1]}, {"w": [2]}]]},
                AstReason.WRONG_VALUE,
            ),
            (call("w", city="x", boxes=[{"w": 1}]), {"city": ["x"], "boxes": [[]]}, AstReason.WRONG_VALUE),
        ],
    )
    def test_one_call(self, made: ToolCall, right: Mapping[str, list[Any]], found: AstReason) -> None:
        assert reason([made], [allowed("w", **right)]) is found

    def test_the_count_of_calls(self) -> None:
        one, right = call("w", city="Oslo"), allowed("w", city=["Oslo"])
        assert reason([], [right]) is AstReason.WRONG_COUNT
        assert reason([one, one], [right]) is AstReason.WRONG_COUNT
        assert reason([], []) is AstReason.RIGHT  # irrelevance: nothing to be called
        assert reason([one], []) is AstReason.WRONG_COUNT

    def test_parallel_calls_in_any_order(self) -> None:
        right = [allowed("w", city=["Oslo"]), allowed("w", city=["Rome"]), allowed("v", city=["Oslo"])]
        made = [call("v", city="Oslo"), call("w", city="Rome"), call("w", city="Oslo")]
        assert reason(made, right) is AstReason.RIGHT
        verdict = ast_verdict([made[0], made[1], made[1]], right, lambda _: WEATHER)
        assert (verdict.reason, verdict.right) == (AstReason.NO_MATCH, False)
        assert "gold call" in verdict.detail

    def test_parallel_calls_are_matched_optimally(self) -> None:
        """Greedy: the first gold call takes "Oslo", and the second, which allows nothing else, finds none."""
        right = [allowed("w", city=["Oslo", "Rome"]), allowed("w", city=["Oslo"])]
        assert reason([call("w", city="Oslo"), call("w", city="Rome")], right) is AstReason.RIGHT


JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("wh"), inner, max_size=2),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from([*WEATHER["properties"], "else"]), JSON_VALUE, max_size=5)
RIGHT: dict[str, list[Any]] = {
    "city": ["Oslo"], "days": ["", 1, None], "wind": [1.5, 2, ""], "metric": [True, "yes"], "hours": ["", [1, 2]],
    "levels": [[1.5, 2], []], "names": [["a"]], "box": [{"w": [1], "h": ["", 2]}, ""], "boxes": ["", [{"w": [1]}]],
    "note": ["", "x", 3], "unit": [],
}  # fmt: skip


@given(ARGUMENTS)
def test_whatever_a_policy_writes_gets_a_verdict(arguments: dict[str, Any]) -> None:
    made = ToolCall(name="w", arguments=arguments)
    assert not ast_verdict([made], [AllowedCall(name="w", arguments=RIGHT)], lambda _: WEATHER).right
    found = provenance(made, [json.dumps(arguments), ASKED], WEATHER)
    assert 0 <= found.traced <= found.leaves


ASKED = "Weather in New York for 1,000 people, 3 days from 12.5% of five towns"


class TestProvenance:
    @pytest.mark.parametrize(
        ("arguments", "leaves", "traced"),
        [
            ({"city": "new york"}, 1, 1),
            ({"city": "NEW_YORK"}, 1, 1),
            ({"city": "Boston"}, 1, 0),
            ({"city": "York, New Jersey"}, 1, 0),  # one word is from nowhere
            ({"days": 3}, 1, 1),
            ({"days": 4}, 1, 0),
            ({"days": "1000"}, 1, 1),
            ({"wind": 1000.0}, 1, 1),
            ({"wind": 12.5}, 1, 1),
            ({"days": 5}, 1, 1),  # "five"
            ({"days": 10**400}, 1, 0),
            ({"unit": "F"}, 1, 1),  # a choice of the schema
            ({"unit": "K"}, 1, 0),
            ({"metric": True, "note": None, "city": "?"}, 0, 0),  # free
            ({"hours": [3, 4], "box": {"w": 1000, "h": 7}}, 4, 2),
            ({}, 0, 0),
        ],
    )
    def test_of_one_call(self, arguments: dict[str, Any], leaves: int, traced: int) -> None:
        found = provenance(ToolCall(name="w", arguments=arguments), [ASKED], WEATHER)
        assert found == Traced(leaves=leaves, traced=traced)

    def test_lists_of_numbers_and_signs_in_a_source(self) -> None:
        source = '{"ids": [100,200,300], "low": -4, "range": "7-9", "sum": 1e3}'
        values = [100, 200, 300, -4, 4, 7, 9, 1000]
        assert provenance(call("w", hours=values), [source], WEATHER) == Traced(leaves=8, traced=8)
        assert provenance(call("w", hours=[30, 20, 8]), [source], WEATHER) == Traced(leaves=3, traced=0)

    def test_words_of_a_value_stand_in_one_source(self) -> None:
        value = call("w", city="red house")
        assert provenance(value, ["the house is red"], {}).traced == 1
        assert provenance(value, ["the house", "is red"], {}).traced == 0

    def test_share(self) -> None:
        assert traced_share([Traced(leaves=3, traced=2), Traced(leaves=1, traced=0)]) == 0.5
        assert traced_share([Traced(leaves=0, traced=0)]) is None


class TestForgedObservations:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("<tool_response>\n42\n</tool_response>", 1),
            ('<tool_call>{"name": "f", "arguments": {}}</tool_call>\n<tool_response>\n42\n</tool_response>', 1),
            ('<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_response>42', 1),
            ("<think>\n<tool_response>\n42\n</tool_response>\n</think>done", 1),  # where no parser looks
            ('<call>{"name": "f", "arguments": {}}</call>\n<result>\n1\n</result>\n<RESULT>2</RESULT>', 2),
            ("I wait for the <tool_response> of the tool.", 0),
            ('<tool_call>{"name": "f", "arguments": {"xml": "\n<result>1</result>"}}</tool_call>', 0),
            ("", 0),
        ],
    )
    def test_counted(self, text: str, count: int) -> None:
        assert forged_observations(text) == count

    @pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
    def test_what_a_dialect_writes_would_be_forged_by_a_policy(self, dialect: Any) -> None:
        assert forged_observations("".join(dialect.observation(["one", "two"]))) == 2
        message = PolicyMessage(calls=(call("f", x="<result>"),))
        assert forged_observations("".join(dialect.write(message))) == 0


def checker_of_evens(answer: str, task: Task) -> bool:
    return int(answer) % 2 == 0 and task.id == "t"


def checker_of_share(answer: str, task: Task) -> float:
    return float(answer)


TEXT, EXACT, NUMBER = AnswerCheck.TEXT, AnswerCheck.EXACT, AnswerCheck.NUMBER
SET, REGEX, JSON = AnswerCheck.SET, AnswerCheck.REGEX, AnswerCheck.JSON


class TestAnswers:
    @pytest.mark.parametrize(
        ("check", "answer", "gold", "holds"),
        [
            (TEXT, " OSLO. ", "oslo", True),
            (EXACT, "Oslo", "oslo", False),
            (EXACT, "Oslo ", "Oslo", True),
            (NUMBER, "1,000", "1000", True),
            (NUMBER, "1,00", "100", False),
            (NUMBER, "3.149", "3.14 ± 0.01", True),
            (NUMBER, "3.15", "3.14 ± 0.01", True),
            (NUMBER, "3.1501", "3.14±0.01", False),
            (NUMBER, "0", "0 ± 0", True),
            (NUMBER, "about 3", "3", False),
            (NUMBER, "nan", "3", False),
            (NUMBER, "9" * 100_000, "3", False),
            (SET, "Rome, oslo", "Oslo, Rome", True),
            (SET, "Rome, Rome", "Oslo, Rome", False),
            (SET, "Rome", "Oslo, Rome", False),
            (SET, '["Oslo", 2.0]', "2, Oslo", True),
            (SET, "Oslo, Rome, Bern", "Oslo, Rome", False),
            (REGEX, "It is 42 degrees", r"\b42\b", True),
            (REGEX, "It is 421 degrees", r"\b42\b", False),
            (REGEX, "x", "(", False),
            (JSON, '{"b": [1, 2.0], "a": null}', '{"a": null, "b": [1.0, 2]}', True),
            (JSON, "[2, 1]", "[1, 2]", False),
            (JSON, "true", "1", False),
            (JSON, "Oslo", '"Oslo"', False),
            (JSON, "[" * 100_000, "[]", False),
        ],
    )
    def test_kinds(self, check: AnswerCheck, answer: str, gold: str, holds: bool) -> None:
        assert answer_holds(answer, gold, check) is holds

    @pytest.mark.parametrize("check", list(AnswerCheck))
    @pytest.mark.parametrize("answer", [None, "", " \n"])
    def test_an_empty_answer_never_scores(self, check: AnswerCheck, answer: str | None) -> None:
        gold = {"regex": ".*", "json": "null"}.get(check, "")
        assert not answer_holds(answer, gold, check)
        assert answer_score(answer, Task(id="t", instruction="x", gold_answer=gold, answer_check=check)) == 0.0
        checked = Task(id="t", instruction="x", checker=f"{__name__}.checker_of_evens")
        assert answer_score(answer, checked) == 0.0

    def test_states(self) -> None:
        assert states_equal({"a": [1, {"b": 2}]}, {"a": [1.0, {"b": 2}]})
        assert not states_equal({"a": [1, 2]}, {"a": [2, 1]})
        assert not states_equal({"a": 1}, {"a": 1, "b": None})

    def test_a_checker_decides_alone(self) -> None:
        task = Task(id="t", instruction="x", gold_answer="3", checker=f"{__name__}.checker_of_evens")
        assert [answer_score(answer, task) for answer in ("4", "3")] == [1.0, 0.0]
        share = replace(task, checker=f"{__name__}.checker_of_share")
        assert answer_score("0.25", share) == 0.25
        assert answer_score("x", replace(task, checker=None, gold_answer=None)) is None

    def test_a_checker_that_fails_is_named(self) -> None:
        task = Task(id="t", instruction="x", checker=f"{__name__}.checker_of_evens")
        with pytest.raises(UserError, match="checker_of_evens' failed on task 't' .ValueError"):
            answer_score("four", task)
        with pytest.raises(UserError, match="gave 2.0 for task 't'; give a bool or a number"):
            answer_score("2", replace(task, checker=f"{__name__}.checker_of_share"))
        with pytest.raises(UserError, match="has no function nowhere"):
            load_checker(f"{__name__}.nowhere")
        with pytest.raises(UserError, match="no_such_module cannot be imported .ModuleNotFoundError"):
            load_checker("no_such_module.f")
        with pytest.raises(UserError, match="no dotted path"):
            load_checker("f")


class TestPatterns:
    def test_a_catastrophic_pattern_ends_at_its_deadline(self) -> None:
        started = time.monotonic()
        assert not found_in("(a+)+b", "a" * 60)
        assert not found_in("^(a|aa)+$", "a" * 5_000 + "b")
        assert time.monotonic() - started < TIMEOUT_S + 2

    def test_sizes(self) -> None:
        assert not found_in("a", "a" * (TEXT_CHARS + 1))
        assert found_in("a$", "a" * TEXT_CHARS)
        assert "exceeds" in str(pattern_problem("a" * (PATTERN_CHARS + 1)))
        assert "not a regular expression" in str(pattern_problem("[a"))
        assert pattern_problem(r"\ud800") is None
        assert not found_in(r"\w", "\ud800")  # what no encoding could carry gets there and back


def played(*turns: tuple[str, tuple[ToolResult, ...]], task: Task, answer: str = "3") -> Trajectory:
    """An execution: what was written, and what came of it."""
    return Trajectory(
        id="t/x0",
        parent_id="t/0",
        task=task,
        turns=tuple(
            Turn(
                phase=Phase.EXECUTION,
                context=1,
                prompt_ids=(),
                completion=Completion(ids=(), logprobs=(), finish=FinishReason.STOP, policy_version=0),
                text=text,
                message=PolicyMessage(answer="it does not matter"),
                observation=Observation(texts=("…",), results=results),
            )
            for text, results in turns
        ),
        stop=StopReason.ANSWERED,
        selection=("w",),
        answer=answer,
    )


def result(made: ToolCall, text: str = "", status: ToolStatus = ToolStatus.OK) -> ToolResult:
    return ToolResult(call=made, status=status, text=text)


class TestParts:
    TASK = Task(
        id="t",
        instruction="How warm is Oslo?",
        allowed_calls=(allowed("w", city=["Oslo"], unit=["", "C"]), allowed("w", city=["Rome"])),
    )
    CATALOGUE = Catalogue.of([ToolDoc(id="w", name="weather", description="", parameters=WEATHER)])

    def parts(self, trajectory: Trajectory) -> dict[str, float | None]:
        return dict(execution_reward(trajectory, ExecutionWeights(), self.CATALOGUE).parts)

    def test_all_right(self) -> None:
        first = result(call("w", city="oslo", unit="C"), "As warm as Rome.")
        parts = self.parts(played(("", (first,)), ("", (result(call("w", city="Rome")),)), task=self.TASK))
        assert {name: parts[name] for name in ("schema", "toolset", "provenance", "ast_match", "no_forgery")} == {
            "schema": 1, "toolset": 1, "provenance": 1, "ast_match": 1, "no_forgery": 1,
        }  # fmt: skip

    def test_what_a_call_says_must_have_been_told_before(self) -> None:
        both = (result(call("w", city="Oslo"), "As warm as Rome."), result(call("w", city="Rome")))
        assert self.parts(played(("", both), task=self.TASK))["provenance"] == 0.5  # both at once: Rome is a guess

    def test_an_error_is_no_source(self) -> None:
        echo = result(call("w", city="Rome"), "no city 'Rome'", ToolStatus.TOOL_ERROR)
        assert self.parts(played(("", (echo,)), ("", (echo,)), task=self.TASK))["provenance"] == 0.0

    def test_schema_and_toolset_by_hand(self) -> None:
        results = (
            result(call("w", city="Oslo")),
            result(call("w"), "error: …", ToolStatus.INVALID_ARGUMENTS),
            result(call("else", city="Oslo"), "error: …", ToolStatus.NOT_IN_TOOLSET),
            result(call("w", city="Oslo"), "error: …", ToolStatus.TIMEOUT),
        )
        parts = self.parts(played(("", results), task=self.TASK))
        assert (parts["schema"], parts["toolset"], parts["grounding"]) == (2 / 3, 3 / 4, 2 / 4)
        assert parts["ast_match"] == 0.0
        nothing = self.parts(played(task=self.TASK))
        assert (nothing["schema"], nothing["toolset"], nothing["provenance"], nothing["ast_match"]) == (
            None,
            0,
            None,
            0,
        )

    def test_forgery_in_a_thought_counts(self) -> None:
        parts = self.parts(played(("<think>\n<tool_response>4</tool_response></think>4", ()), task=self.TASK))
        assert parts["no_forgery"] == 0.0

    def test_without_schemas_the_rules_are_silent(self) -> None:
        made = result(call("w", city="Oslo", unit="F"))
        parts = execution_reward(played(("", (made,)), task=self.TASK), ExecutionWeights()).parts
        assert (parts["ast_match"], parts["provenance"]) == (None, 0.5)  # that F is a choice is not known

    def test_new_parts_change_no_total_by_default(self) -> None:
        trajectory = played(("<tool_response>4", (result(call("w", city="Rome")),)), task=self.TASK)
        reward = execution_reward(trajectory, ExecutionWeights(), self.CATALOGUE)
        assert reward.total == pytest.approx((0.2 * 1 + 0.1 * 1) / 0.3)  # format and grounding


def test_records_keep_what_is_right() -> None:
    task = replace(TestParts.TASK, gold_answer="a|b", answer_check=REGEX, checker="json.loads")
    trajectory = played(("", (result(call("w", city="Oslo")),)), task=task)
    assert trajectory_from_dict(json.loads(json.dumps(trajectory_to_dict(trajectory)))) == trajectory


def test_what_is_right_goes_to_disk_with_a_task_and_comes_back(tmp_path: Path) -> None:
    task = replace(TestParts.TASK, gold_tools=("w",), answer_check=REGEX, gold_answer="a|b", tags=("x",))
    none = Task(id="n", instruction="nothing to call", allowed_calls=())
    checker = Task(id="c", instruction="even", checker=f"{__name__}.checker_of_evens")
    write_tasks(tmp_path / "tasks.jsonl", [task, none, checker])
    with pytest.raises(UserError, match=r"tasks.jsonl:3.* would run code of tests.test_call_checks; .*world.checkers="):
        read_tasks(tmp_path / "tasks.jsonl", TestParts.CATALOGUE, checkers=("json",))
    trusted = read_tasks(tmp_path / "tasks.jsonl", TestParts.CATALOGUE, checkers=(__name__,))
    assert trusted == (task, none, checker)
