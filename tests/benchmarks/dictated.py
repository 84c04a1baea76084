"""Episodes that two rollout loops play token for token alike, though the model computes every one of them in full.

A policy of random or trained weights would say something else in every loop, as sampling differs. So what is said is
dictated, and *in the model*, which both loops share: a hook on the network's last hidden state puts in its place one
from which the model's own head draws the dictated token with a probability of 1 to within 1e-20. Embedding, all layers,
keys and values, the head, the softmax and the draw are computed as ever, by either loop in its own way; neither is
changed, or knows.

The hook sees what every caller of the network must give: token ids and their positions. So the next token is a function
of the two alone, looked up in a table. A completion counts down a thought whose length is a hash of the position at
which the turn begins (so completions are ragged, as a policy's are), and then searches; in the last turn, told by its
position, it selects. Prompts and observations are drawn such that no other turn is where a last one begins.

For the CPU: the engine's CUDA graphs go past the network's own forward pass, and so past the hook.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.config import EnvConfig
from envs.dialects import SEARCH, SEARCH_SCHEMA, SELECT, SELECT_SCHEMA
from envs.episode import RETRIEVAL_RULES
from envs.types import PolicyMessage, Prompt, Task, ToolCall
from envs.view import ToolView
from envs.worlds.world import WorldConfig, build_world
from retriever.base.seeds import derive_random
from retriever.tools import Candidate, ToolDoc
from rollout.renderer import Renderer

TURNS, GROUP = 4, 8  # three searches and a selection; episodes that share a prompt, as GRPO's groups do
STRAGGLER_SHARE, STRAGGLER_S = 0.02, 5.0
ENV = EnvConfig(call_timeout_s=60.0)
MESSAGES = (
    PolicyMessage(calls=(ToolCall(name=SEARCH, arguments={"query": " sum of number"}),)),
    PolicyMessage(calls=(ToolCall(name=SELECT, arguments={"names": ["A"]}),)),
)
_POSITIONS = 1024
_THOUGHT_TOKENS = 16  # a thought has fewer
_MARGIN_NATS = 60.0  # between the dictated token and any other
_LINE_TOKENS = (15, 16, 17, 18, 19)  # of the tools that searches show
_INSTRUCTION_TOKENS = range(36, 58)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long tools take."""

    usual_s: float
    stragglers: bool

    def seconds(self, episode: int, turn: int) -> float:
        """What this call takes: a hash of (episode, turn), whoever makes it."""
        late = self.stragglers and derive_random("straggler", episode, turn).random() < STRAGGLER_SHARE
        return STRAGGLER_S if late else self.usual_s


