"""What generates tokens: one Protocol, and the scripted engine that experts and tests speak through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from envs.types import PolicyMessage
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, RolloutStatus, Sampling
from rollout.weights import WeightUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One turn to generate."""

    session: str  # turns of one context share it: an engine may keep their KV cache
    ids: tuple[int, ...]  # the whole context so far
    sampling: Sampling
    seed: int


class Engine(Protocol):
    """Generates turns for many episodes at once."""

    policy_version: int

    async def generate(self, request: GenerationRequest) -> Completion:
        """Sample one turn. Raises InfraError when the engine failed."""
        ...

    def close_session(self, session: str) -> None:
        """The context is over; whatever was kept for it may go. Unknown sessions are fine."""
        ...


class WorkerEngine(Engine, Protocol):
    """An engine as a worker holds one: its weights come and go, and it is watched."""

    def set_weights(self, update: WeightUpdate) -> None:
        """Load an update, and prove by its hash that it arrived. Raises IntegrityError."""
        ...

    def release(self) -> None:
        """Give memory of contexts back until the next request, where a trainer shares the device."""
        ...

    def status(self) -> RolloutStatus:
        """What is asked of it and what it has done. Raises InfraError when it is broken for good."""
        ...


Script = Callable[[Sequence[tuple[str, str]], int], PolicyMessage]
"""(messages so far as (role, text), seed) → what to write next."""


class ScriptedEngine:
    """Speaks a script through real token ids: it reads the context as text and writes what the script says."""

    def __init__(self, renderer: Renderer, script: Script) -> None:
        self.policy_version = 0
        self._renderer = renderer
        self._script = script

    async def generate(self, request: GenerationRequest) -> Completion:
        """The script's message; log-probs are 0, as of a policy that is certain."""
        message = self._script(self._renderer.messages(request.ids), request.seed)
        ids = self._renderer.completion_ids(message)
        return Completion(
            ids=ids, logprobs=(0.0,) * len(ids), finish=FinishReason.STOP, policy_version=self.policy_version
        )

    def close_session(self, session: str) -> None:
        """Nothing is kept."""
