"""TRL's own multi-turn loop over the dictated episodes: `GRPOTrainer`, an environment for each episode, real tools."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from trl.chat_template_utils import qwen3_template

from rollout.renderer import Renderer
from tests.benchmarks.dictated import TURNS, Episodes, Latency, Searches
from train.trl_api import GRPOConfig, GRPOTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """What TRL's loop did with all episodes."""

    seconds: float  # in `_generate`: tokenizing, generating, parsing and calling tools; no loss, no reward
    cpu_s: float  # of the process meanwhile: other people's work on the machine changes it little
    contexts: list[list[int]]  # by episode, prompt and all that followed
    prefilled_tokens: int  # without padding


class _Environment:
    """An episode as TRL sees it: its public methods are the tools. One instance serves many, one after another."""

    def __init__(self, episodes: Episodes, latency: Latency) -> None:
        self._episodes, self._latency = episodes, latency
        self._searches: Searches | None = None

    def reset(self, *, episode: int, **row: Any) -> None:
        """TRL's hook: begin a row of the data."""
        self._searches = Searches(self._episodes, episode, self._latency)


class BlockingEnvironment(_Environment):
    """With a sync tool."""

    def search_tools(self, query: str) -> str:
        """Search the tool catalogue.

        Args:
            query: What is needed.
        """
        assert self._searches is not None
        return self._searches.blocking_text()


class AwaitedEnvironment(_Environment):
    """With an async tool."""

    async def search_tools(self, query: str) -> str:
        """Search the tool catalogue.

        Args:
            query: What is needed.
        """
        assert self._searches is not None
        return await self._searches.text()


class _TimedTrainer(GRPOTrainer):
    """Notes how long generation takes, and what it is asked to prefill."""

    seconds = cpu_s = 0.0
    prefilled_tokens = 0

    def _generate(self, prompts: list[Any]) -> Any:
        started, cpu_started = time.perf_counter(), time.process_time()
        found = super()._generate(prompts)
        self.seconds += time.perf_counter() - started
        self.cpu_s += time.process_time() - cpu_started
        self.contexts += [[*prompt, *completion] for prompt, completion in zip(found[0], found[1], strict=True)]
        return found

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **others: Any) -> Any:
        self.prefilled_tokens += sum(map(len, prompt_ids))
        return super()._generate_single_turn(prompt_ids, *rest, **others)


class Peer:
    """Plays all episodes, `together` at a time."""

    def __init__(self, model: Any, renderer: Renderer, episodes: Episodes, *, together: int) -> None:
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
        self._model, self._episodes, self._together = model, episodes, together
        tokenizer = self._tokenizer = renderer.tokenizer
        # The system message below holds the tools as we write them: prompts are the same, token for token.
        tokenizer.chat_template = tokenizer.chat_template.replace("{%- if tools -%}", "{%- if false -%}")
        tokenizer.response_template = qwen3_template  # how TRL reads calls of Qwen3's format
        self._rows = [
            {
                "prompt": [
                    {"role": "system", "content": "".join(renderer.dialect.system(episodes.prompt(index)))},
                    {"role": "user", "content": task.instruction},
                ],
                "episode": index,
            }
            for index, task in enumerate(episodes.tasks)
        ]

    def play(self, environment: Callable[[Episodes, Latency], _Environment], latency: Latency) -> PeerRun:
        """All episodes once."""
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(lambda: environment(self._episodes, latency), folder)
            for begin in range(0, len(self._rows), self._together):
                trainer._generate_and_score_completions(self._rows[begin : begin + self._together])
        return PeerRun(
            seconds=trainer.seconds,
            cpu_s=trainer.cpu_s,
            contexts=trainer.contexts,
            prefilled_tokens=trainer.prefilled_tokens,
        )

    def _trainer(self, factory: Callable[[], _Environment], folder: str) -> Any:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=self._together,
            num_generations=8,
            max_completion_length=768,
            max_tool_calling_iterations=TURNS - 1,  # the selection ends an episode; no tool runs for it
            temperature=1.0,
            beta=0.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,  # which would turn off the cache
            report_to=[],
            disable_tqdm=True,
        )
        trainer = _TimedTrainer(
            model=self._model,
            reward_funcs=_no_reward,
            args=config,
            train_dataset=Dataset.from_list(self._rows),
            processing_class=self._tokenizer,
            environment_factory=factory,
        )
        trainer.contexts = []
        return trainer


def _no_reward(completions: Sequence[Any], **others: Any) -> list[float]:
    return [0.0] * len(completions)
