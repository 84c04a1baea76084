"""Evaluation: every metric against numbers done by hand, on episodes written out."""

import asyncio
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from envs.config import EnvConfig
from envs.dialects import DIALECTS
from envs.types import (
    AllowedCall,
    Observation,
    Phase,
    PolicyMessage,
    SearchRecord,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from retriever.base.canonical import same_json
from retriever.catalogue import Catalogue
from retriever.tools import Candidate, ToolDoc
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, Sampling, TaskRollouts, Trajectory, Turn
from tests.support import MadeUpWorld, collector
from train.evaluation.metrics import (
    METRICS,
    TaskScore,
    aggregate,
    at_toolset_size,
    final_trajectory,
    paired_gains,
    raw_instruction_baseline,
    trajectory_metrics,
)
from train.evaluation.store import evaluation_path, evaluations, read_records_by_task, read_scores, write_evaluation
from train.evaluation.summary import build_summary
from train.evaluation.tables import LEGEND, markdown_tables, rich_tables, split_tables
from train.nano.model import train_tokenizer

ADD = ToolCall(name="add", arguments={"a": 1, "b": 2})
ROOT = ToolCall(name="root", arguments={"x": 9})
TASK = Task(
    id="t",
    instruction="root of the sum",
    gold_tools=("add", "root"),
    gold_calls=(ADD, ROOT),
    gold_answer="3",
    tags=("chained",),
)
COMPLETION = Completion(ids=(1,), logprobs=(-0.5,), finish=FinishReason.STOP, policy_version=0)


def turn(phase: Phase, observation: Observation) -> Turn:
    message = PolicyMessage(answer="whatever the observation says")
    return Turn(
        phase=phase, context=0, prompt_ids=(), completion=COMPLETION, text="", message=message, observation=observation
    )


def searched(*tool_ids: str) -> Turn:
    return turn(Phase.RETRIEVAL, Observation(texts=("…",), searches=(SearchRecord(query="q", tool_ids=tool_ids),)))


def called(call: ToolCall, status: ToolStatus = ToolStatus.OK) -> Turn:
    return turn(Phase.EXECUTION, Observation(texts=("…",), results=(ToolResult(call=call, status=status, text="…"),)))


def episode(
    *turns: Turn, task: Task = TASK, selection: tuple[str, ...] | None, answer: str | None = None
) -> Trajectory:
    stop = StopReason.ANSWERED if answer is not None else StopReason.SELECTED
    return Trajectory(id="t/0", task=task, turns=turns, stop=stop, selection=selection, answer=answer)


SOLVED = episode(
    searched("sum", "add", "minus", "x1", "x2", "root"),  # root is sixth: outside the top 5
    searched("root", "power"),
    called(ToolCall(name="add", arguments={"b": 2.0, "a": 1})),
    called(ROOT),
    selection=("sum", "root", "add"),
    answer="3.0",
)


def test_every_metric_of_a_solved_chain() -> None:
    found = trajectory_metrics(SOLVED)
    assert found == {
        "pass_rate": 1.0,
        "all_gold_selected": 1.0,
        "toolset_size": 3.0,
        "selection_precision": pytest.approx(2 / 3),
        "recall_at_5": 0.5,  # the first search shows add in its top 5, the second one root
        "recall_union": 1.0,
        # gold at ranks 2 and 3; ideal at 1 and 2
        "ndcg_at_5": pytest.approx((1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3))),
        "format_rate": 1.0,
        "selection_rate": 1.0,
        "rank1_all_gold": 0.0,  # first came sum and root
        "searches": 2.0,
        "calls": 2.0,
        "replayed": 0.0,
        "infra_failures": 0.0,
    }
    assert set(found) == {*METRICS, "infra_failures"}


@pytest.mark.parametrize(
    ("calls", "answer"),
    [
        ([called(ADD), called(ROOT)], "4"),  # wrong answer
        ([called(ADD), called(ROOT)], None),  # no answer
        ([called(ADD), called(ROOT)], "  "),
        ([called(ROOT)], "3"),  # a gold call left out: the answer was guessed
        ([called(ADD), called(ROOT, ToolStatus.TOOL_ERROR)], "3"),
        ([called(ADD), called(replace(ROOT, arguments={"x": 8}))], "3"),
        ([called(ADD), called(replace(ROOT, arguments={"x": 9, "y": 1}))], "3"),
        ([called(ADD), called(replace(ROOT, name="power"))], "3"),
    ],
)
def test_an_answer_alone_does_not_pass(calls: list[Turn], answer: str | None) -> None:
    assert trajectory_metrics(episode(*calls, selection=("add", "root"), answer=answer))["pass_rate"] == 0.0


