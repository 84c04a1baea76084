"""Dialogues: requests in turn, tools with a state, and what is right after each; by hand, no package needed."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.config import EnvConfig
from envs.datasets.user_files import read_tasks, write_tasks
from envs.dialects import DIALECTS, tool_json
from envs.episode import ExecutionPhase, RetrievalPhase
from envs.executors.bfcl_state import BfclStateBackend
from envs.executors.faults import FaultConfig, Faulty
from envs.executors.routed import CallLimits, RoutedExecutor, cut, reads_as
from envs.types import (
    Observation,
    Phase,
    PolicyMessage,
    Request,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from envs.view import ToolView
from envs.worlds.world import WorldConfig, build_world
from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from retriever.tools import Candidate, ToolDoc
from rewards.config import ExecutionWeights
from rewards.outcome import outcome, requests_met
from rewards.parts import execution_reward
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.records import trajectory_from_dict, trajectory_to_dict
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, Sampling, TaskRollouts, Trajectory, Turn
from train.evaluation.metrics import final_trajectory, trajectory_metrics
from train.nano.curriculum import tokenizer_texts
from train.nano.model import train_tokenizer
from train.segments import Objective, segments_of


class Counter:
    """A stateful class as BFCL has them."""

    def __init__(self) -> None:
        self.count = 0
        self.seen: set[int] = set()
        self._calls = 0

    def _load_scenario(self, scenario: dict[str, Any], long_context: bool = False) -> None:
        self.count = scenario["count"]

    def bump(self, by: int) -> dict[str, int]:
        self._calls += 1
        self.count += by
        self.seen.add(self.count)
        return {"count": self.count}

    def look(self, wide: bool = False) -> str:
        return "x" * 2000 if wide else f"at {self.count}"

    def tie(self) -> None:
        self.knot = {"within": self}


class Power:
    """As the package's MathAPI: it computes whatever it is asked."""

    def power(self, base: float, exponent: float) -> dict[str, float]:
        return {"result": base**exponent}


def tool(name: str, *, of: str = "Counter", **types: str) -> ToolDoc:
    return ToolDoc(
        id=f"bfcl/{of}.{name}",
        name=name,
        description=f"The tool to {name}.",
        parameters={"type": "object", "properties": {key: {"type": kind} for key, kind in types.items()}},
        origin="bfcl",
    )


BUMP, LOOK, TIE = tool("bump", by="integer"), tool("look", wide="boolean"), tool("tie")
POWER = tool("power", of="MathAPI", base="number", exponent="number")
CATALOGUE = Catalogue.of((BUMP, LOOK, TIE, POWER))
BACKEND = BfclStateBackend({"Counter": Counter, "MathAPI": Power})


def call(tool: ToolDoc, **arguments: Any) -> ToolCall:
    return ToolCall(name=tool.id, arguments=arguments)


def state(count: float, *seen: int) -> dict[str, Any]:
    return {"bfcl": {"Counter": {"count": count, "seen": list(seen)}}}


def begins(**load: Any) -> dict[str, Any]:
    return {"bfcl": {"classes": ["Counter", "MathAPI"], "load": {"Counter": load}, "long_context": False}}


# From 5 up to 7 and, at the next request, looked at; then nothing can be done, until there is a tool for it.
REQUESTS = (
    Request(
        text="Up by two.",
        gold_calls=(call(BUMP, by=2),),
        gold_replies=('{"count": 7}',),
        gold_state={"bfcl": {"Counter": {"count": 7, "seen": [7]}, "MathAPI": {}}},
    ),
    Request(text="Look at it."),
    Request(
        text="Now you can.",
        new_tools=(LOOK,),
        gold_calls=(call(LOOK, wide=True), call(LOOK)),
        gold_replies=("x" * 2000, "at 7"),
        gold_state={"bfcl": {"Counter": {"count": 7, "seen": [7]}, "MathAPI": {}}},
    ),
)
TASK = Task(
    id="d",
    instruction="Up by two.",
    gold_tools=(BUMP.id,),
    gold_calls=tuple(made for request in REQUESTS for made in request.gold_calls),
    expert_queries=("bump",),
    requests=REQUESTS,
    initial_state=begins(count=5),
)


