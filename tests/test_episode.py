"""The rules of an episode, one by one: what the environment answers, what it counts and when a phase is over."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.config import EnvConfig
from envs.dialects import SEARCH, SELECT
from envs.episode import EXECUTION_RULES, ExecutionPhase, RetrievalPhase
from envs.executors.arguments import invalid_arguments
from envs.executors.routed import cut
from envs.types import (
    Observation,
    ParseFailure,
    PolicyMessage,
    SearchRecord,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from envs.view import ToolView, label_of
from retriever.tools import Candidate, ToolDoc
from tests.support import functions_executor

TASK = Task(id="t", instruction="What is the root of 4 + 5?")


def tool(name: str, *parameters: str, id: str | None = None, description: str = "") -> ToolDoc:
    return ToolDoc(
        id=id or f"demo.{name}",
        name=name,
        description=description or f"Does {name}.",
        parameters={
            "type": "object",
            "properties": {parameter: {"type": "integer"} for parameter in parameters},
            "required": list(parameters),
        },
    )


ADD, ROOT, SUB, MUL, DIV, POW = tool("add", "a", "b"), tool("root", "x"), *map(tool, ("sub", "mul", "div", "pow"))
FOUND = {"sums": (ADD, SUB), "roots": (ROOT, ADD), "all": (ADD, ROOT, SUB, MUL, DIV, POW), "nothing": ()}


async def search(query: str, k: int) -> Sequence[Candidate]:
    return [Candidate(tool=tool, score=-rank, rank=rank) for rank, tool in enumerate(FOUND[query][:k], start=1)]


def retrieval(
    search: Callable[[str, int], Awaitable[Sequence[Candidate]]] = search, seed: int = 0, **rules: Any
) -> RetrievalPhase:
    config = EnvConfig(**rules)
    return RetrievalPhase(task=TASK, search=search, config=config, view=ToolView(config, seed=seed), seed=seed)


def play(phase: RetrievalPhase | ExecutionPhase, *messages: PolicyMessage) -> list[Observation]:
    """What the phase says to each message."""

    async def all_of_them() -> list[Observation]:
        return [await phase.respond(message) for message in messages]

    return asyncio.run(all_of_them())


def calls(*made: tuple[str, Mapping[str, Any]]) -> PolicyMessage:
    return PolicyMessage(calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in made))


def searches(*queries: str) -> PolicyMessage:
    return calls(*((SEARCH, {"query": query}) for query in queries))


def select(*names: Any) -> PolicyMessage:
    return calls((SELECT, {"names": list(names)}))


MALFORMED = PolicyMessage(failure=ParseFailure(reason="a call must be one JSON object"))


# ---- retrieval


def test_searching_and_selecting() -> None:
    phase = retrieval()
    first, second, last = play(phase, searches(" sums "), searches("roots"), select("C", "add"))
    assert first == Observation(
        texts=("A. add: Does add.\nB. sub: Does sub.",),
        searches=(SearchRecord(query="sums", tool_ids=("demo.add", "demo.sub")),),
    )
    assert second.texts == ("C. root: Does root.\nA. add: Does add.",)  # labels go on; a known tool keeps its own
    assert last == Observation(texts=(), stop=StopReason.SELECTED)
    assert phase.selection == (ROOT, ADD)  # ranked as the policy ranked them


def test_two_searches_in_one_message() -> None:
    phase = retrieval(candidates_per_search=1)
    (both,) = play(phase, searches("sums", "roots"))
    assert both.texts == ("A. add: Does add.", "B. root: Does root.")
    assert [record.query for record in both.searches] == ["sums", "roots"]
    assert both.format_error is None


def test_a_search_that_finds_nothing_says_so() -> None:
    (nothing,) = play(retrieval(), searches("nothing"))
    assert nothing == Observation(texts=("nothing found",), searches=(SearchRecord(query="nothing", tool_ids=()),))


def test_searches_beyond_the_limit_are_format_errors_and_are_not_run() -> None:
    observed = play(retrieval(max_search_rounds=2, max_format_errors=1), *[searches("sums")] * 4)
    assert [len(observation.searches) for observation in observed] == [1, 1, 0, 0]
    assert observed[2].format_error == "all 2 searches are used; call select_tools"
    assert observed[2].texts == ("error: all 2 searches are used; call select_tools",)
    assert [observation.stop for observation in observed] == [None, None, None, StopReason.PARSE_FAILURE]


def test_two_searches_in_one_message_are_two_rounds() -> None:
    first, second = play(retrieval(max_search_rounds=3), searches("sums", "roots"), searches("sums", "roots"))
    assert (len(first.searches), first.format_error) == (2, None)
    assert (len(second.searches), len(second.texts)) == (1, 2)
    assert second.format_error == "all 3 searches are used; call select_tools"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "0 tools selected; select 1 to 5"),
        (["A", "B", "C", "D", "E", "F"], "6 tools selected; select 1 to 5"),
        (["A", "Z"], "a selected tool was shown by no search"),
        (["demo.add"], "a selected tool was shown by no search"),  # ids are ours
        (["A", 2], 'select_tools takes a list of strings, "names"'),
    ],
)
def test_a_wrong_selection_is_final(names: list[Any], problem: str) -> None:
    phase = retrieval(candidates_per_search=6)
    _, last = play(phase, searches("all"), select(*names))
    assert last == Observation(texts=(), format_error=problem, stop=StopReason.INVALID_SELECTION)
    assert phase.selection is None


@pytest.mark.parametrize(
    "arguments", [{}, {"names": "add"}, {"names": None}, {"names": ["A"], "why": "x"}, {"tools": ["A"]}]
)
def test_a_selection_of_another_shape_is_final(arguments: dict[str, Any]) -> None:
    phase = retrieval()
    _, last = play(phase, searches("sums"), calls((SELECT, arguments)))
    assert (last.stop, phase.selection) == (StopReason.INVALID_SELECTION, None)


def test_a_tool_that_only_other_searches_would_show_is_unseen() -> None:
    phase = retrieval()
    _, last = play(phase, searches("sums"), select("root"))
    assert (last.stop, phase.selection) == (StopReason.INVALID_SELECTION, None)


def test_selecting_without_a_search_is_selecting_the_unseen() -> None:
    assert play(retrieval(), select("A"))[0].stop is StopReason.INVALID_SELECTION


def test_as_many_as_may_be_selected_may_be_selected() -> None:
    phase = retrieval(max_selected=2)
    _, last = play(phase, searches("all"), select("E", "A"))
    assert (last.stop, phase.selection) == (StopReason.SELECTED, (DIV, ADD))


@pytest.mark.parametrize("names", [("E", "A", "E"), ("E", "A", "add")], ids=["same label", "label and name"])
def test_a_tool_named_again_keeps_its_first_rank(names: tuple[str, ...]) -> None:
    phase = retrieval()
    _, last = play(phase, searches("all"), select(*names))
    assert last == Observation(texts=(), stop=StopReason.SELECTED)
    assert phase.selection == (DIV, ADD)


def test_a_selection_stands_alone() -> None:
    phase = retrieval()
    both = calls((SEARCH, {"query": "sums"}), (SELECT, {"names": ["A"]}))
    first, last = play(phase, both, select("A"))
    assert (first.format_error, first.searches, first.stop) == ("select_tools stands alone", (), None)
    assert last.stop is StopReason.INVALID_SELECTION  # the search beside it was not run either


def test_an_answer_before_a_selection_is_a_format_error() -> None:
    (observed,) = play(retrieval(), PolicyMessage(answer="3"))
    assert observed.format_error == "select tools with select_tools before you answer"
    assert observed.stop is None


@pytest.mark.parametrize(
    "call",
    [
        ("add", {"a": 1, "b": 2}),  # execution has not begun
        (SEARCH, {}),
        (SEARCH, {"query": 7}),
        (SEARCH, {"query": " \n"}),
        (SEARCH, {"query": "sums", "k": 50}),
    ],
)
def test_a_call_that_may_not_run_is_a_format_error_beside_those_that_may(call: tuple[str, dict[str, Any]]) -> None:
    (observed,) = play(retrieval(), calls((SEARCH, {"query": "sums"}), call))
    assert observed.texts[0].startswith("A. add")
    assert observed.texts[1] == f"error: {observed.format_error}"
    assert len(observed.searches) == 1


@pytest.mark.parametrize(("limit", "answered"), [(0, 0), (2, 2)])
def test_one_format_error_too_many_ends_the_phase(limit: int, answered: int) -> None:
    observed = play(retrieval(max_format_errors=limit), *[MALFORMED] * (answered + 1))
    assert [observation.stop for observation in observed] == [None] * answered + [StopReason.PARSE_FAILURE]
    assert all(observation.texts == ("error: a call must be one JSON object",) for observation in observed)
    assert all(observation.format_error == "a call must be one JSON object" for observation in observed)


def test_shuffled_candidates_hide_the_ranking_but_not_from_the_record() -> None:
    orders = set()
    for seed in range(8):
        (observed,) = play(retrieval(seed=seed, shuffle_candidates=True), searches("all"))
        orders.add(tuple(line.split()[1] for line in observed.texts[0].splitlines()))
        assert [line.split()[0] for line in observed.texts[0].splitlines()] == ["A.", "B.", "C.", "D.", "E."]
        assert observed.searches[0].tool_ids == ("demo.add", "demo.root", "demo.sub", "demo.mul", "demo.div")
    assert len(orders) > 1


# ---- what a policy sees of tools


def test_labels_go_on_like_columns_of_a_spreadsheet() -> None:
    assert [label_of(index) for index in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == "A B Z AA AB AZ BA ZZ AAA".split()


def test_without_labels_tools_are_selected_by_name() -> None:
    phase = retrieval(candidate_line="{name}: {description}")
    _, last = play(phase, searches("sums"), select("A"))
    assert last.stop is StopReason.INVALID_SELECTION
    phase = retrieval(candidate_line="{name}: {description}")
    play(phase, searches("sums"), select(" add "))
    assert phase.selection == (ADD,)


def test_a_label_means_its_line_even_when_a_tool_is_named_like_one() -> None:
    odd, other = tool("B"), tool("other")
    view = ToolView(EnvConfig(), seed=0)
    assert view.line(odd).startswith("A. B:")
    assert view.line(other).startswith("B. other:")
    assert (view.shown("A"), view.shown("B"), view.shown("other")) == (odd, other, other)


def test_two_tools_of_one_name_stay_two() -> None:
    # Names need not be unique: ToolBench cuts them to 64 characters, and a catalogue may hold two versions.
    old, new = tool("add", "a", id="v1.add"), tool("add", "b", id="v2.add")
    config = EnvConfig()
    view = ToolView(config, seed=0)
    assert [view.line(old), view.line(new)] == ["A. add: Does add.", "B. add_2: Does add."]
    assert (view.shown("add"), view.shown("add_2")) == (old, new)
    phase = ExecutionPhase(task=TASK, toolset=(old, new), executor=EXECUTOR, config=config, view=view)
    assert [schema["name"] for schema in phase.prompt().tools] == ["add", "add_2"]
    (observed,) = play(phase, calls(("add", {"a": 1}), ("add_2", {"b": 1})))
    assert [result.call.name for result in observed.results] == ["v1.add", "v2.add"]


def test_a_candidate_is_one_line() -> None:
    view = ToolView(EnvConfig(), seed=0)
    assert view.line(tool("add", description="Adds\n two \t{numbers}.")) == "A. add: Adds two {numbers}."


PARAMETERS = st.lists(st.text(min_size=1, max_size=5), max_size=4, unique=True)
TOOLS = st.lists(st.tuples(st.text(max_size=5), PARAMETERS), min_size=1, max_size=6).map(
    lambda drawn: [tool(name, *parameters, id=f"id{index}") for index, (name, parameters) in enumerate(drawn)]
)


@settings(max_examples=50)
@given(TOOLS, st.sampled_from(["off", "names", "names_and_parameters"]), st.integers(0, 2**63 - 1))
def test_aliases_are_a_bijection_and_are_undone_at_dispatch(tools: list[ToolDoc], aliases: Any, seed: int) -> None:
    config = EnvConfig(aliases=aliases, candidate_line="{label} {name}")
    view = ToolView(config, seed=seed)
    names = [view.name(tool) for tool in tools]
    assert len(set(names)) == len(tools)
    schemas = [view.schema(tool) for tool in tools]
    assert [schema["name"] for schema in schemas] == names
    for real, schema in zip(tools, schemas, strict=True):
        shown = list(schema["parameters"]["properties"])
        wanted = list(real.parameters["properties"])
        assert schema["parameters"]["required"] == shown
        assert len(set(shown)) == len(wanted)
        if aliases == "names_and_parameters":
            assert not set(shown) & set(wanted)
        else:
            assert shown == wanted
        asked = {name: index for index, name in enumerate(shown)}
        assert view.real_arguments(real, asked) == {name: index for index, name in enumerate(wanted)}
        # No two names fall together, whatever is asked for: nothing of a call is lost on the way.
        everything = dict.fromkeys([*shown, *wanted, "?"], 0)
        assert len(view.real_arguments(real, everything)) == len(everything)
    assert ToolView(config, seed=seed).name(tools[0]) == names[0]


ALIASED = EnvConfig(aliases="names_and_parameters")


def test_aliases_hold_through_a_whole_episode() -> None:
    view = ToolView(ALIASED, seed=3)
    finding = RetrievalPhase(task=TASK, search=search, config=ALIASED, view=view, seed=3)
    (found,) = play(finding, searches("sums"))
    alias = found.texts[0].splitlines()[0].split()[1].removesuffix(":")
    assert alias == view.name(ADD) != "add"
    (chosen,) = play(finding, select(alias))
    assert (chosen.stop, finding.selection) == (StopReason.SELECTED, (ADD,))
    acting = ExecutionPhase(task=TASK, toolset=(ADD,), executor=EXECUTOR, config=ALIASED, view=view)
    a, b = acting.prompt().tools[0]["parameters"]["properties"]
    (result,) = play(acting, calls((alias, {b: 5, a: 4})))[0].results
    assert (result.status, result.text, result.call) == (
        ToolStatus.OK,
        "9",
        ToolCall(name="demo.add", arguments={"a": 4, "b": 5}),
    )


def test_real_names_mean_nothing_behind_aliases_and_no_reason_speaks_of_them() -> None:
    secret = tool("secret_name", "secret_parameter")
    view = ToolView(ALIASED, seed=3)
    phase = ExecutionPhase(task=TASK, toolset=(secret,), executor=EXECUTOR, config=ALIASED, view=view)
    alias = view.name(secret)
    (shown,) = phase.prompt().tools[0]["parameters"]["properties"]
    by_real_name, by_real_parameter, without, wrong_type = play(
        phase,
        calls(("secret_name", {shown: 1})),
        calls((alias, {"secret_parameter": 1})),
        calls((alias, {})),
        calls((alias, {shown: "1"})),
    )
    assert by_real_name.results[0].status is ToolStatus.NOT_IN_TOOLSET
    assert [o.results[0].status for o in (by_real_parameter, without, wrong_type)] == [ToolStatus.INVALID_ARGUMENTS] * 3
    assert without.texts == (f"error: invalid arguments: '{shown}' is a required property",)
    assert wrong_type.texts == ("error: invalid arguments: '1' is not of type 'integer'",)
    assert wrong_type.results[0].call == ToolCall(name=secret.id, arguments={"secret_parameter": "1"})


# ---- execution


RELEASED = threading.Event()


def run_tool(tool_id: str, arguments: Mapping[str, Any]) -> str:
    """A few tools that behave, and some that do not."""
    kind = tool_id.removeprefix("demo.")
    if kind == "add":
        return str(arguments["a"] + arguments["b"])
    if kind == "raise":
        raise ValueError("a may not be 0")
    if kind == "raise_silently":
        raise KeyError
    if kind == "run_dry":
        return str(next(iter(())))  # StopIteration, which no thread may hand to asyncio
    if kind == "time_out_itself":
        raise TimeoutError("the database is slow")
    if kind == "hang":
        RELEASED.wait(5)
    if kind == "chatter":
        return "x" * 1000
    return "done"


EXECUTOR = functions_executor(run_tool, timeout_s=0.2, observation_chars=40)
TOOLSET = (ADD, *map(tool, ("raise", "raise_silently", "run_dry", "time_out_itself", "hang", "chatter")))


def execution(toolset: tuple[ToolDoc, ...] = TOOLSET, **rules: Any) -> ExecutionPhase:
    config = EnvConfig(**rules)
    return ExecutionPhase(task=TASK, toolset=toolset, executor=EXECUTOR, config=config, view=ToolView(config, seed=0))


def result_of(name: str, arguments: Mapping[str, Any]) -> ToolResult:
    ((result,),) = [observation.results for observation in play(execution(), calls((name, arguments)))]
    return result


def test_calling_and_answering() -> None:
    one, two, last = play(
        execution(),
        calls(("add", {"a": 4, "b": 5})),
        calls(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})),
        PolicyMessage(answer="3"),
    )
    assert (one.texts, one.format_error, one.stop) == (("9",), None, None)
    assert two.texts == ("2", "4")
    assert [(r.status, r.served_from, r.call.name) for r in two.results] == [(ToolStatus.OK, "live", "demo.add")] * 2
    assert last == Observation(texts=(), stop=StopReason.ANSWERED)


@pytest.mark.parametrize(
    ("name", "arguments", "status", "text"),
    [
        ("raise", {}, ToolStatus.TOOL_ERROR, "error: a may not be 0"),
        ("raise_silently", {}, ToolStatus.TOOL_ERROR, "error: KeyError"),
        ("run_dry", {}, ToolStatus.TOOL_ERROR, "error: StopIteration"),
        ("time_out_itself", {}, ToolStatus.TOOL_ERROR, "error: the database is slow"),
        ("mul", {"a": 1}, ToolStatus.NOT_IN_TOOLSET, "error: 'mul' is not one of the selected tools"),
        ("demo.add", {"a": 1, "b": 2}, ToolStatus.NOT_IN_TOOLSET, "error: 'demo.add' is not one of the selected tools"),
        (SEARCH, {"query": "x"}, ToolStatus.NOT_IN_TOOLSET, "error: 'search_tools' is not one of the selected tools"),
        ("add", {"a": 1}, ToolStatus.INVALID_ARGUMENTS, "error: invalid arguments: 'b' is a required property"),
        (
            "add",
            {"a": 1, "b": "2"},
            ToolStatus.INVALID_ARGUMENTS,
            "error: invalid arguments: '2' is not of type 'integer'",
        ),
        (
            "add",
            {"a": 1, "b": 2, "c": 3},
            ToolStatus.INVALID_ARGUMENTS,
            "error: invalid arguments: Additional properties are not allowed ('c' was unexpected)",
        ),
    ],
)
def test_what_goes_wrong_is_a_typed_result(name: str, arguments: dict[str, Any], status: ToolStatus, text: str) -> None:
    result = result_of(name, arguments)
    assert (result.status, result.text) == (status, text)


def test_a_tool_that_hangs_times_out() -> None:
    async def call() -> ToolResult:
        result = await EXECUTOR.call(tool("hang"), {})
        RELEASED.set()  # its thread cannot be killed, and asyncio.run waits for it
        return result

    result = asyncio.run(call())
    assert (result.status, result.text) == (ToolStatus.TIMEOUT, "error: no reply within 0.2 s")
    assert 0.2 <= result.latency_s < 2


def test_a_long_observation_is_cut_and_says_so() -> None:
    assert result_of("chatter", {}).text == "x" * 12 + "… [cut from 1000 characters]"
    assert cut("x" * 40, 40) == "x" * 40
    assert [len(cut("x" * 1000, limit)) for limit in (1, 10, 28, 999)] == [1, 10, 28, 999]


def test_an_error_in_execution_is_answered_and_counted() -> None:
    observed = play(execution(max_format_errors=1), MALFORMED, calls(("add", {"a": 4, "b": 5})), MALFORMED)
    assert [o.format_error is not None for o in observed] == [True, False, True]
    assert [o.stop for o in observed] == [None, None, StopReason.PARSE_FAILURE]


def test_calls_of_one_message_run_side_by_side() -> None:
    """Neither would come back before the other is there."""
    meeting = threading.Barrier(2, timeout=30)

    def call(tool_id: str, arguments: Mapping[str, Any]) -> str:
        meeting.wait()
        return str(arguments["a"])

    executor, config = functions_executor(call, timeout_s=60), EnvConfig()
    phase = ExecutionPhase(task=TASK, toolset=(ADD,), executor=executor, config=config, view=ToolView(config, seed=0))
    (observed,) = play(phase, calls(("add", {"a": 1, "b": 0}), ("add", {"a": 2, "b": 0})))
    assert observed.texts == ("1", "2")


def test_calls_beyond_the_limit_are_not_made() -> None:
    once = ("add", {"a": 1, "b": 1})
    observed = play(execution(max_calls=3), calls(once, once), calls(once), calls(once))
    assert [len(o.results) for o in observed] == [2, 1, 0]
    assert [o.stop for o in observed] == [None, None, StopReason.TURN_LIMIT]
    (observed_at_once,) = play(execution(max_calls=3), calls(*[once] * 5))
    assert (len(observed_at_once.results), observed_at_once.stop) == (3, StopReason.TURN_LIMIT)


def test_after_the_last_call_one_may_still_answer() -> None:
    once = ("add", {"a": 1, "b": 1})
    assert play(execution(max_calls=1), calls(once), PolicyMessage(answer="2"))[-1].stop is StopReason.ANSWERED


def test_execution_lists_the_selected_tools_and_no_others() -> None:
    phase = execution((ROOT, ADD))
    prompt = phase.prompt()
    assert (prompt.system, prompt.user) == (EXECUTION_RULES, TASK.instruction)
    assert [schema["name"] for schema in prompt.tools] == ["root", "add"]
    assert phase.handover().splitlines()[0] == EXECUTION_RULES
    assert len(phase.handover().splitlines()) == 3


def test_schemas_without_properties_take_no_arguments() -> None:
    assert invalid_arguments({"type": "object"}, {}) is None
    assert invalid_arguments({"type": "object"}, {"x": 1}) is not None
    assert invalid_arguments({"type": "object", "additionalProperties": True}, {"x": 1}) is None