def test_pass_rate_asks_only_for_what_the_task_names() -> None:
    no_calls = replace(TASK, gold_calls=None)
    assert trajectory_metrics(episode(task=no_calls, selection=("add",), answer="3"))["pass_rate"] == 1.0
    no_answer = replace(TASK, gold_answer=None, gold_calls=(ADD,))
    done = episode(called(ADD), task=no_answer, selection=("add",), answer="done")
    assert trajectory_metrics(done)["pass_rate"] == 1.0
    assert trajectory_metrics(replace(done, answer=None))["pass_rate"] == 0.0
    nothing = replace(TASK, gold_answer=None, gold_calls=None)
    assert trajectory_metrics(episode(task=nothing, selection=("add",), answer="x"))["pass_rate"] is None


def test_a_gold_call_named_twice_needs_one_execution() -> None:
    task = replace(TASK, gold_calls=(ADD, ADD))
    assert trajectory_metrics(episode(called(ADD), task=task, selection=("add",), answer="3"))["pass_rate"] == 1.0


def test_without_a_selection_nothing_is_selected_and_no_toolset_is_small() -> None:
    wrong = turn(
        Phase.RETRIEVAL,
        Observation(texts=(), format_error="a selected tool was shown by no search", stop=StopReason.INVALID_SELECTION),
    )
    found = trajectory_metrics(
        replace(episode(searched("add"), wrong, selection=None), stop=StopReason.INVALID_SELECTION)
    )
    assert (found["all_gold_selected"], found["ndcg_at_5"], found["selection_rate"]) == (0.0, 0.0, 0.0)
    assert (found["toolset_size"], found["selection_precision"]) == (None, None)
    assert (found["format_rate"], found["recall_at_5"], found["pass_rate"]) == (0.0, 0.5, 0.0)


@pytest.mark.parametrize("stop", [StopReason.LENGTH, StopReason.TURN_LIMIT, StopReason.CONTEXT_FULL])
def test_a_truncated_episode_is_no_good_format(stop: StopReason) -> None:
    assert trajectory_metrics(replace(SOLVED, stop=stop))["format_rate"] == 0.0


def test_one_malformed_message_in_either_phase_spoils_the_format() -> None:
    bad = turn(Phase.EXECUTION, Observation(texts=("error: …",), format_error="a call must be one JSON object"))
    assert trajectory_metrics(replace(SOLVED, turns=(*SOLVED.turns, bad)))["format_rate"] == 0.0


def test_a_task_without_gold_tools_has_no_retrieval_metrics() -> None:
    found = trajectory_metrics(replace(SOLVED, task=replace(TASK, gold_tools=None)))
    names = ["all_gold_selected", "selection_precision", "recall_at_5", "recall_union", "ndcg_at_5", "rank1_all_gold"]
    assert [found[name] for name in names] == [None] * 6
    assert (found["pass_rate"], found["toolset_size"]) == (1.0, 3.0)


def test_our_failure_is_counted_and_measures_nothing() -> None:
    found = trajectory_metrics(replace(SOLVED, stop=StopReason.INFRA_FAILURE, failure="refused"))
    assert found["infra_failures"] == 1.0
    assert all(found[name] is None for name in METRICS)


def test_the_execution_speaks_for_the_task_where_there_is_one() -> None:
    retrieval = episode(*SOLVED.turns[:2], selection=("sum", "root", "add"))
    assert final_trajectory(TaskRollouts(task=TASK, retrieval=(retrieval,), executions=(SOLVED,))) is SOLVED
    assert final_trajectory(TaskRollouts(task=TASK, retrieval=(retrieval,), executions=())) is retrieval


def test_json_values_compare_as_json() -> None:
    assert same_json({"a": [1, 2.0]}, {"a": (1.0, 2)})
    assert same_json({"a": 1, "b": None}, {"b": None, "a": 1})
    assert not same_json(True, 1)
    assert not same_json([1], [1, 1])
    assert not same_json({"a": 1}, {"a": 1, "b": 2})
    assert not same_json("1", 1)
    assert same_json(math.inf, math.inf)  # a policy may write 1e999


