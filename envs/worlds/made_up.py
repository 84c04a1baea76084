"""Made-up tools and tasks, new ones for every episode: what the nano base learns tool use from.

It teaches copying, JSON, searching for one need at a time, matching a need with a description, and choosing among
several tools, with nothing to remember: names, descriptions, wordings and results are drawn afresh from general words,
invented words and random characters. It shares no tool, description, template or instruction with the embedded world
(`tests/test_nano.py` compares the two).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from envs.executors.executor import Stateless
from envs.types import Task, ToolCall, ToolResult, ToolStatus
from envs.view import label_of, made_up_word
from envs.worlds.made_up_words import (
    ASKS,
    CLAUSES,
    CLOSERS,
    COMMON,
    FED,
    FRAMES,
    JOINERS,
    LATER_FRAMES,
    LITTLE,
    NOUNS,
    OPENERS,
    PHRASES,
    QUALITIES,
    REMARK_OPENINGS,
    REMARKS,
    SECOND_FRAMES,
    VERBS,
)
from retriever.base.seeds import derive_random
from retriever.tools import Candidate, ToolDoc

Style = Literal["words", "phrases"]
"""How a need is worded: by bare key words, or by phrases of running text among remarks that name other needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUpEpisode(Stateless):
    """One task with everything needed to play it: an oracle in place of a retriever, and a table in place of tools."""

    task: Task
    tools: Mapping[str, ToolDoc]
    ranking: Mapping[str, tuple[ToolDoc, ...]]  # query → what the oracle returns, best first
    results: Mapping[str, str]  # tool id → what a call of it returns

    async def search(self, query: str, k: int) -> Sequence[Candidate]:
        """The candidates prepared for `query`; for any other query, those of the first need."""
        ranked = self.ranking.get(query) or next(iter(self.ranking.values()))
        return [Candidate(tool=tool, score=-float(rank), rank=rank) for rank, tool in enumerate(ranked[:k], start=1)]

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The prepared result."""
        asked = ToolCall(name=tool.id, arguments=arguments)
        return ToolResult(call=asked, status=ToolStatus.OK, text=self.results[tool.id])


def made_up_episode(seed: int, index: int, *, style: Style = "words", candidates: int = 5) -> MadeUpEpisode:
    """Episode `index` of the stream of `seed`."""
    random = derive_random(seed, "made-up", style, index) if style != "words" else derive_random(seed, "made-up", index)
    chained = random.random() < 0.5
    needs = [_Need(random, style) for _ in range(2 if chained else 1)]
    while chained and needs[1].phrase == needs[0].phrase:  # the oracle goes by it
        needs[1] = _Need(random, style)
    first = needs[0]
    tools = {f"t{number}": need.tool(f"t{number}", random) for number, need in enumerate(needs)}
    values = [need.values(random) for need in needs]
    results = {id: _value(random, random.choice(_KINDS))[1] for id in tools}
    clause = _clause(random, style) if random.random() < 0.6 else ""
    request = first.wording(values[0], random)
    instruction = _request(random, style, request)
    calls = [ToolCall(name="t0", arguments={name: value for name, value, _ in values[0]})]
    if chained:
        fed = random.randrange(len(values[1]))  # which parameter takes the first result
        fed_by = "the result" if style == "words" else random.choice(FED).format(n=random.choice(NOUNS))
        instruction = _request(random, style, request, needs[1].wording(values[1], random, fed=(fed, fed_by)))
        raw, results["t0"] = _value(random, needs[1].kinds[fed])
        arguments = {name: raw if place == fed else value for place, (name, value, _) in enumerate(values[1])}
        calls.append(ToolCall(name="t1", arguments=arguments))
    gold = tuple(tools)
    task = Task(
        id=f"made-up-{seed}-{index}",
        instruction=_sentence(_joined(clause, instruction, random, style), random),
        gold_tools=gold,
        gold_calls=tuple(calls),
        gold_answer=results[gold[-1]],
        expert_queries=tuple(need.phrase for need in needs),
    )
    ranking = {}
    for need, id in zip(needs, gold, strict=True):
        near = [need.distractor(f"{id}d{number}", random) for number in range(candidates - 1)]
        tools |= {tool.id: tool for tool in near}
        # The oracle errs as a retriever does: mostly right at rank 1, else anywhere.
        rank = 0 if random.random() < 0.4 else random.randrange(candidates)
        ranking[need.phrase] = (*near[:rank], tools[id], *near[rank:])
    return MadeUpEpisode(task=task, tools=tools, ranking=ranking, results=results)


class _Need:
    """Something to be done: a few key words, shared by the description and the wording."""

    def __init__(self, random: Random, style: Style = "words") -> None:
        self.words = [_word(random) for _ in range(random.choice((1, 2, 2, 3, 3, 4)))]
        kept = (
            self.words
            if len(self.words) == 1 or random.random() < 0.5
            else random.sample(self.words, len(self.words) - 1)
        )
        self.kept = kept  # what is asked for: no other tool on offer has all of it
        if style == "phrases":  # as a need is worded, so need its tool not be described to the letter
            kept = [_inflected(word, random) for word in kept]
        self.phrase = " ".join(kept) if style == "words" else random.choice(PHRASES[len(kept)]).format(*kept)
        self.kinds = [random.choice(_KINDS) for _ in range(random.choice((1, 1, 2, 2, 3)))]
        self.names = _parameter_names(random, len(self.kinds))
        self.named = random.random() < 0.45  # the wording names its parameters, in any order

    def tool(self, id: str, random: Random) -> ToolDoc:
        return _tool(id, _description(self.words, random), self.names, self.kinds)

    def distractor(self, id: str, random: Random) -> ToolDoc:
        """Half of them near-duplicates: the same words, but for one that is asked for."""
        if random.random() < 0.5:
            words = self.words_but_one(random)
        else:
            words = [_word(random) for _ in range(random.choice((2, 3, 4)))]
            if len(self.kept) > 1 and random.random() < 0.3:
                words[0] = random.choice(self.words)
        kinds = [random.choice(_KINDS) for _ in range(random.choice((1, 1, 2)))]
        return _tool(id, _description(words, random), _parameter_names(random, len(kinds)), kinds)

    def words_but_one(self, random: Random) -> list[str]:
        """Its words, with another in place of one that is asked for."""
        replaced = self.words.index(random.choice(self.kept))
        return [*self.words[:replaced], _word(random), *self.words[replaced + 1 :]]

    def values(self, random: Random) -> list[tuple[str, Any, str]]:
        """(parameter, value, its JSON spelling), in the schema's order."""
        return [(name, *_value(random, kind)) for name, kind in zip(self.names, self.kinds, strict=True)]

    def wording(
        self, values: Sequence[tuple[str, Any, str]], random: Random, fed: tuple[int, str] | None = None
    ) -> str:
        """The need with its values; `fed`: (which of them is the result of another step, how that is called)."""
        shown = []
        for place, (name, value, _) in enumerate(values):
            said = fed[1] if fed and place == fed[0] else _spelled(value)
            if self.named:
                name = _inflected(name, random)
                said = f"{name} {said}" if random.random() < 0.6 else f"{said} {name}"
            shown.append(said)
        if self.named:
            random.shuffle(shown)
        joint = random.choice((" and ", " and ", ", ", " with ", " by ", " to ", " at "))
        listed = _listed(shown, joint)
        shapes = _VALUES_FIRST if random.random() < 0.15 else _VALUES_LAST
        return random.choice(shapes).format(p=self.phrase, v=listed)


