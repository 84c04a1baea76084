"""The rules of one episode, in text: two phases, each single-use, no tokens anywhere.

Retrieval: at most `max_search_rounds` searches, then one ranked selection of at most `max_selected` tools that a search
showed. Execution: the selected tools, and only they, may be called; then the answer. Of a dialogue, retrieval shows all
requests, for its tools are selected once; in execution each is made when the one before is answered. A malformed
message is answered with its reason and remembered as a format error; more than `max_format_errors` end the phase.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from envs.config import EnvConfig
from envs.dialects import SEARCH, SEARCH_SCHEMA, SELECT, SELECT_SCHEMA, tool_json
from envs.executors.arguments import invalid_arguments
from envs.executors.executor import Executor
from envs.types import (
    Observation,
    Phase,
    PolicyMessage,
    Prompt,
    Request,
    SearchRecord,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from envs.view import ToolView
from retriever.base.errors import InfraError
from retriever.base.seeds import derive_random
from retriever.base.together import together
from retriever.tools import Candidate, ToolDoc

Search = Callable[[str, int], Awaitable[Sequence[Candidate]]]

RETRIEVAL_RULES = (
    "Find the tools for the task. Search with short queries, one need at a time; "
    "then select the tools that the task needs, and no others, best first."
)
EXECUTION_RULES = "Solve the task by calling the tools below. Then reply with the result alone."


class Env(Protocol):
    """One phase of one episode."""

    phase: Phase

    def prompt(self) -> Prompt:
        """The start of a fresh context for this phase."""
        ...

    async def respond(self, message: PolicyMessage) -> Observation:
        """What the environment says to `message`; `stop` is set when the phase is over."""
        ...


class _FormatErrors:
    """Counts the malformed messages of a phase and ends it when there are too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    def observe(self, reason: str) -> Observation:
        self._count += 1
        stop = StopReason.PARSE_FAILURE if self._count > self._limit else None
        return Observation(texts=(f"error: {reason}",), format_error=reason, stop=stop)


class RetrievalPhase:
    """Search, then select."""

    phase = Phase.RETRIEVAL

    def __init__(self, *, task: Task, search: Search, config: EnvConfig, view: ToolView, seed: int) -> None:
        self._task, self._search, self._config, self._view = task, search, config, view
        self._random = derive_random(seed, "shuffle")
        self._errors = _FormatErrors(config.max_format_errors)
        self._searches = 0
        self.selection: tuple[ToolDoc, ...] | None = None  # ranked; set when a valid selection ended the phase

    def prompt(self) -> Prompt:
        """The rules, the two tools and the instruction."""
        return Prompt(system=RETRIEVAL_RULES, tools=(SEARCH_SCHEMA, SELECT_SCHEMA), user=self._task.asked)

    async def respond(self, message: PolicyMessage) -> Observation:
        """Candidates for searches; the end of the phase for a selection."""
        if message.failure is not None:
            return self._errors.observe(message.failure.reason)
        if message.answer is not None:
            return self._errors.observe(f"select tools with {SELECT} before you answer")
        if any(call.name == SELECT for call in message.calls):
            if len(message.calls) > 1:
                return self._errors.observe(f"{SELECT} stands alone")
            return self._select(message.calls[0])
        texts, searches, problem = [], [], None
        for call in message.calls:
            query = self._query_of(call)
            if isinstance(query, str):
                record, text = await self._run(query)
                searches.append(record)
                texts.append(text)
            else:
                problem = query[0]
                texts.append(f"error: {problem}")
        if problem is None:
            return Observation(texts=tuple(texts), searches=tuple(searches))
        stop = self._errors.observe(problem).stop
        return Observation(texts=tuple(texts), searches=tuple(searches), format_error=problem, stop=stop)

    def _query_of(self, call: ToolCall) -> str | tuple[str]:
        """The query, or the reason (in a 1-tuple) why the call is not a search that may run."""
        if call.name != SEARCH:
            return (f"there is no tool {call.name[:64]!r} here; call {SEARCH} or {SELECT}",)
        query = call.arguments.get("query")
        if set(call.arguments) != {"query"} or not isinstance(query, str) or not query.strip():
            return (f'{SEARCH} takes one non-empty string, "query"',)
        if self._searches == self._config.max_search_rounds:
            return (f"all {self._config.max_search_rounds} searches are used; call {SELECT}",)
        self._searches += 1
        return query.strip()

    async def _run(self, query: str) -> tuple[SearchRecord, str]:
        found = list(await self._search(query, self._config.candidates_per_search))
        record = SearchRecord(query=query, tool_ids=tuple(candidate.tool.id for candidate in found))
        if self._config.shuffle_candidates:
            self._random.shuffle(found)
        return record, "\n".join(self._view.line(candidate.tool) for candidate in found) or "nothing found"

    def _select(self, call: ToolCall) -> Observation:
        names = call.arguments.get("names")
        problem = None
        if (
            set(call.arguments) != {"names"}
            or not isinstance(names, list)
            or not all(isinstance(n, str) for n in names)
        ):
            problem = f'{SELECT} takes a list of strings, "names"'
        elif not 1 <= len(names) <= self._config.max_selected:
            problem = f"{len(names)} tools selected; select 1 to {self._config.max_selected}"
        else:
            tools = [self._view.shown(name) for name in names]
            chosen = tuple(tool for tool in tools if tool is not None)
            if len(chosen) < len(names):
                problem = "a selected tool was shown by no search"
            else:
                # Named again, a tool keeps its first rank: there is nothing wrong with what is selected.
                self.selection = tuple({tool.id: tool for tool in chosen}.values())
        if problem is not None:  # final, as DESIGN says: a wrong selection does not pass the gate
            return Observation(texts=(), format_error=problem, stop=StopReason.INVALID_SELECTION)
        return Observation(texts=(), stop=StopReason.SELECTED)