def scores(values: Sequence[float | None], tag: str = "single", name: str = "pass_rate") -> list[TaskScore]:
    return [
        TaskScore(task_id=f"{tag}{index}", tags=(tag,), metrics={name: value, "infra_failures": float(value is None)})
        for index, value in enumerate(values)
    ]


def test_means_leave_out_what_does_not_apply() -> None:
    found = aggregate(scores([1.0, 0.0, None, 1.0]), seed=1)["pass_rate"]
    assert found.mean == pytest.approx(2 / 3)
    assert found.n == 3
    assert 0.0 <= found.low < found.mean < found.high <= 1.0
    assert aggregate(scores([None, None]), seed=1) == {}


def test_an_interval_narrows_with_tasks_and_is_seeded() -> None:
    few, many = aggregate(scores([1.0, 0.0] * 10), seed=1), aggregate(scores([1.0, 0.0] * 200), seed=1)
    width = {len_: found["pass_rate"].high - found["pass_rate"].low for len_, found in ((20, few), (400, many))}
    assert width[20] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 20), rel=0.2)
    assert width[400] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 400), rel=0.2)
    assert aggregate(scores([1.0, 0.0] * 10), seed=1) == few


def test_gains_are_paired_by_task() -> None:
    before, after = scores([0.0, 1.0, 0.0, None]), scores([1.0, 1.0, 1.0, 1.0])
    gain = paired_gains(before, list(reversed(after)), seed=3)["pass_rate"]
    assert gain.mean == pytest.approx(2 / 3)  # 1, 0, 1; the fourth is unknown before
    assert gain.n == 3
    always = paired_gains(scores([0.0] * 5), scores([1.0] * 5), seed=3)["pass_rate"]
    assert (always.mean, always.low, always.high) == (1.0, 1.0, 1.0)


class WordRetriever:
    """Ranks tools by how many of the query's words their description holds."""

    def __init__(self, **descriptions: str) -> None:
        self._tools = [
            ToolDoc(id=id, name=id, description=text, parameters={"type": "object", "properties": {}})
            for id, text in descriptions.items()
        ]

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self._tools)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        found = []
        for query in queries:
            score = {tool.id: float(len({*query.split()} & {*tool.description.split()})) for tool in self._tools}
            best = sorted(self._tools, key=lambda tool: -score[tool.id])[:k]
            found.append(tuple(Candidate(tool=t, score=score[t.id], rank=r) for r, t in enumerate(best, start=1)))
        return found


def test_the_raw_instruction_is_searched_once() -> None:
    retriever = WordRetriever(add="sum", root="root of x", other="root of the", far="nothing")
    (found,) = raw_instruction_baseline([TASK], retriever, k=4)  # ranking: other 3, root 2, add 1, far 0
    assert found.metrics == {
        "recall_at_5": 1.0,
        "ndcg_at_5": pytest.approx((1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3))),
        "all_gold_at_1": 0.0,
        "precision_at_1": 0.0,
        "all_gold_at_2": 0.0,
        "precision_at_2": 0.5,
        "all_gold_at_3": 1.0,
        "precision_at_3": pytest.approx(2 / 3),
        "all_gold_at_4": 1.0,
        "precision_at_4": 0.5,
    }
    (offered,) = raw_instruction_baseline([replace(TASK, offered_tools=("add", "root", "far"))], retriever, k=2)
    assert (offered.metrics["all_gold_at_2"], offered.metrics["precision_at_1"]) == (1.0, 1.0)  # root 2, add 1
    (unknown,) = raw_instruction_baseline([replace(TASK, gold_tools=None)], retriever, k=2)
    assert set(unknown.metrics.values()) == {None}


def test_the_baseline_is_compared_at_equal_toolset_size() -> None:
    by_size = [0.1, 0.5, 0.6]
    assert at_toolset_size(by_size, 1) == 0.1
    assert at_toolset_size(by_size, 1.25) == pytest.approx(0.2)  # a quarter of the tasks get two tools
    assert at_toolset_size(by_size, 2) == 0.5
    assert at_toolset_size(by_size, 3) == 0.6
    assert at_toolset_size(by_size, 4.5) == 0.6
    assert at_toolset_size(by_size, 0.5) == 0.1


def complete(id: str, tag: str, passed: float, size: float) -> TaskScore:
    metrics = {**dict.fromkeys(METRICS, passed), "toolset_size": size, "infra_failures": 0.0}
    return TaskScore(task_id=id, tags=(tag, "math"), metrics=metrics)