_VALUES_LAST = ("the {p} of {v}", "the {p} for {v}", "{p} of {v}", "{p} from {v}", "the {p} in {v}")
_VALUES_FIRST = ("for {v} the {p}", "{v} and its {p}", "of {v} the {p}", "whether {v} is {p}", "{v} as {p}")


def _request(random: Random, style: Style, first: str, second: str | None = None) -> str:
    """One need or two as a request: in a frame, or (mostly, among phrases) put together from parts."""
    if style == "words" or random.random() < 0.25:
        if second is None:
            return random.choice(FRAMES).format(need=first)
        frames = SECOND_FRAMES if style == "words" else SECOND_FRAMES + LATER_FRAMES
        return random.choice(frames).format(first=first, second=second)
    asked = f"{_part(ASKS, random)} {first}".lstrip()
    if second is not None:
        asked = random.choice(JOINERS).format(first=asked, second=f"{_part(ASKS, random)} {second}".lstrip())
    return " ".join(part for part in (_part(OPENERS, random), asked, _part(CLOSERS, random)) if part)


def _listed(items: Sequence[str], joint: str) -> str:
    """Items as in `a, b and c`; `joint` stands before the last one."""
    return joint.join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _part(parts: Sequence[str], random: Random) -> str:
    verb = random.choice(VERBS) if random.random() < 0.7 else _word(random)
    return random.choice(parts).format(v=verb, a=_word(random), b=_word(random))


