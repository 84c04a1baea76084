"""Tasks from tools: draws arguments that belong to a split, really calls, and words the instruction.

No text or number here is authored; it all comes from the tools of `domains` and the frames of `wording`.
"""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Any

from envs.types import Task, ToolCall
from envs.worlds.authoring import Need, NeedKind, WorldTool, parameter_kinds, parse_need, result_kind, settled
from envs.worlds.kinds import FEEDS, SPOKEN, Kind
from envs.worlds.wording import COUNTED_NOUNS, TRAIN_WORDING, UNSEEN_WORDING, Wording
from retriever.base.canonical import canonical_json

LONGEST_RESULT = 40  # characters: a small model copies the answer token by token
SINGLE_CLAUSE_SHARE = 0.55  # of the instructions of one step that carry an irrelevant clause
CHAINED_CLAUSE_SHARE = 0.67  # of those of two steps: the whole of it should seldom find both tools
_TRIES = 60  # at arguments for one tool or one pair; another is taken then
_REFUSALS = 3  # of a fed value, after which the pair counts as one that does not fit
_LIST_NOUNS = frozenset({"data", "numbers", "population", "sample", "observations", "values", "sides", "set", "RGB"})
_LIST_KINDS = frozenset({Kind.INTS, Kind.REALS, Kind.WORDS})
_HOME_KINDS = frozenset({Kind.FRACTION, Kind.COLOUR, Kind.CLOCK, Kind.DAY, Kind.YEAR, Kind.ADDRESS, Kind.BLOCK})
_NUMBER_KINDS = frozenset({Kind.WHOLE, Kind.REAL, Kind.YEAR})


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """What makes a split: its share of all arguments, its tools, and its wording."""

    arguments: tuple[float, float]  # the calls whose hash lies in [low, high) belong to it
    unseen_tools: bool = False
    unseen_wording: bool = False

    def owns(self, tool_id: str, arguments: Mapping[str, Any]) -> bool:
        """Does this call belong to the split?"""
        low, high = self.arguments
        return low <= call_hash(tool_id, arguments) < high

    @property
    def wording(self) -> Wording:
        """The frames and clauses of the split."""
        return UNSEEN_WORDING if self.unseen_wording else TRAIN_WORDING


SPLITS: Mapping[str, SplitRule] = {
    "train": SplitRule(arguments=(0.0, 0.49)),
    "dev": SplitRule(arguments=(0.49, 0.66)),
    "held_out": SplitRule(arguments=(0.66, 0.83)),
    "unseen_paraphrases": SplitRule(arguments=(0.83, 1.0), unseen_wording=True),
    "unseen_tools": SplitRule(arguments=(0.0, 1.0), unseen_tools=True),  # its tools are gold nowhere else
}