def example_summary() -> dict[str, object]:
    sft = [complete("a", "single", 1, 1), complete("b", "single", 0, 2), complete("c", "chained", 0, 3)]
    rl = [complete("a", "single", 1, 1), complete("b", "single", 1, 1), complete("c", "chained", 1, 2.5)]
    raw = [
        TaskScore(
            task_id=id,
            tags=(tag,),
            metrics={
                "recall_at_5": 1.0,
                **{f"all_gold_at_{k}": float(k >= need) for k in range(1, 6)},
                **{f"precision_at_{k}": 1 / k for k in range(1, 6)},
            },
        )
        for id, tag, need in (("a", "single", 1), ("b", "single", 2), ("c", "chained", 3))
    ]
    failed = TaskScore(task_id="d", tags=("single",), metrics={**dict.fromkeys(METRICS), "infra_failures": 1.0})
    stages = {"sft": {"held_out": [*sft, failed]}, "rl": {"held_out": rl}}
    return build_summary(seconds=12.34, stages=stages, baseline={"held_out": raw}, seed=5)


def test_the_summary_has_the_promised_shape() -> None:
    summary = json.loads(json.dumps(example_summary(), allow_nan=False))
    assert summary["seconds"] == 12.3
    sft, rl = (summary["stages"][stage]["held_out"] for stage in ("sft", "rl"))
    assert (sft["pass_rate"], sft["n"], sft["infra_failures"]) == (0.333333, 4, 1)
    assert (sft["counts"]["pass_rate"], rl["counts"]["pass_rate"]) == (3, 3)
    assert (rl["groups"]["single"]["pass_rate"], rl["groups"]["chained"]["toolset_size"]) == (1.0, 2.5)
    low, high = sft["intervals"]["pass_rate"]
    assert low <= sft["pass_rate"] <= high
    assert summary["gains"]["rl_over_sft"]["held_out"]["pass_rate"]["mean"] == 0.666667
    baseline = summary["baseline"]["held_out"]
    assert baseline["all_gold_at_2"] == 0.666667
    # RL's mean toolset has (1 + 1 + 2.5) / 3 = 1.5 tools: half-way between sizes 1 (1/3) and 2 (2/3)
    assert baseline["equal_size"]["rl"] == {
        "toolset_size": 1.5,
        "all_gold_selected": 0.5,
        "selection_precision": 0.75,
    }
    assert baseline["groups"]["chained"]["equal_size"]["rl"]["all_gold_selected"] == 0.5  # size 2.5: between 0 and 1


def test_tasks_are_reported_apart_by_their_first_tag() -> None:
    """Whatever it is called, a metric among others; the largest groups where there are many."""
    tags = ["calls", "single", *[f"t{number:02}" for number in range(11)] * 2]
    of_each = [complete(str(number), tag, 1, 1) for number, tag in enumerate(tags)]
    summary = build_summary(seconds=1, stages={"model": {"dialogues": of_each}}, seed=0)
    (table,) = split_tables(summary)
    assert [group[0].tasks for group in table.groups] == ["all 24", "calls 1", *[f"t{n:02} 2" for n in range(11)]]
    summary = build_summary(seconds=1, stages={"model": {"dialogues": of_each[:2]}}, seed=0)
    assert summary["stages"]["model"]["dialogues"]["calls"] == 1.0
    assert [group[0].tasks for group in split_tables(summary)[0].groups] == ["all 2", "single 1", "calls 1"]


def test_tables_print_stages_kinds_and_the_baseline() -> None:
    (table,) = split_tables(example_summary())
    assert table.title == "Held-out arguments"
    rows = [row for group in table.groups for row in group]
    assert [row.tasks for row in rows] == ["all 4"] * 3 + ["single 3"] * 3 + ["chained 1"] * 3
    assert [row.name for row in rows[:3]] == ["after SFT (1 lost)", "after RL", "raw instruction"]
    assert rows[1].cells[:4] == ("100.0 ±0.0", "100.0 ±0.0", "1.50", "100.0")
    assert rows[2].cells == ("–", "50.0", "1.50", "75.0", "100.0", "100.0", "–", "33.3", "–")
    assert rows[2].baseline