def _clause(random: Random, style: Style) -> str:
    if style == "words" or random.random() < 0.3:
        return random.choice(CLAUSES).format(a=_thing(random), b=_thing(random))
    if random.random() < 0.6:  # a list of what others need
        named = [_Need(random, style).phrase for _ in range(random.choice((1, 2, 3, 3)))]
        named = [f"the {phrase}" if random.random() < 0.5 else phrase for phrase in named]
        listed = _listed(named, random.choice((" and ", " or ", " and of ")))
        return f"{_part(REMARK_OPENINGS, random)} {listed}{random.choice(('.', '.', ','))}"
    return random.choice(REMARKS).format(p=_Need(random, style).phrase, q=_Need(random, style).phrase)


def _joined(clause: str, instruction: str, random: Random, style: Style) -> str:
    """The remark before the instruction, or (among phrases) now and then behind it."""
    if style == "phrases" and clause.endswith(".") and random.random() < 0.5:
        return f"{instruction}. {clause[0].upper()}{clause[1:-1]}"
    return f"{clause} {instruction}" if clause else instruction


def _tool(id: str, description: str, names: Sequence[str], kinds: Sequence[str]) -> ToolDoc:
    properties = {name: dict(_SCHEMAS[kind]) for name, kind in zip(names, kinds, strict=True)}
    parameters = {"type": "object", "properties": properties, "required": list(names)}
    return ToolDoc(id=id, name=id, description=description, parameters=parameters, origin="made_up")


def _description(words: Sequence[str], random: Random) -> str:
    """A sentence around the key words, which may change places and be told apart by little words."""
    words = list(words)
    if random.random() < 0.25:
        random.shuffle(words)
    middle = ""
    for word in words:
        middle += random.choice((" ", " ", " ", " of ", " in a ", " and ")) + word if middle else word
    tail = random.choice(
        ("", "", " of " + random.choice(NOUNS), " in a " + random.choice(NOUNS), " from two " + random.choice(NOUNS))
    )
    if random.random() < 0.3:
        tail += random.choice(_ELABORATIONS).format(a=_word(random), b=_word(random))
    if random.random() < 0.5:
        opening = random.choice(VERBS).capitalize() + " " + random.choice(("the ", "a ", "all ", "every ", ""))
        return f"{opening}{middle}{tail}."
    return f"{random.choice(('The ', 'The ', 'A ', 'Any ', 'How ', 'Whether '))}{middle}{tail}."


# What a description adds that no request repeats.
_ELABORATIONS = (
    ": {a} over {b}",
    ": the {a} before its {b}",
    ", {a} included",
    ", not {a}",
    ", where {a} is a {b}",
    " without {a}",
    " as {a} or {b}",
    " ({a})",
)
_SUFFIXES = ("s", "s", "ed", "ing", "er", "ly")


def _inflected(word: str, random: Random) -> str:
    """`word`, now and then with another ending."""
    if random.random() >= 0.15 or len(word) < 4:
        return word
    suffix = random.choice(_SUFFIXES)
    return (word[:-1] if word[-1] == "e" and suffix[0] in "ei" else word) + suffix


_SCHEMAS: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "word": {"type": "string"},
    "code": {"type": "string"},
    "ints": {"type": "array", "items": {"type": "integer"}},
    "words": {"type": "array", "items": {"type": "string"}},
}
_KINDS = ("int", "int", "int", "float", "word", "word", "code", "code", "ints", "words")


def _value(random: Random, kind: str) -> tuple[Any, str]:
    """(a value of `kind`, its text as a result)."""
    value = _VALUES[kind](random)
    return value, value if isinstance(value, str) else json.dumps(value)


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _integer(random: Random) -> int:
    return random.choice((-1, 1, 1, 1, 1, 1)) * random.randrange(10 ** random.randint(1, 6))


