"""What the nano base learns from: drills that are dense in copying and matching, and episodes with made-up tools."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    expert = Expert([episode.task], episode.tools, env=env, clutter=clutter)
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


def match_drill(
    renderer: Renderer,
    random: Random,
    *,
    rounds: int,
    candidates: int,
    style: Style = "words",
    near: float = 0.4,
    pairs: float = 0.5,
) -> Segment:
    """A list of descriptions, then needs one after another, or (in a share of `pairs`) two at a time: which are meant?

    `near`: the share of descriptions that are one word apart from another one.
    """
    lines, questions = made_up_match(random, candidates=candidates, rounds=rounds, style=style, near=near)
    ids: list[int] = []
    mask: list[bool] = []

    def say(role: str, text: str, *, trained: bool = False) -> None:
        content = renderer.tokenizer.encode(text, add_special_tokens=False)
        _append_message(renderer, role, content, trained, ids, mask)

    say("system", "\n".join(lines))
    if random.random() >= pairs:
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


def curriculum(renderer: Renderer, *, seed: int, tokens: int, begin: float = 0.0) -> Iterator[Segment]:
    """Training tokens up to about `tokens`, from the share `begin` of them on.

    First copying; then matching, from two descriptions to ten; then ever more episodes, from bare key words to needs in
    running text. Each skill is made of the one before it: matching does not come by itself among harder things.
    """
    spent, index = round(begin * tokens), 0
    while spent < tokens:
        lesson = next(lesson for lesson in LESSONS if spent / tokens < lesson.until)
        random = derive_random(seed, "drill", index)
        style: Style = "phrases" if random.random() < lesson.running_text else "words"
        draw = random.random()
        if draw < lesson.copying and style == "phrases":
            built = [recite_drill(renderer, derive_seed(seed, "recite"), index)]
        elif draw < lesson.copying:
            built = [copy_drill(renderer, random, rounds=random.randint(3, 8))]
        elif draw < lesson.copying + lesson.matching:
            size, rounds = random.randint(2, lesson.longest), random.randint(5, 12)
            near, pairs = lesson.near, lesson.pairs
            built = [match_drill(renderer, random, rounds=rounds, candidates=size, style=style, near=near, pairs=pairs)]
        else:
            built = episode_segments(renderer, derive_seed(seed, "episodes"), index, style)
        for segment in built:
            spent += len(segment.ids)
            yield segment
        index += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A stretch of the curriculum. What is neither copying nor matching is an episode."""

    until: float  # share of all tokens
    copying: float  # share of the lesson
    matching: float  # share of the lesson
    running_text: float  # share of everything that is worded in it
    longest: int = 10  # list to match
    near: float = 0.4  # share of near-duplicates in it
    pairs: float = 0.5  # share of lists that are asked for two needs at a time


LESSONS = (
    Lesson(until=0.16, copying=0.7, matching=0.3, running_text=0.2, longest=3, near=0.0, pairs=0.0),
    Lesson(until=0.24, copying=0.1, matching=0.8, running_text=0.2, longest=3, near=0.0, pairs=0.0),
    Lesson(until=0.30, copying=0.1, matching=0.8, running_text=0.4, longest=6, near=0.2, pairs=0.2),
    Lesson(until=0.36, copying=0.1, matching=0.7, running_text=0.5, near=0.4, pairs=0.5),
    Lesson(until=0.55, copying=0.1, matching=0.3, running_text=0.6),
    Lesson(until=1.01, copying=0.06, matching=0.16, running_text=0.75),
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