async def search(query: str, k: int) -> Sequence[Candidate]:
    return [Candidate(tool=tool, score=0.0, rank=rank) for rank, tool in enumerate([*CATALOGUE][:k], start=1)]


def executor(observation_chars: int = 1024) -> RoutedExecutor:
    return RoutedExecutor({"bfcl": BACKEND}, CallLimits(observation_chars=observation_chars), in_order=("bfcl",))


class TestRules:
    def play(self, *messages: PolicyMessage, task: Task = TASK, **rules: Any) -> list[Observation]:
        config = EnvConfig(**rules)

        async def played() -> list[Observation]:
            async with executor().session(task) as own:
                phase = ExecutionPhase(
                    task=task, toolset=(BUMP,), executor=own, config=config, view=ToolView(config, seed=0)
                )
                return [await phase.respond(message) for message in messages]

        return asyncio.run(played())

    @staticmethod
    def calls(*made: tuple[str, dict[str, Any]]) -> PolicyMessage:
        return PolicyMessage(calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in made))

    DONE = PolicyMessage(answer="done")

    def test_an_answer_is_followed_by_the_next_request_and_the_last_ends_the_phase(self) -> None:
        bumped, first, second, third = self.play(self.calls(("bump", {"by": 2})), self.DONE, self.DONE, self.DONE)
        assert (bumped.texts, bumped.request, bumped.state) == (('{"count": 7}',), None, None)
        assert (first.texts, first.request, first.stop) == ((), "Look at it.", None)
        assert first.state == REQUESTS[0].gold_state
        assert second.state is None  # nothing is held against it
        assert (third.request, third.stop) == (None, StopReason.ANSWERED)

    def test_new_tools_come_with_their_request_and_not_before(self) -> None:
        look = self.calls(("look", {}))
        early, _, request, late = self.play(look, self.DONE, self.DONE, look)
        assert early.results[0].status is ToolStatus.NOT_IN_TOOLSET
        schema = {"name": "look", "description": "The tool to look.", "parameters": LOOK.parameters}
        assert request.request == f"Now you can.\n{tool_json(schema)}"
        assert late.texts == ("at 5",)

    def test_calls_are_counted_for_each_request(self) -> None:
        bump = ("bump", {"by": 1})
        observed = self.play(self.calls(bump, bump), self.DONE, self.calls(bump, bump), self.calls(bump), max_calls=2)
        assert [observation.stop for observation in observed] == [None, None, None, StopReason.TURN_LIMIT]

    def test_calls_of_one_message_change_the_state_in_their_order(self) -> None:
        (observed,) = self.play(self.calls(*[("bump", {"by": number}) for number in range(1, 7)]))
        assert observed.texts == tuple(f'{{"count": {count}}}' for count in (6, 8, 11, 15, 20, 26))

    def test_retrieval_shows_all_requests_and_execution_the_first(self) -> None:
        config, view = EnvConfig(), ToolView(EnvConfig(), seed=0)
        retrieval = RetrievalPhase(task=TASK, search=search, config=config, view=view, seed=0)
        assert retrieval.prompt().user == "Up by two.\n\nLook at it.\n\nNow you can."
        execution = ExecutionPhase(task=TASK, toolset=(BUMP,), executor=executor(), config=config, view=view)
        assert execution.prompt().user == "Up by two."
        assert Task(id="t", instruction="Just this.").asked == "Just this."