def _code(random: Random) -> str:
    """Dates, addresses, colours, hashes, names, sentences: strings of every shape."""
    shapes: tuple[Callable[[], str], ...] = (
        lambda: "-".join(f"{random.randrange(10**n):0{n}d}" for n in random.choice(((4, 2, 2), (2, 2), (3, 3)))),
        lambda: ".".join(str(random.randrange(256)) for _ in range(random.choice((2, 4, 4)))),
        lambda: ":".join(f"{random.randrange(60):02d}" for _ in range(random.choice((2, 3)))),
        lambda: "#" + "".join(random.choice("0123456789abcdef") for _ in range(6)),
        lambda: "".join(random.choice("0123456789abcdef") for _ in range(random.randint(4, 20))),
        lambda: "".join(random.choice(_CHARACTERS) for _ in range(random.randint(3, 14))),
        lambda: " ".join(_word(random) for _ in range(random.randint(2, 5))),
        lambda: f"{random.randrange(100)}/{random.randrange(1, 100)}",
        lambda: made_up_word(random).capitalize() + random.choice(("", " " + made_up_word(random).capitalize())),
        lambda: made_up_word(random).upper(),
    )
    return random.choice(shapes)()


_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_-.,:;!?%&@()*"
_VALUES: dict[str, Callable[[Random], Any]] = {
    "int": _integer,
    "float": lambda random: round(random.uniform(-100, 1000), random.randint(1, 3)),
    "word": lambda random: _word(random),
    "code": _code,
    "ints": lambda random: [random.randrange(10 ** random.randint(1, 2)) for _ in range(random.randint(2, 7))],
    "words": lambda random: [_word(random) for _ in range(random.randint(2, 5))],
}


def _word(random: Random) -> str:
    draw = random.random()
    if draw < 0.25:
        return random.choice(NOUNS)
    if draw < 0.42:
        return random.choice(QUALITIES)
    if draw < 0.5:
        return random.choice(VERBS)
    if draw < 0.8:
        return random.choice(COMMON)
    if draw < 0.92:
        return made_up_word(random)
    return "".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(random.randint(3, 9)))


def known_words() -> list[str]:
    """Every word of everyday English that made-up texts are made of."""
    return [*NOUNS, *QUALITIES, *VERBS, *COMMON, *LITTLE]


def made_up_sentence(random: Random) -> str:
    """Words of running text in no order that means anything: something to recite."""
    words = [
        random.choice(LITTLE) if random.random() < 0.5 else _inflected(_word(random), random)
        for _ in range(random.randint(3, 18))
    ]
    text = words[0].capitalize()
    for word in words[1:]:
        text += random.choice(("", "", "", "", "", "", ",", ";", ":")) + " " + word
    return text + random.choice((".", ".", "?", ""))


def _thing(random: Random) -> str:
    return f"{random.choice(QUALITIES)} {_word(random)}"


def _parameter_names(random: Random, count: int) -> list[str]:
    style = random.randrange(4)
    names: dict[str, None] = {}  # not a set: its order changes from process to process
    while len(names) < count:
        if style == 0:
            names[random.choice("abcdefghijklmnopqrstuvwxyz")] = None
        elif style == 1:
            names[random.choice(NOUNS)] = None
        elif style == 2:
            names[f"{random.choice(NOUNS)}_{random.choice(NOUNS)}"] = None
        else:
            names[_word(random)] = None
    return sorted(names, key=lambda name: (random.random(), name)) if count > 1 else list(names)


def _sentence(text: str, random: Random) -> str:
    return text[0].upper() + text[1:] + random.choice(("", ".", ".", "?"))


def made_up_match(
    random: Random, *, candidates: int, rounds: int, style: Style = "words", near: float = 0.4
) -> tuple[list[str], list[tuple[str, str]]]:
    """(labelled descriptions, [(the words of a need, its label)]): matching alone, many times over one list."""
    needs: list[_Need] = []
    while len(needs) < candidates:
        need = _Need(random, style)
        if needs and random.random() < near:  # near-duplicates: one word apart
            need.words = random.choice(needs).words_but_one(random)
            need.kept = need.words
            need.phrase = " ".join(need.words)
        needs.append(need)
    start = random.randrange(8)
    labels = [label_of(start + position) for position in range(candidates)]
    lines = [f"{label}. {_description(need.words, random)}" for label, need in zip(labels, needs, strict=True)]
    asked = [random.randrange(candidates) for _ in range(rounds)]
    return lines, [(needs[position].phrase, labels[position]) for position in asked]
