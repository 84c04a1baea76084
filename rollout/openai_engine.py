"""Lets any OpenAI-compatible server play, so that its model can be evaluated like a policy of ours.

A server gives no token ids, so nothing that it says can be trained on: the ids of its completions are our own
tokenizer's of the text that it wrote, their log-probs are 0, and their policy version is `NO_POLICY`.
"""

from typing import Any

from envs.chat_client import ChatClient
from envs.dialects import Qwen3Dialect
from envs.types import PolicyMessage
from retriever.base.errors import UserError
from rollout.chat_format import chat_request, written
from rollout.config import NO_TRAINING, ServerConfig
from rollout.engine import GenerationRequest
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, RolloutStatus, Sampling
from rollout.weights import WeightUpdate

NO_POLICY = -1


class OpenAIEngine:
    """Asks the server for every turn."""

    def __init__(self, renderer: Renderer, server: ServerConfig) -> None:
        """Raises UserError for another dialect than qwen3, and when the key is not in its variable."""
        if not isinstance(renderer.dialect, Qwen3Dialect):
            raise UserError("rollout.engine=openai speaks of tools as Qwen3's dialect does; give env.dialect=qwen3")
        self.policy_version = 0
        self._renderer = renderer
        self._client = ChatClient(server.chat())
        self._running = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        """The server's next message, as ids of ours. Raises InfraError when none came."""
        asked = chat_request(self._renderer.messages(request.ids), self._renderer.dialect)
        settings = _settings(request.sampling, request.seed)
        if asked.tools:
            settings["tools"] = list(asked.tools)
        self._running += 1
        try:
            reply = await self._client.reply(asked.messages, settings=settings)
        finally:
            self._running -= 1
        ids = self._renderer.completion_ids(PolicyMessage(answer=written(reply, asked.names)))
        return Completion(
            ids=ids[:-1] if reply.cut else ids,
            logprobs=(0.0,) * (len(ids) - reply.cut),
            finish=FinishReason.LENGTH if reply.cut else FinishReason.STOP,
            policy_version=NO_POLICY,
        )

    def close_session(self, session: str) -> None:
        """Nothing is kept."""

    def status(self) -> RolloutStatus:
        """How many requests are under way; what the server computes for them it does not say."""
        return RolloutStatus(policy_version=self.policy_version, running=self._running)

    def release(self) -> None:
        """Nothing is held here."""

    def set_weights(self, update: WeightUpdate) -> None:
        """Raises UserError: a server takes none."""
        raise UserError(NO_TRAINING)


def _settings(sampling: Sampling, seed: int) -> dict[str, Any]:
    """Of a request; what only some servers know is said only where it is asked for."""
    settings: dict[str, Any] = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_new_tokens,
        "seed": seed % 2**31,
    }
    whole = Sampling()
    settings |= {
        name: getattr(sampling, name)
        for name in ("top_p", "top_k", "min_p")
        if getattr(sampling, name) != getattr(whole, name)
    }
    return settings | ({"stop": list(sampling.stop)} if sampling.stop else {})