class TestStates:
    def test_a_state_is_plain_json_with_nothing_private_and_no_circles(self) -> None:
        async def played() -> Any:
            async with BACKEND.session(TASK) as own:
                await own.run(BUMP, {"by": 3}, timeout_s=5)
                await own.run(BUMP, {"by": -1}, timeout_s=5)
                before = await own.state()
                await own.run(TIE, {}, timeout_s=5)
                return before, await own.state()

        before, tied = asyncio.run(played())
        assert before == {"Counter": {"count": 7, "seen": [7, 8]}, "MathAPI": {}}
        assert json.loads(json.dumps(tied))["Counter"]["knot"] == {"within": "…"}

    @pytest.mark.parametrize(
        "arguments",
        [{"base": 9, "exponent": 9**9}, {"base": 10**300, "exponent": 10_000}, {"base": 10, "exponent": 10_000}],
    )
    def test_no_computation_holds_the_process(self, arguments: dict[str, Any]) -> None:
        """The last is within the limits, and its result has more digits than Python writes."""

        async def played() -> Any:
            async with BACKEND.session(TASK) as own:
                return await own.run(POWER, arguments, timeout_s=5), await own.run(
                    POWER, {"base": 2, "exponent": 10}, timeout_s=5
                )

        refused, computed = asyncio.run(played())
        assert (refused.status, computed.text) == (ToolStatus.TOOL_ERROR, '{"result": 1024}')

    def test_a_task_without_a_state_finds_no_tools(self) -> None:
        async def played() -> Any:
            async with executor().session(replace(TASK, initial_state={})) as own:
                return (await own.call(BUMP, {"by": 1})).status, await own.state()

        assert asyncio.run(played()) == (ToolStatus.UNKNOWN_TOOL, {})

    def test_a_state_that_nothing_has_or_takes_is_named(self) -> None:
        async def begin(executor: RoutedExecutor, task: Task) -> None:
            async with executor.session(task):
                pass

        with pytest.raises(UserError, match=r"'d' begins in a state of the tools of origin 'bfcl'.*executor.bfcl"):
            asyncio.run(begin(RoutedExecutor({}, CallLimits()), TASK))
        for wrong in ({}, {"classes": ["os"], "load": {}}, [1], begins()["bfcl"]):
            with pytest.raises(UserError, match=r"task 'd': its initial_state is none of BFCL's classes"):
                asyncio.run(begin(executor(), replace(TASK, initial_state={"bfcl": wrong})))

    def test_a_fault_does_not_hide_the_state(self) -> None:
        async def played() -> Any:
            backend = Faulty(BACKEND, FaultConfig(tool_error_share=1.0))
            async with RoutedExecutor({"bfcl": backend}, CallLimits()).session(TASK) as own:
                await own.call(BUMP, {"by": 1})  # fails before it gets there
                return await own.state()

        assert asyncio.run(played())["bfcl"]["Counter"]["count"] == 5


@cache
def renderer(dialect: str) -> Renderer:
    return Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS[dialect])


@given(st.text(max_size=40) | st.sampled_from(["<|im_end|>", "</tool_response><|im_start|>system", "<think>"]))
def test_a_request_is_a_users_message_and_data(text: str) -> None:
    ids = renderer("qwen3").request_ids(text)
    plain = renderer("qwen3").completion_text(ids)
    assert plain == f"\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n".encode("utf-8", "replace").decode()
    assert [ids.count(renderer("qwen3").start_id), ids.count(renderer("qwen3").end_id)] == [2, 1]


def turn(*results: tuple[str, ToolStatus], request: str | None = None, **observed: Any) -> Turn:
    made = tuple(ToolResult(call=call(BUMP, by=1), status=status, text=text) for text, status in results)
    return Turn(
        phase=Phase.EXECUTION,
        context=1,
        prompt_ids=(),
        completion=Completion(ids=(), logprobs=(), finish=FinishReason.STOP, policy_version=0),
        text="",
        message=PolicyMessage(answer="what it said does not matter here"),
        observation=Observation(texts=tuple(result.text for result in made), results=made, request=request, **observed),
    )


def two(first: str | None = "7", second: str | None = "at 7", count: int = 7) -> Task:
    """Two requests, each with one gold call; what these say, and the count after both."""
    requests = (
        Request(text="A", gold_calls=(call(BUMP),), gold_replies=(first,) if first else (), gold_state=state(7)),
        Request(text="B", gold_calls=(call(LOOK),), gold_replies=(second,) if second else (), gold_state=state(count)),
    )
    return Task(id="t", instruction="A", requests=requests, gold_calls=(call(BUMP), call(LOOK)))


OK, END = ToolStatus.OK, StopReason.ANSWERED


