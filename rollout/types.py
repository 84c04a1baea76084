"""What a rollout leaves behind: completions, turns, trajectories, groups. Immutable; token ids are the truth."""

from dataclasses import dataclass, field
from enum import StrEnum

from envs.types import Observation, Phase, PolicyMessage, SearchRecord, StopReason, Task, ToolResult


class FinishReason(StrEnum):
    """Why the engine stopped sampling."""

    STOP = "stop"  # the last of `ids` is the end-of-turn token or another of `stop_ids`, or completes a stop string
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the engine samples; `temperature` 0 is greedy. Training samples from the whole distribution.

    The truncations apply to softmax(logits / temperature) in the order top_k, top_p, min_p, each to what is left.
    """

    temperature: float = 1.0
    max_new_tokens: int = 256
    top_p: float = 1.0  # the most likely tokens that together reach it; 1: all
    top_k: int = 0  # 0: all
    min_p: float = 0.0  # of the most likely token's probability; 0: all
    stop_ids: tuple[int, ...] = ()  # tokens that end a completion, beside the end-of-turn token
    stop: tuple[str, ...] = ()  # end a completion whose text holds one; the token that completes it is kept

    @property
    def truncated(self) -> bool:
        """Whether tokens that the policy could sample never come: its log-probs are then not the behaviour's."""
        return (self.top_p, self.top_k, self.min_p) != (1.0, 0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the policy sampled in one turn."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # nats, log_softmax(logits / temperature) of the behaviour policy, one per id
    finish: FinishReason
    policy_version: int
    queue_s: float = field(default=0.0, compare=False)  # from the request until the engine began with it

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One completion, what preceded it in its context, and what the environment said to it."""

    phase: Phase
    context: int  # 0-based; a new number starts a new prompt
    # appended since the context's previous completion: the prompt, or an observation; first the end-of-turn token where
    # a stop string ended that completion
    prompt_ids: tuple[int, ...]
    completion: Completion
    text: str  # the completion decoded, for people; never tokenised again
    message: PolicyMessage
    observation: Observation
    # what a clock said makes no two turns different
    generation_s: float = field(default=0.0, compare=False)  # from the request to the completion, its queue_s included
    tool_s: float = field(default=0.0, compare=False)  # from there to the observation: searches, or calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One episode, or its retrieval phase alone when the gate closed."""

    id: str
    task: Task
    turns: tuple[Turn, ...]
    stop: StopReason
    selection: tuple[str, ...] | None = None  # tool ids, ranked; None without a valid selection
    answer: str | None = None
    parent_id: str | None = None  # of an execution: the trajectory whose retrieval phase it continues
    failure: str | None = None  # what broke, when stop is INFRA_FAILURE
    seconds: float = 0.0

    @property
    def executed(self) -> bool:
        """Whether an execution phase was begun."""
        return self.parent_id is not None

    @property
    def searches(self) -> tuple[SearchRecord, ...]:
        """All searches, in order."""
        return tuple(search for turn in self.turns for search in turn.observation.searches)

    @property
    def surfaced(self) -> frozenset[str]:
        """Ids of all tools that some search showed."""
        return frozenset(tool for search in self.searches for tool in search.tool_ids)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """All call results, in order."""
        return tuple(result for turn in self.turns for result in turn.observation.results)

    def format_ok(self, phase: Phase) -> bool:
        """No malformed message in `phase`, and the phase was not cut off by a limit."""
        last = Phase.EXECUTION if self.executed else Phase.RETRIEVAL
        if self.stop in TRUNCATED and last is phase:
            return False
        return not any(turn.observation.format_error for turn in self.turns if turn.phase is phase)


TRUNCATED = frozenset({StopReason.TURN_LIMIT, StopReason.LENGTH, StopReason.CONTEXT_FULL})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRollouts:
    """All rollouts of one task in one batch: its retrieval group and, behind the gate, its execution group."""

    task: Task
    retrieval: tuple[Trajectory, ...]  # G retrieval phases
    executions: tuple[Trajectory, ...]  # continuations of survivors; fewer, or none, when few pass the gate


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """What one worker is doing, and what it has done since it was started. Each phase that is played is an episode."""

    policy_version: int
    worker: str = ""  # host and process: one that was restarted is another
    # the engine's
    running: int = 0  # requests that decode
    waiting: int = 0  # requests that wait for a place in the engine
    prefilled_tokens: int = 0
    decoded_tokens: int = 0
    cached_tokens: int = 0  # of contexts that were asked to go on: keys and values that were there already
    # the collector's
    episodes_running: int = 0
    episodes_waiting: int = 0  # for a place among `rollout.max_concurrent`
    episodes_finished: int = 0
    episodes_retried: int = 0  # plays that a failure of ours spoilt, and that were begun again
    episodes_lost: int = 0  # of those finished: spoilt once more, and given up
    gate_judged: int = 0  # retrieval phases, without those that were lost
    gate_passed: int = 0
    queue_s: float = 0.0  # of all turns so far: waiting for the engine
    decode_s: float = 0.0  # … being generated, prefill included
    tool_s: float = 0.0  # … from the completion to the observation