class ExecutionPhase:
    """Call the selected tools, then answer; of a dialogue, for each request."""

    phase = Phase.EXECUTION

    def __init__(
        self, *, task: Task, toolset: tuple[ToolDoc, ...], executor: Executor, config: EnvConfig, view: ToolView
    ) -> None:
        self._task, self._executor, self._config, self._view = task, executor, config, view
        self._toolset = {view.name(tool): tool for tool in toolset}
        self._errors = _FormatErrors(config.max_format_errors)
        self._calls = 0  # since the last request
        self._answered = 0  # requests
        self._join(task.requests[:1])

    def prompt(self) -> Prompt:
        """A fresh context: the rules, the schemas of the toolset, the instruction."""
        return Prompt(system=EXECUTION_RULES, tools=self._schemas(), user=self._task.instruction)

    def handover(self) -> str:
        """What `context: append` answers to the selection: rules and schemas, in the same context."""
        return "\n".join([EXECUTION_RULES, *map(tool_json, self._schemas())])

    def _schemas(self) -> tuple[dict[str, object], ...]:
        return tuple(self._view.schema(tool) for tool in self._toolset.values())

    async def respond(self, message: PolicyMessage) -> Observation:
        """Results for calls; the end of the phase for an answer."""
        if message.failure is not None:
            return self._errors.observe(message.failure.reason)
        if message.answer is not None:
            return await self._answer()
        allowed = message.calls[: self._config.max_calls - self._calls]
        # Side by side: the executor keeps calls in order where one may read what another changed.
        results = tuple(await together(map(self._run, allowed)))
        for result in results:
            if result.status is ToolStatus.INFRA_ERROR:  # no reply to learn from: the episode is played again
                raise InfraError(f"{result.call.name}: {result.text}")
        self._calls += len(message.calls)
        stop = StopReason.TURN_LIMIT if self._calls > self._config.max_calls else None
        return Observation(texts=tuple(result.text for result in results), results=results, stop=stop)

    async def _answer(self) -> Observation:
        """The end, or a dialogue's next request; with the state, where the task knows what it is to be."""
        requests = self._task.requests[self._answered :]
        checked = bool(requests) and requests[0].gold_state is not None
        state = await self._executor.state() if checked else None
        self._answered += 1
        if not requests[1:]:
            return Observation(texts=(), state=state, stop=StopReason.ANSWERED)
        self._calls = 0
        schemas = self._join(requests[1:2])
        return Observation(texts=(), state=state, request="\n".join([requests[1].text, *map(tool_json, schemas)]))

    def _join(self, requests: Sequence[Request]) -> list[dict[str, object]]:
        """Take the tools that these bring into the toolset; their schemas."""
        new = [tool for request in requests for tool in request.new_tools]
        self._toolset |= {self._view.name(tool): tool for tool in new}
        return [self._view.schema(tool) for tool in new]

    async def _run(self, call: ToolCall) -> ToolResult:
        tool = self._toolset.get(call.name)
        if tool is None:
            text = f"error: {call.name[:64]!r} is not one of the selected tools"
            return ToolResult(call=call, status=ToolStatus.NOT_IN_TOOLSET, text=text)
        arguments = self._view.real_arguments(tool, call.arguments)
        # Checked as the policy knows them: a reason must not speak of names that this episode hides.
        problem = invalid_arguments(self._view.schema(tool)["parameters"], call.arguments)
        if problem is not None:
            asked = ToolCall(name=tool.id, arguments=arguments)
            return ToolResult(call=asked, status=ToolStatus.INVALID_ARGUMENTS, text=problem)
        return await self._executor.call(tool, arguments)