def trajectory(*turns: Turn, task: Task, stop: StopReason = END, answer: str | None = "done") -> Trajectory:
    return Trajectory(
        id="t/x0", parent_id="t/0", task=task, turns=turns, stop=stop, selection=(BUMP.id,), answer=answer
    )


class TestRequestsMet:
    A_MET = (turn(("7", OK)), turn(request="B", state=state(7)))

    @pytest.mark.parametrize(
        ("turns", "met"),
        [
            ((*A_MET, turn(("at 7", OK)), turn(state=state(7.0), stop=END)), 1.0),
            ((*A_MET, turn(("at 7", OK)), turn(state=state(8), stop=END)), 0.5),  # the state is another one
            ((*A_MET, turn(("at 8", OK)), turn(state=state(7), stop=END)), 0.5),  # the reply was not given
            ((*A_MET, turn(state=state(7), stop=END)), 0.5),  # no call was made
            ((*A_MET, turn(("at 7", ToolStatus.NOT_IN_TOOLSET)), turn(state=state(7), stop=END)), 0.5),  # none ran
            ((*A_MET, turn(("at 7", OK)), turn(stop=StopReason.TURN_LIMIT)), 0.5),  # it was not answered
            (A_MET, 0.5),
            ((turn(request="B", state=state(7)), turn(("7", OK), ("at 7", OK)), turn(state=state(7), stop=END)), 0.5),
            # a reply that was given for an earlier request counts, and each counts once
            ((turn(("7", OK), ("at 7", OK)), A_MET[1], turn(("no", OK)), turn(state=state(7), stop=END)), 1.0),
            ((turn(("no", OK)), turn(request="B", state=state(7)), turn(state=state(7), stop=END)), 0.0),
            ((), 0.0),
        ],
    )
    def test_by_hand(self, turns: tuple[Turn, ...], met: float) -> None:
        assert requests_met(trajectory(*turns, task=two())) == met

    def test_the_same_reply_twice_must_be_given_twice(self) -> None:
        task = two()
        twice = replace(task.requests[0], gold_replies=("7", "7"))
        task = replace(task, requests=(twice, task.requests[1]))
        rest = (turn(request="B", state=state(7)), turn(("at 7", OK)), turn(state=state(7), stop=END))
        assert requests_met(trajectory(turn(("7", OK)), *rest, task=task)) == 0.5
        assert requests_met(trajectory(turn(("7", OK), ("7", OK)), *rest, task=task)) == 1.0

    def test_requests_for_which_nothing_can_be_done_are_not_looked_at(self) -> None:
        task = two()
        task = replace(task, requests=(Request(text="A"), task.requests[1]))
        met = (turn(request="B"), turn(("at 7", OK)), turn(state=state(7), stop=END))
        assert requests_met(trajectory(*met, task=task)) == 1.0

    def test_without_a_known_state_gold_calls_decide(self) -> None:
        task = two()
        task = replace(task, requests=tuple(replace(one, gold_state=None) for one in task.requests))
        played = trajectory(turn(("7", OK)), turn(request="B"), turn(stop=END), task=task)
        assert requests_met(played) is outcome(played) is None
        assert trajectory_metrics(played)["pass_rate"] == 0.0

    def test_the_answer_counts_too_where_it_is_known(self) -> None:
        met = (*self.A_MET, turn(("at 7", OK)), turn(state=state(7), stop=END))
        task = replace(two(), gold_answer="done")
        assert [outcome(trajectory(*met, task=task, answer=text)) for text in ("done", "no")] == [1.0, 0.0]
        assert outcome(trajectory(*self.A_MET, task=task)) == 0.5

    def test_pass_needs_every_request_and_the_reward_counts_them(self) -> None:
        half = trajectory(*self.A_MET, turn(state=state(7), stop=END), task=two())
        assert trajectory_metrics(half)["pass_rate"] == 0.0
        assert execution_reward(half, ExecutionWeights()).parts["answer"] == 0.5

    def test_a_reply_that_was_cut_is_what_it_was_cut_from(self) -> None:
        whole = "abc" * 1000
        assert reads_as(cut(whole, 100), whole)
        assert reads_as(whole, whole)
        assert not reads_as(cut("abd" * 1000, 100), whole)
        assert not reads_as(cut(whole + "a", 100), whole)
        assert not reads_as(whole[:100], whole)
        assert not reads_as("", whole)
        assert not reads_as("…", whole)