class Episodes:
    """The tasks, and what each search of each episode finds; `completed` counts the searches that returned."""

    def __init__(self, renderer: Renderer, count: int) -> None:
        world = build_world(WorldConfig(kind="embedded"))
        self._renderer = renderer
        fitting = [t for t in world.tasks("train", 400, 5) if self._tokens(t.instruction) in _INSTRUCTION_TOKENS]
        prompts = [fitting[index].instruction for index in range(-(-count // GROUP))]
        self.tasks = [Task(id=f"{index}", instruction=prompts[index // GROUP]) for index in range(count)]
        view = ToolView(ENV, seed=0)
        self._tools = [tool for tool in world.catalogue.tools if self._tokens(view.line(tool)) in _LINE_TOKENS]
        self.completed = 0

    def found(self, episode: int, turn: int) -> list[ToolDoc]:
        """What search `turn` of the episode finds."""
        return derive_random("found", episode, turn).sample(self._tools, ENV.candidates_per_search)

    def prompt(self, episode: int) -> Prompt:
        """As `RetrievalPhase` begins."""
        tools = (SEARCH_SCHEMA, SELECT_SCHEMA)
        return Prompt(system=RETRIEVAL_RULES, tools=tools, user=self.tasks[episode].instruction)

    def _tokens(self, text: str) -> int:
        return len(self._renderer.tokenizer.encode(text, add_special_tokens=False))


class Searches:
    """The searches of one episode, in order; awaited or blocking."""

    def __init__(self, episodes: Episodes, episode: int, latency: Latency) -> None:
        self._episodes, self._episode, self._latency = episodes, episode, latency
        self._view = ToolView(ENV, seed=0)
        self._turn = 0

    async def search(self, query: str, k: int) -> Sequence[Candidate]:
        """A `Search` of ours."""
        await asyncio.sleep(self._next())
        self._episodes.completed += 1
        return [
            Candidate(tool=tool, score=-float(rank), rank=rank)
            for rank, tool in enumerate(self._episodes.found(self._episode, self._turn), start=1)
        ]

    async def text(self) -> str:
        """The next search's observation, as `RetrievalPhase` writes it."""
        return self._text(await self.search("", ENV.candidates_per_search))

    def blocking_text(self) -> str:
        """`text`, holding the thread meanwhile."""
        time.sleep(self._next())
        self._episodes.completed += 1
        return "\n".join(map(self._view.line, self._episodes.found(self._episode, self._turn)))

    def _next(self) -> float:
        self._turn += 1
        return self._latency.seconds(self._episode, self._turn)

    def _text(self, found: Sequence[Candidate]) -> str:
        return "\n".join(self._view.line(candidate.tool) for candidate in found)


class Dictation:
    """The hook: which token follows, by position and token."""

    def __init__(self, model: Any, renderer: Renderer, episodes: Episodes) -> None:
        head = model.get_output_embeddings().weight.detach()  # [V, H]
        begin = renderer.prompt_ids(episodes.prompt(0))[-1]  # what every turn's context ends with
        searching, selecting = map(renderer.completion_ids, MESSAGES)
        taken = {begin, *searching, *selecting}
        thought = [token for token in range(300, 3000) if token not in taken and _margin(head, token) > 0.05]
        last_turn = self._last_turn(renderer, episodes, len(searching))
        self._following = torch.full((_POSITIONS, head.shape[0]), renderer.end_id)  # [positions, V]
        for position in range(_POSITIONS):
            row = self._following[position]
            said = selecting if position >= last_turn else searching
            chain = (*thought[_THOUGHT_TOKENS:0:-1], *said)
            assert len(set(chain)) == len(chain), "a token that stands twice does not tell what follows"
            row[list(chain[:-1])] = torch.tensor(chain[1:])
            length = derive_random("thought", position).randrange(_THOUGHT_TOKENS)
            row[begin] = chain[_THOUGHT_TOKENS - length]
        self._hidden = torch.zeros_like(head)  # [V, H]: by token, a state from which the head draws it
        for token in {*thought[: _THOUGHT_TOKENS + 1], *searching, *selecting}:
            self._hidden[token] = head[token] * (_MARGIN_NATS / _margin(head, token))

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """A forward hook of the network below the head."""
        tokens = self._following[kwargs["position_ids"], kwargs["input_ids"]]
        output.last_hidden_state = self._hidden[tokens]
        return output

    @staticmethod
    def _last_turn(renderer: Renderer, episodes: Episodes, said: int) -> int:
        """The first position of any episode's last turn; behind the end of every turn before it."""
        earliest, latest = _POSITIONS, 0
        for episode in range(len(episodes.tasks)):
            searches = Searches(episodes, episode, Latency(usual_s=0.0, stragglers=False))
            context = len(renderer.prompt_ids(episodes.prompt(episode)))
            for turn in range(TURNS - 1):
                observed = len(renderer.observation_ids([searches.blocking_text()]))
                shortest = context + (turn + 1) * said + observed
                context += observed
            earliest = min(earliest, shortest)
            latest = max(latest, context - observed + (TURNS - 1) * (said + _THOUGHT_TOKENS))
        assert latest < earliest, f"a turn may end at {latest}, and the last one begin at {earliest}"
        episodes.completed = 0
        return earliest


def _margin(head: Tensor, token: int) -> float:
    """By how many nats `token` leads, where the last hidden state is its own embedding."""
    scores = head @ head[token]
    lead = scores[token].clone()
    scores[token] = -torch.inf
    return float(lead - scores.max())
