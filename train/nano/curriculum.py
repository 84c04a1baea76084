"""What the nano base learns from: drills that are dense in copying and matching, and episodes with made-up tools."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from envs.config import EnvConfig
from envs.dialects import DIALECTS, SEARCH, SEARCH_SCHEMA, SELECT, SELECT_SCHEMA
from envs.episode import EXECUTION_RULES, RETRIEVAL_RULES
from envs.types import PolicyMessage, Prompt, ToolCall
from envs.view import ToolView, label_of
from envs.worlds.made_up import MadeUpEpisode, Style, known_words, made_up_episode, made_up_match, made_up_sentence
from envs.worlds.made_up_words import SECOND_FRAMES
from retriever.base.seeds import derive_random, derive_seed
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.renderer import Renderer
from rollout.types import Sampling, TaskRollouts
from train.segments import Objective, Segment, segments_of

NANO_ENV = EnvConfig(candidate_line="{label}. {description}", aliases="names")


def play_made_up(episode: MadeUpEpisode, renderer: Renderer, env: EnvConfig, *, clutter: bool) -> TaskRollouts:
    """The expert's rollout of one made-up task."""
    expert = Expert([episode.task], episode.tools, candidate_line=env.candidate_line, clutter=clutter)
    collector = Collector(
        engine=ScriptedEngine(renderer, expert),
        renderer=renderer,
        search=episode.search,
        executor=episode,
        env=env,
        rollout=RolloutConfig(),
    )
    plan = GroupPlan(group_size=1)
    return asyncio.run(collector.collect([episode.task], plan, sampling=Sampling(max_new_tokens=1), seed=0))[0]


def episode_segments(renderer: Renderer, seed: int, index: int, style: Style = "words") -> list[Segment]:
    """Episode `index` as segments: mostly `context: fresh`, some `append`; some that choose among needless tools."""
    random = derive_random(seed, "episode", index)
    env = replace(NANO_ENV, context="append" if random.random() < 0.1 else "fresh")
    clutter = random.random() < 0.4
    rollouts = play_made_up(made_up_episode(seed, index, style=style), renderer, env, clutter=clutter)
    # Selecting needless tools is not to be learned, only coping with them.
    retrieval = [] if clutter else segments_of(rollouts.retrieval[0], Objective.RETRIEVAL)
    return retrieval + [segment for x in rollouts.executions for segment in segments_of(x, Objective.EXECUTION)]


def copy_drill(renderer: Renderer, random: Random, *, rounds: int) -> Segment:
    """Say again what was said: random tokens of the whole vocabulary, so that no piece is too rare to copy."""
    plain = len(renderer.tokenizer) - len(renderer.tokenizer.added_tokens_decoder)
    ids: list[int] = []
    mask: list[bool] = []
    for _ in range(rounds):
        said = [random.randrange(plain) for _ in range(random.randint(1, 12))]
        for role, trained in (("user", False), ("assistant", True)):
            _append_message(renderer, role, said, trained, ids, mask)
    return _segment(ids, mask)


def recite_drill(renderer: Renderer, seed: int, index: int) -> Segment:
    """Say whole instructions and sentences again: long copies of running text, where words recur."""
    ids: list[int] = []
    mask: list[bool] = []
    instruction = made_up_episode(seed, index, style="phrases").task.instruction
    random = derive_random(seed, "sentences", index)
    for said in (instruction, made_up_sentence(random), made_up_sentence(random)):
        text = f" {said}"
        for role, trained in (("user", False), ("assistant", True)):
            _append_message(
                renderer, role, renderer.tokenizer.encode(text, add_special_tokens=False), trained, ids, mask
            )
    return _segment(ids, mask)


def match_drill(renderer: Renderer, random: Random, *, rounds: int, candidates: int, style: Style = "words") -> Segment:
    """A list of descriptions, then needs one after another, or two at a time: which are meant?"""
    lines, questions = made_up_match(random, candidates=candidates, rounds=rounds, style=style)
    ids: list[int] = []
    mask: list[bool] = []

    def say(role: str, text: str, *, trained: bool = False) -> None:
        content = renderer.tokenizer.encode(text, add_special_tokens=False)
        _append_message(renderer, role, content, trained, ids, mask)

    say("system", "\n".join(lines))
    if random.random() < 0.5:
        for question, label in questions:
            say("user", f" {question}")
            say("assistant", label, trained=True)
    else:  # as a selection for a chained task is written
        for (first, label), (second, other) in zip(questions[::2], questions[1::2], strict=False):
            say("user", random.choice(SECOND_FRAMES).format(first=first, second=second))
            call = ToolCall(name=SELECT, arguments={"names": list(dict.fromkeys((label, other)))})
            selection = renderer.completion_ids(PolicyMessage(calls=(call,)))[:-1]
            _append_message(renderer, "assistant", selection, True, ids, mask)
    return _segment(ids, mask)