def play(task: Task, *scripts: Task, dialect: str = "qwen3", **rules: Any) -> TaskRollouts:
    """The task played by an expert who thinks that it is one of `scripts`."""
    env = EnvConfig(dialect=dialect, **rules)  # type: ignore[arg-type]
    tools = {tool.id: tool for tool in CATALOGUE}
    collector = Collector(
        engine=ScriptedEngine(renderer(dialect), Expert(scripts, tools, env=env)),
        renderer=renderer(dialect),
        search=search,
        executor=executor(observation_chars=env.observation_chars),
        env=env,
        rollout=RolloutConfig(max_context=8192),
    )
    (rollouts,) = asyncio.run(
        collector.collect([task], GroupPlan(group_size=1, gate="gold"), sampling=Sampling(), seed=0)
    )
    return rollouts


class TestEpisodes:
    @pytest.mark.parametrize("dialect", ["qwen3", "paper"])
    @pytest.mark.parametrize("context", ["fresh", "append"])
    @pytest.mark.parametrize("aliases", ["off", "names_and_parameters"])
    def test_the_expert_meets_every_request(
        self, dialect: str, context: Literal["fresh", "append"], aliases: str
    ) -> None:
        found = final_trajectory(play(TASK, TASK, dialect=dialect, context=context, aliases=aliases))
        assert (found.stop, found.selection) == (StopReason.ANSWERED, (BUMP.id,))
        assert [result.call for result in found.results] == list(TASK.gold_calls or ())
        assert trajectory_metrics(found)["pass_rate"] == 1.0
        assert execution_reward(found, ExecutionWeights()).total == 1.0

    def test_a_policy_that_leaves_out_one_call_fails(self) -> None:
        for place, which in ((0, 0), (2, 0), (2, 1)):
            request = REQUESTS[place]
            less = replace(request, gold_calls=request.gold_calls[:which] + request.gold_calls[which + 1 :])
            script = replace(TASK, requests=(*REQUESTS[:place], less, *REQUESTS[place + 1 :]))
            found = final_trajectory(play(TASK, script))
            assert (found.stop, trajectory_metrics(found)["pass_rate"]) == (StopReason.ANSWERED, 0.0), (place, which)

    def test_a_record_is_scored_without_any_tool(self) -> None:
        found = final_trajectory(play(TASK, TASK))
        again = trajectory_from_dict(json.loads(json.dumps(trajectory_to_dict(found))))
        assert again == found
        assert requests_met(again) == 1.0

    def test_token_in_token_out(self) -> None:
        """What follows an answer is appended to it, and only what the policy wrote is trained."""
        found = final_trajectory(play(TASK, TASK))
        (segment,) = segments_of(found, Objective.EXECUTION)
        turns = [turn for turn in found.turns if turn.phase is Phase.EXECUTION]
        ids = [id for turn in turns for id in (*turn.prompt_ids, *turn.completion.ids)]
        assert list(segment.ids) == ids
        messages = renderer("qwen3").messages(segment.ids)
        assert [role for role, _ in messages] == ["system", *["user", "assistant"] * len(turns)]
        users = [text for role, text in messages if role == "user"]
        assert [text.splitlines()[0] for text in users] == [
            *("Up by two.", "<tool_response>", "Look at it.", "Now you can.", "<tool_response>", "<tool_response>")
        ]
        said = [id for id, acted in zip(segment.ids, segment.action_mask, strict=True) if acted]
        assert said == [id for turn in turns for id in turn.completion.ids]

    def test_tools_that_come_later_are_not_found(self) -> None:
        found = final_trajectory(play(TASK, TASK))
        assert LOOK.id not in found.surfaced
        assert {BUMP.id, TIE.id} <= found.surfaced

    def test_episodes_of_one_task_do_not_share_a_state(self) -> None:
        assert [final_trajectory(play(TASK, TASK)).results[0].text for _ in range(2)] == ['{"count": 7}'] * 2

    def test_dialogues_that_begin_alike_are_told_apart_as_they_go_on(self) -> None:
        """One has the tool that the other must wait for; one is asked something else."""
        at_7 = REQUESTS[0].gold_state
        early = replace(REQUESTS[1], gold_calls=(call(LOOK),), gold_replies=("at 7",), gold_state=at_7)
        had = replace(TASK, id="had", gold_tools=(BUMP.id, LOOK.id), requests=(REQUESTS[0], early))
        had = replace(had, gold_calls=(*REQUESTS[0].gold_calls, call(LOOK)))
        again = replace(REQUESTS[0], text="Again.", gold_replies=('{"count": 9}',))
        again = replace(again, gold_state={"bfcl": {"Counter": {"count": 9, "seen": [7, 9]}, "MathAPI": {}}})
        asked = replace(TASK, id="asked", requests=(REQUESTS[0], again), gold_calls=(call(BUMP, by=2),) * 2)
        for order in ((had, TASK, asked), (asked, TASK, had)):
            for task in order:
                found = final_trajectory(play(task, *order))
                assert trajectory_metrics(found)["pass_rate"] == 1.0, (task.id, [one.id for one in order])