def call_hash(tool_id: str, arguments: Mapping[str, Any]) -> float:
    """A number in [0, 1) that depends on nothing but the call: it assigns the call to a split."""
    return zlib.crc32(f"{tool_id} {canonical_json(dict(arguments))}".encode()) / 2**32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedTool:
    """A tool with its id and what chains need to know of it."""

    id: str
    domain: str
    tool: WorldTool
    result: Kind
    feedable: Mapping[str, Kind]  # the parameters that may take a result

    @classmethod
    def place(cls, domain: str, tool: WorldTool) -> "PlacedTool":
        """Put `tool` into `domain`."""
        kinds = parameter_kinds(tool.function)
        return cls(
            id=f"{domain}.{tool.name}",
            domain=domain,
            tool=tool,
            result=result_kind(tool.function),
            feedable={name: kind for name, kind in kinds.items() if kind is not None},
        )

    def takes(self, kind: Kind) -> list[str]:
        """The parameters into which a result of `kind` may be fed."""
        return [name for name, own in self.feedable.items() if own in FEEDS[kind]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneCall:
    """A call with its result."""

    placed: PlacedTool
    arguments: Mapping[str, Any]
    text: str  # the result as a policy reads it
    value: Any  # the result as a next call gets it


class _Miss(Enum):
    """Why no call was made."""

    NOT_OURS = auto()  # every set of arguments that came up belongs to another split
    REFUSED = auto()  # the tool has no result for some of them


def shown(value: Any) -> str:
    """A value as JSON, the form in which every instruction shows it."""
    return json.dumps(value, ensure_ascii=False)


class Composer:
    """Makes the tasks of one split: an endless stream, the same for the same random numbers.

    `call` executes a tool by id and returns (value, text); it raises ValueError or TypeError on bad arguments.
    """

    def __init__(
        self,
        *,
        tools: Sequence[PlacedTool],
        rule: SplitRule,
        call: Callable[[PlacedTool, Mapping[str, Any]], tuple[Any, str]],
        random: Random,
    ) -> None:
        self._rule, self._call, self._random = rule, call, random
        self._links = _links(tools)
        self._used: Counter[str] = Counter()
        self._single_deck = self._deal(tools)
        self._chain_deck = self._deal([placed for placed in tools if any(self._links[placed.id])])

    def tasks(self, *, split: str, label: str) -> Iterator[Task]:
        """Tasks with ids `<label>-000000`, `<label>-000001`, …"""
        number = 0
        while True:
            parts = self._single() if self._random.random() < 0.5 else self._chained()
            yield _task(parts, id=f"{label}-{number:06d}", split=split)
            number += 1

    def _deal(self, tools: Sequence[PlacedTool]) -> Iterator[PlacedTool]:
        """Tools in shuffled rounds, so that each comes up equally often."""
        while True:
            yield from self._random.sample(tools, len(tools))

    def _single(self) -> "_Parts":
        while True:
            done = self._execute(next(self._single_deck), fixed={})
            if isinstance(done, DoneCall):
                self._used[done.placed.id] += 1
                return self._word_single(done)

    def _chained(self) -> "_Parts":
        while True:
            anchor = next(self._chain_deck)
            links = self._links[anchor.id]
            side = self._random.randrange(2) if all(links) else int(not links[0])
            partner = min(self._random.choices(links[side], k=3), key=lambda placed: self._used[placed.id])
            first, then = (anchor, partner) if side == 0 else (partner, anchor)
            pair = self._execute_pair(first, then)
            if pair is not None:
                self._used.update((first.id, then.id))
                return self._word_chain(*pair)

    def _execute(self, placed: PlacedTool, *, fixed: Mapping[str, Any]) -> "DoneCall | _Miss":
        """One good call of this split, the `fixed` arguments given and the others drawn."""
        free = [(name, draw) for name, draw in placed.tool.draw.items() if name not in fixed]
        refusals = 0
        for _ in range(_TRIES if free else 1):
            drawn = {name: settled(draw(self._random)) for name, draw in free}
            arguments = (
                {name: fixed[name] if name in fixed else drawn[name] for name in placed.tool.draw} if fixed else drawn
            )
            if not self._rule.owns(placed.id, arguments):
                continue
            try:
                value, text = self._call(placed, arguments)
            except (ValueError, TypeError):
                refusals += 1
                if fixed and refusals > _REFUSALS:
                    break
                continue
            if 0 < len(text) <= LONGEST_RESULT and text != "[]":
                return DoneCall(placed=placed, arguments=arguments, text=text, value=value)
        return _Miss.REFUSED if refusals else _Miss.NOT_OURS

    def _execute_pair(self, first: PlacedTool, then: PlacedTool) -> tuple[DoneCall, DoneCall, str] | None:
        """Two calls of this split, the second with the result of the first in the parameter named last."""
        name = self._random.choice(then.takes(first.result))
        refusals = 0
        tried: set[str] = set()
        for _ in range(_TRIES):
            opening = self._execute(first, fixed={})
            if isinstance(opening, _Miss):
                return None
            refusals += opening.text in tried  # a first step with few results would go round in circles
            tried.add(opening.text)
            closing = self._execute(then, fixed={name: opening.value})
            if isinstance(closing, DoneCall) and closing.text != opening.text:  # a step that changes nothing is none
                return opening, closing, name
            refusals += closing is not _Miss.NOT_OURS
            if refusals > _REFUSALS:
                return None
        return None

    def _need(self, placed: PlacedTool) -> Need:
        tool = placed.tool
        return parse_need(self._random.choice(tool.unseen if self._rule.unseen_wording else tool.needs))

    def _word_single(self, done: DoneCall) -> "_Parts":
        need, wording = self._need(done.placed), self._rule.wording
        text = need.text.format_map({name: shown(value) for name, value in done.arguments.items()})
        frame = self._random.choice((*wording.single[need.kind], *wording.single_orders))
        request = frame.format(need=text, do=self._order(need, text))
        return _Parts(calls=(done,), queries=(need.query,), instruction=self._framed(request, SINGLE_CLAUSE_SHARE))

    def _word_chain(self, opening: DoneCall, closing: DoneCall, fed: str) -> "_Parts":
        need, next_need, wording = self._need(opening.placed), self._need(closing.placed), self._rule.wording
        text = need.text.format_map({name: shown(value) for name, value in opening.arguments.items()})
        values = {name: shown(value) for name, value in closing.arguments.items()}
        values[fed] = self._reference(next_need, fed, opening.placed.result)
        then = self._order(next_need, next_need.text.format_map(values))
        frames = wording.chained + wording.chained_nouns * (need.kind is NeedKind.NOUN)
        request = self._random.choice(frames).format(first=self._order(need, text), noun=text, then=then)
        return _Parts(
            calls=(opening, closing),
            queries=(need.query, next_need.query),
            instruction=self._framed(request, CHAINED_CLAUSE_SHARE),
        )

    def _order(self, need: Need, text: str) -> str:
        """A need as an order: "find the mean of …"."""
        return f"{self._random.choice(self._rule.wording.verbs[need.kind])} {text}".lstrip()

    def _reference(self, need: Need, fed: str, kind: Kind) -> str:
        """How the second step speaks of the first result."""
        wording = self._rule.wording
        before, _, after = need.text.partition(f"{{{fed}}}")
        noun = before.split()[-1:]
        if noun and noun[0] in ({SPOKEN[kind]} | (_LIST_NOUNS if kind in _LIST_KINDS else frozenset())):
            return self._random.choice(wording.appositions)
        if kind in _NUMBER_KINDS and after.startswith(" ") and after.split()[0].strip(",:") in COUNTED_NOUNS:
            return self._random.choice(wording.counted)
        return self._random.choice(wording.references).format(kind=SPOKEN[kind])

    def _framed(self, request: str, share: float) -> str:
        """The request, in a `share` of cases with an irrelevant clause before or behind it."""
        request = _capital(request)
        if self._random.random() >= share:
            return request
        clause = self._random.choice(self._rule.wording.clauses)
        if clause.endswith(","):
            return f"{clause} {_small(request)}"
        return f"{clause} {request}" if self._random.random() < 0.5 else f"{request} {clause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    calls: tuple[DoneCall, ...]
    queries: tuple[str, ...]
    instruction: str


def _task(parts: _Parts, *, id: str, split: str) -> Task:
    domains = dict.fromkeys(done.placed.domain for done in parts.calls)
    return Task(
        id=id,
        instruction=parts.instruction,
        split=split,
        gold_tools=tuple(done.placed.id for done in parts.calls),
        gold_calls=tuple(ToolCall(name=done.placed.id, arguments=done.arguments) for done in parts.calls),
        gold_answer=parts.calls[-1].text,
        tags=("single" if len(parts.calls) == 1 else "chained", *domains),
        expert_queries=parts.queries,
    )


_Links = Mapping[str, tuple[tuple[PlacedTool, ...], tuple[PlacedTool, ...]]]


def _links(tools: Sequence[PlacedTool]) -> _Links:
    """Tool id to (the tools that may follow it, the tools that may precede it), of other domains but for home kinds."""
    takers = {kind: [b for b in tools if b.takes(kind)] for kind in Kind}
    followers = {a.id: tuple(b for b in takers[a.result] if _may_follow(a, b)) for a in tools}
    leaders: dict[str, list[PlacedTool]] = {placed.id: [] for placed in tools}
    for a in tools:
        for b in followers[a.id]:
            leaders[b.id].append(a)
    return {placed.id: (followers[placed.id], tuple(leaders[placed.id])) for placed in tools}


def _may_follow(a: PlacedTool, b: PlacedTool) -> bool:
    """One search should rarely find both tools of a chain; a home kind has too few takers elsewhere to insist."""
    return b.domain != a.domain or (b is not a and a.result in _HOME_KINDS)


def _capital(text: str) -> str:
    """`text` with a capital first letter; quoted values stay as they are."""
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    """`text` as it goes on after a comma: the pronoun I keeps its capital."""
    return text if text.split()[0] == "I" else text[:1].lower() + text[1:]
