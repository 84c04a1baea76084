"""What an episode is made of, in text: tasks, calls, results and what a policy's message says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from retriever.tools import ToolDoc


class Phase(StrEnum):
    """The two phases of an episode."""

    RETRIEVAL = "retrieval"
    EXECUTION = "execution"


class ToolStatus(StrEnum):
    """How a call ended. Only INFRA_ERROR is ours; every other failure is the policy's to learn from."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    INVALID_ARGUMENTS = "invalid_arguments"
    UNKNOWN_TOOL = "unknown_tool"
    NOT_IN_TOOLSET = "not_in_toolset"
    TIMEOUT = "timeout"
    INFRA_ERROR = "infra_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What was asked: by name when a policy wrote it, by tool id once the episode has resolved it."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came back from one call."""

    call: ToolCall  # `name` is the tool id where the tool is known
    status: ToolStatus
    text: str  # what the policy will read, already cut to the observation limit
    latency_s: float = 0.0
    served_from: str = "live"  # live, replay, simulator, fault

    @property
    def ran(self) -> bool:
        """Whether the call reached what runs the tool."""
        return self.status not in (ToolStatus.INVALID_ARGUMENTS, ToolStatus.NOT_IN_TOOLSET)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCall:
    """A gold call with every value of each argument that is right, as BFCL lists them."""

    name: str  # tool id
    arguments: Mapping[str, Any] = field(hash=False)  # parameter → list of values; "" among them: may be left out


class AnswerCheck(StrEnum):
    """How an answer is held against `Task.gold_answer` (rewards/answers.py)."""

    TEXT = "text"  # equal as numbers, or as text but for case, spacing and a final full stop
    EXACT = "exact"
    NUMBER = "number"  # gold: "3.14", or with a tolerance "3.14 ± 0.01"
    SET = "set"  # gold: a JSON list, or items between commas; in any order
    REGEX = "regex"  # gold: a pattern that is found in the answer
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One of a dialogue's requests, and what is right when it has been answered."""

    text: str  # what the user says
    new_tools: tuple[ToolDoc, ...] = ()  # are there from this request on, and no search shows them
    gold_calls: tuple[ToolCall, ...] = ()  # none: nothing can be done yet, and nothing of it is checked
    gold_replies: tuple[str, ...] = ()  # what the gold calls say, whole
    gold_state: Mapping[str, Any] | None = field(default=None, hash=False)  # origin → state; None: not checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One instruction and whatever is known of its solution; every gold field may be absent (None).

    A dialogue has `requests`, each made when the one before is answered; the instruction is the first.
    """

    id: str
    instruction: str
    split: str = "train"
    gold_tools: tuple[str, ...] | None = None  # tool ids, in the order of use
    gold_calls: tuple[ToolCall, ...] | None = None  # by tool id, in order, arguments concrete
    gold_answer: str | None = None
    allowed_calls: tuple[AllowedCall, ...] | None = None  # each once, in any order; empty: no call is right
    answer_check: AnswerCheck = AnswerCheck.TEXT
    checker: str | None = None  # dotted path of a function (answer, task) → bool or share; it decides, not gold_answer
    tags: tuple[str, ...] = ()  # "single", "chained", the domain …
    offered_tools: tuple[str, ...] = ()  # ids: searches show these alone; empty: whatever is in the catalogue
    expert_queries: tuple[str, ...] = ()  # one per gold tool: for the scripted expert, never shown to a policy
    requests: tuple[Request, ...] = ()  # of a dialogue; all their gold calls together are `gold_calls`
    initial_state: Mapping[str, Any] = field(default_factory=dict, hash=False)  # origin → what its tools begin with

    def __post_init__(self) -> None:
        assert not self.requests or self.requests[0].text == self.instruction

    @property
    def asked(self) -> str:
        """All that the user asks: what tools are searched for, since a dialogue's are selected once."""
        return "\n\n".join(request.text for request in self.requests) or self.instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseFailure:
    """A message that is neither a call nor an answer. `reason` is one sentence that the policy reads."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyMessage:
    """One completion as its dialect reads it: calls, or an answer, or a failure; exactly one of the three."""

    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    failure: ParseFailure | None = None
    thought: str = ""

    def __post_init__(self) -> None:
        assert (bool(self.calls) + (self.answer is not None) + (self.failure is not None)) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The start of a context: what a chat server would get as `tools` and `messages`."""

    system: str  # our rules, trusted
    tools: tuple[Mapping[str, Any], ...] = field(
        hash=False
    )  # OpenAI function objects: {"name", "description", "parameters"}
    user: str


class StopReason(StrEnum):
    """Why a trajectory ended. Truncated (the limits) is not terminated (SELECTED, ANSWERED)."""

    SELECTED = "selected"  # a valid selection; nothing was executed (gate closed, or retrieval only)
    ANSWERED = "answered"
    INVALID_SELECTION = "invalid_selection"  # too long, empty, or a tool that no search showed
    PARSE_FAILURE = "parse_failure"  # more format errors than env.max_format_errors
    TURN_LIMIT = "turn_limit"
    LENGTH = "length"  # a completion reached max_new_tokens
    CONTEXT_FULL = "context_full"
    INFRA_FAILURE = "infra_failure"  # ours: the trajectory's group is not trained


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecord:
    """One search: what was asked and which tools came back, best first as the retriever ranked them."""

    query: str
    tool_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the environment says to one message, and what it noted while doing so."""

    texts: tuple[str, ...]  # one per call; empty when the phase is over, or with a `request`
    searches: tuple[SearchRecord, ...] = ()
    results: tuple[ToolResult, ...] = ()
    format_error: str | None = None
    stop: StopReason | None = None  # set: the phase is over
    request: str | None = None  # what a dialogue's user says next
    state: Mapping[str, Any] | None = field(default=None, hash=False)  # by origin, where an answer is checked by it