def test_markdown_and_terminal_say_the_same() -> None:
    markdown = markdown_tables(example_summary())
    assert "| all 4 | after SFT (1 lost) | 33.3 ±50.0 |" in markdown
    assert "|  | raw instruction | – | 50.0 | 1.50 |" in markdown
    assert markdown.endswith(LEGEND)
    assert markdown_tables({}) == "No evaluation was made."
    wide, narrow = terminal(106), terminal(80)
    assert "100.0 ±0.0" in wide
    assert "rank1" in wide
    assert "raw instruction" in narrow
    assert "rank1" not in narrow
    assert "…" not in wide + narrow  # nothing is cut off


def terminal(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    for table in rich_tables(example_summary(), width=width):
        console.print(table)
    return console.export_text()


def test_evaluations_are_stored_and_scored_again(tmp_path: Path) -> None:
    other = replace(SOLVED, task=replace(TASK, id="u"), answer="4")
    rollouts = [TaskRollouts(task=t.task, retrieval=(t,), executions=()) for t in (SOLVED, other)]
    path = evaluation_path(tmp_path, "rl", "held_out")
    assert path == tmp_path / "evaluation" / "rl" / "held_out.jsonl.gz"
    written = write_evaluation(path, rollouts, [{"retrieval": {"total": 0.5}}, {"retrieval": {"total": 0.25}}])
    assert [score.metrics["pass_rate"] for score in written] == [1.0, 0.0]
    assert read_scores(path) == written
    assert read_records_by_task(path)["u"].extra["reward"] == {"retrieval": {"total": 0.25}}
    assert read_records_by_task(path)["u"].extra["metrics"]["pass_rate"] == 0.0
    write_evaluation(path, rollouts[:1])  # again, after a resume: replaced, not appended
    assert list(read_records_by_task(path)) == ["t"]
    assert list(evaluations(tmp_path)) == [("rl", "held_out", path)]
    assert [file.name for file in path.parent.iterdir()] == ["held_out.jsonl.gz"]


@pytest.mark.parametrize("aliases", ["off", "names_and_parameters"])
def test_a_perfect_expert_scores_perfectly_and_survives_the_disk(aliases: str, tmp_path: Path) -> None:
    """Episodes as they are really played: calls under aliases match gold calls, and records lose nothing."""
    world, tokenizer = MadeUpWorld(8), train_tokenizer(["Search the catalogue, select and call."] * 4)
    renderer = Renderer(tokenizer, DIALECTS["qwen3"])
    env = EnvConfig(candidate_line="{label}. {description}", aliases=aliases)  # type: ignore[arg-type]
    expert = Expert(world.tasks, world.tools, env=env)
    plays = collector(world, renderer, ScriptedEngine(renderer, expert), env, RolloutConfig(max_context=100_000))
    plan = GroupPlan(group_size=1, gate="off")
    rollouts = asyncio.run(plays.collect(world.tasks, plan, sampling=Sampling(temperature=0.0), seed=1))
    path = evaluation_path(tmp_path, "expert", "made_up")
    found = aggregate(write_evaluation(path, rollouts), seed=1)
    perfect = ("pass_rate", "all_gold_selected", "selection_precision", "ndcg_at_5", "recall_union", "format_rate")
    assert {name: found[name].mean for name in perfect} == dict.fromkeys(perfect, 1.0)
    stored = read_records_by_task(path)
    assert [stored[r.task.id].trajectory for r in rollouts] == [final_trajectory(r) for r in rollouts]


def test_with_allowed_calls_any_of_the_right_values_passes() -> None:
    allowed = AllowedCall(name=ADD.name, arguments={"x": [4, 5], "city": ["New York", "NYC"], "unit": ["", "km"]})
    task = replace(TASK, gold_answer=None, gold_calls=(ADD,), allowed_calls=(allowed,))

    def passes(task: Task, *calls: dict[str, Any]) -> float | None:
        made = [called(ToolCall(name=ADD.name, arguments=arguments)) for arguments in calls]
        return trajectory_metrics(episode(*made, task=task, selection=("add",), answer="x"))["pass_rate"]

    assert passes(task, {"x": 5, "city": "nyc"}) == 1.0
    assert passes(task, {"x": 6, "city": "nyc"}, {"x": 4.0, "city": "New York", "unit": "km"}) == 1.0
    assert passes(task, {"x": 5}) == 0.0  # city may not be left out
    assert passes(task, {"x": 5, "city": "NYC", "more": 1}) == 0.0
    assert passes(task, {"x": True, "city": "NYC"}) == 0.0
    none = replace(task, gold_calls=None, allowed_calls=())
    assert (passes(none), passes(none, {"x": 5})) == (1.0, 0.0)