def curriculum(renderer: Renderer, *, seed: int, tokens: int) -> Iterator[Segment]:
    """About `tokens` training tokens.

    First drills alone: copying, and matching ever longer lists; then episodes between them, from bare key words to
    needs in running text.
    """
    spent, index = 0, 0
    while spent < tokens:
        progress = spent / tokens
        random = derive_random(seed, "drill", index)
        copying, matching, running_text = next(shares for until, shares in _SHARES if progress < until)
        style: Style = "phrases" if random.random() < running_text else "words"
        draw = random.random()
        if draw < copying and style == "phrases":
            built = [recite_drill(renderer, derive_seed(seed, "recite"), index)]
        elif draw < copying:
            built = [copy_drill(renderer, random, rounds=random.randint(3, 8))]
        elif draw < copying + matching:
            longest = 10 if progress > 0.07 else 6 if progress > 0.035 else 3
            size = random.randint(2, longest)
            built = [match_drill(renderer, random, rounds=random.randint(5, 12), candidates=size, style=style)]
        else:
            built = episode_segments(renderer, derive_seed(seed, "episodes"), index, style)
        for segment in built:
            spent += len(segment.ids)
            yield segment
        index += 1


# (until this share of the tokens, (share of copy drills, share of match drills, of these and of the episodes those in
# running text)); what is no drill is an episode
_SHARES: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (0.08, (0.7, 0.3, 0.2)),
    (0.16, (0.35, 0.4, 0.3)),
    (0.4, (0.1, 0.3, 0.5)),
    (1.01, (0.06, 0.18, 0.75)),
)


def tokenizer_texts(seed: int, count: int) -> Iterator[str]:
    """What made-up episodes show and say, as text, for training the tokenizer."""
    dialect = DIALECTS["qwen3"]
    for _ in range(count // 100):  # often enough that whole words come before the pieces of invented ones
        yield from (f" {word}" for word in known_words())
        yield from (f" {word}{ending}" for word in known_words() for ending in ("s", "ed", "ing", "er", "ly"))
    for index in range(count):
        episode = made_up_episode(seed, index, style="phrases" if index % 2 else "words")
        view = ToolView(NANO_ENV, seed=index)
        tools = tuple(view.schema(tool) for tool in list(episode.tools.values())[:2])
        searches = (SEARCH_SCHEMA, SELECT_SCHEMA)
        for prompt in (
            Prompt(system=RETRIEVAL_RULES, tools=searches, user=episode.task.instruction),
            Prompt(system=EXECUTION_RULES, tools=tools, user=episode.task.instruction),
        ):
            yield from dialect.system(prompt)
            yield prompt.user
        yield "\n".join(view.line(tool) for tool in episode.tools.values())
        queries = [ToolCall(name=SEARCH, arguments={"query": f" {query}"}) for query in episode.task.expert_queries]
        selection = ToolCall(name=SELECT, arguments={"names": [label_of(index % 10), label_of(index % 7)]})
        for call in (*queries, selection, *(episode.task.gold_calls or ())):
            yield from dialect.write(PolicyMessage(calls=(call,)))
        yield from episode.results.values()
        yield from ("system\n", "user\n", "assistant\n")
        yield from (f" {made_up_sentence(derive_random(seed, 'sentence', index, number))}" for number in range(3))


def _append_message(
    renderer: Renderer, role: str, content: Sequence[int], trained: bool, ids: list[int], mask: list[bool]
) -> None:
    head = [renderer.start_id, *renderer.tokenizer.encode(f"{role}\n", add_special_tokens=False)]
    ids += [*head, *content, renderer.end_id, *renderer.tokenizer.encode("\n", add_special_tokens=False)]
    mask += [False] * len(head) + [trained] * (len(content) + 1) + [False]


def _segment(ids: list[int], mask: list[bool]) -> Segment:
    zeros = (0.0,) * len(ids)
    return Segment(
        ids=tuple(ids), action_mask=tuple(mask), behaviour_logprobs=zeros, advantages=zeros, objective=Objective.COUPLED
    )