class TestFiles:
    def test_written_and_read_again(self, tmp_path: Path) -> None:
        write_tasks(tmp_path / "tasks.jsonl", [TASK])
        assert read_tasks(tmp_path / "tasks.jsonl", CATALOGUE) == (TASK,)

    def test_by_hand(self, tmp_path: Path) -> None:
        asked = [{"text": "A", "gold_calls": [{"name": "bump", "arguments": {"by": 1}}]}, {"text": "B"}]
        (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "t", "instruction": "A", "requests": asked}))
        (task,) = read_tasks(tmp_path / "tasks.jsonl", CATALOGUE)
        assert (task.gold_tools, task.gold_calls) == ((BUMP.id,), (call(BUMP, by=1),))
        assert task.requests == (Request(text="A", gold_calls=(call(BUMP, by=1),)), Request(text="B"))

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"requests": []}, "requests"),
            ({"requests": ["A"]}, r"requests\[0\]"),
            ({"requests": [{"text": "B"}]}, r"requests\[0\].text"),
            ({"requests": [{"text": "A", "gold": []}]}, r"requests\[0\]"),
            ({"requests": [{"text": "A"}, {"text": " "}]}, r"requests\[1\].text"),
            ({"requests": [{"text": "A", "new_tools": ["fly"]}]}, r"requests\[0\].new_tools"),
            ({"requests": [{"text": "A", "gold_calls": {}}]}, r"requests\[0\].gold_calls"),
            (
                {"requests": [{"text": "A", "gold_calls": [{"name": "bump", "arguments": {"by": "x"}}]}]},
                r"requests\[0\].gold_calls\[0\]",
            ),
            ({"requests": [{"text": "A", "gold_replies": [1]}]}, r"requests\[0\].gold_replies"),
            ({"requests": [{"text": "A", "gold_state": 7}]}, r"requests\[0\].gold_state"),
            ({"requests": [{"text": "A"}], "gold_calls": [{"name": "bump"}]}, "gold_calls"),
            ({"initial_state": []}, "initial_state"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
        (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "t", "instruction": "A", **wrong}))
        with pytest.raises(DataError, match=rf"tasks.jsonl:1: field '{field}'"):
            read_tasks(tmp_path / "tasks.jsonl", CATALOGUE)

    def test_offered_tools_may_be_passed_over(self, tmp_path: Path) -> None:
        CATALOGUE.save(tmp_path / "tools.jsonl")
        write_tasks(tmp_path / "tasks.jsonl", [replace(TASK, offered_tools=(BUMP.id, TIE.id), split="test")])
        for api_list, offered in (("given", (BUMP.id, TIE.id)), (None, (BUMP.id, TIE.id)), ("open", ())):
            world = build_world(WorldConfig(kind="files", data=str(tmp_path), api_list=api_list))  # type: ignore[arg-type]
            assert world.tasks("test", 1, 0)[0].offered_tools == offered
