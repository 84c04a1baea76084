"""The catalogue: the versioned set of tools that is searched, and its JSONL form. Not an index: see search.py."""

import copy
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from retriever.base.bad_entries import OnBad, refuse
from retriever.base.canonical import list_hash
from retriever.base.errors import UserError
from retriever.base.files import write_lines
from retriever.base.nearest import did_you_mean, nearest
from retriever.documents import DocumentTemplate
from retriever.entries import read_entries
from retriever.tools import ToolDoc


class Catalogue:
    """An immutable, ordered set of tools, unique by id. Safe to share between threads, cheap to pickle.

    The order is the order of insertion; searches break ties by it. Every tool has a *slot*, its place in the arrays of
    an index. A `changed` catalogue shares the slots of the one it came from: what was removed leaves a hole, what was
    added stands behind, so that an index need not be rebuilt. In a catalogue that was never changed a slot is a place.
    """

    __slots__ = ("_added", "_base", "_base_slots", "_hash", "_holes", "_moved", "_version")

    def __init__(self, tools: Iterable[ToolDoc], *, version: int = 1) -> None:
        self._base = tuple(tools)
        self._version = version
        self._base_slots = {tool.id: slot for slot, tool in enumerate(self._base)}
        self._added: tuple[ToolDoc, ...] = ()  # their slots follow the base's
        self._holes: frozenset[int] = frozenset()  # slots of tools that were removed
        self._moved: Mapping[str, int | None] = {}  # id → slot, where the base's is no longer true; None: removed
        self._hash: str | None = None
        if len(self._base_slots) < len(self._base):
            seen: set[str] = set()
            twice = next(tool.id for tool in self._base if tool.id in seen or seen.add(tool.id))  # type: ignore[func-returns-value]
            raise UserError(f"tool id {twice!r} is given twice; an id names one tool: rename or drop one of the two")

    @classmethod
    def of(cls, tools: Iterable[ToolDoc], *, version: int = 1) -> Self:
        """The catalogue of `tools`. Raises UserError when two have the same id."""
        return cls(tools, version=version)

    @classmethod
    def load(cls, path: str | Path, *, on_bad: OnBad = refuse) -> Self:
        """Read a .jsonl or .jsonl.gz file of entries, a line at a time.

        Raises UserError, or DataError with file, line and field for the first bad line; with another `on_bad` the bad
        lines are told to it and left out.
        """
        catalogue = cls(read_entries(path, on_bad=on_bad))
        if not len(catalogue):
            raise UserError(f"catalogue {path} holds no tool; give one JSON object per line, see README")
        return catalogue

    def save(self, path: str | Path) -> None:
        """Write one JSON object per line, a line at a time and atomically; compressed when the name ends in .gz."""
        lines = (json.dumps(tool.to_dict(), ensure_ascii=False) for tool in self)
        write_lines(Path(path).expanduser(), lines)

    # --- the set ---

    @property
    def tools(self) -> tuple[ToolDoc, ...]:
        """All entries, in order."""
        return tuple(self) if self._added or self._holes else self._base

    @property
    def version(self) -> int:
        """Counts the changes of a catalogue that lives on; a loaded one starts at 1."""
        return self._version

    @property
    def content_hash(self) -> str:
        """SHA-256, hex, over the entries in their order: equal hashes, equal searches."""
        if self._hash is None:
            self._hash = list_hash(tool.to_dict() for tool in self)
        return self._hash

    def __len__(self) -> int:
        return self.slots - len(self._holes)

    def __iter__(self) -> Iterator[ToolDoc]:
        for slot, tool in enumerate(itertools.chain(self._base, self._added)):
            if slot not in self._holes:
                yield tool

    def __contains__(self, tool_id: object) -> bool:
        return self._slot(tool_id) is not None

    def __getitem__(self, tool_id: str) -> ToolDoc:
        """The tool with this id; KeyError when there is none."""
        return self.at(self.slot(tool_id))

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} tools, version {self._version})"

    def nearest_id(self, tool_id: str) -> str | None:
        """The id most like `tool_id`, for error messages."""
        return nearest(tool_id, [tool.id for tool in self])

    def restricted_to(self, ids: Iterable[str]) -> "Catalogue":
        """The catalogue of these tools only, in this catalogue's order. Raises UserError for an unknown id."""
        wanted = set(ids)
        for tool_id in sorted(wanted):
            if tool_id not in self:
                hint = did_you_mean(tool_id, [tool.id for tool in self])
                raise UserError(f"no tool {tool_id!r}{hint} among the {len(self)} of the catalogue; check the id")
        return Catalogue((tool for tool in self if tool.id in wanted), version=self._version)

    # --- changes ---

    def changed(
        self, *, add: Iterable[ToolDoc] = (), remove: Iterable[str] = (), version: int | None = None
    ) -> "Catalogue":
        """The next version, without `remove` and then with `add` at the end; in time and memory of all changes so far.

        Raises UserError for an id that is removed and not there, or added and there already.
        """
        added, holes, moved = list(self._added), set(self._holes), dict(self._moved)

        def current(tool_id: str) -> int | None:
            return moved[tool_id] if tool_id in moved else self._base_slots.get(tool_id)

        for tool_id in remove:
            slot = current(tool_id)
            if slot is None:
                raise UserError(f"no tool {tool_id!r} among the {len(self)} of the catalogue; check the id")
            holes.add(slot)
            moved[tool_id] = None
        for tool in add:
            if current(tool.id) is not None:
                raise UserError(f"tool id {tool.id!r} is there already; update or remove it, or give another id")
            moved[tool.id] = len(self._base) + len(added)
            added.append(tool)
        following = copy.copy(self)
        following._version = self._version + 1 if version is None else version
        following._added, following._holes, following._moved = tuple(added), frozenset(holes), moved
        following._hash = None
        return following

    def compacted(self) -> "Catalogue":
        """The same tools in the same order and version, without holes: what an index is built from."""
        return Catalogue(self, version=self._version) if self._added or self._holes else self

    # --- slots ---

    @property
    def slots(self) -> int:
        """How many slots there are, holes included."""
        return len(self._base) + len(self._added)

    @property
    def holes(self) -> frozenset[int]:
        """Slots of tools that were removed: they are never a search's result."""
        return self._holes

    @property
    def added(self) -> tuple[ToolDoc, ...]:
        """What the last slots hold, behind those of the catalogue that this one was changed from."""
        return self._added

    def at(self, slot: int) -> ToolDoc:
        """The tool in a slot, holes included; IndexError beyond them."""
        return self._base[slot] if slot < len(self._base) else self._added[slot - len(self._base)]

    def slot(self, tool_id: str) -> int:
        """Where a tool is; KeyError when there is no such tool."""
        slot = self._slot(tool_id)
        if slot is None:
            raise KeyError(tool_id)
        return slot

    def _slot(self, tool_id: object) -> int | None:
        if tool_id in self._moved:
            return self._moved[tool_id]  # type: ignore[index]
        return self._base_slots.get(tool_id)  # type: ignore[call-overload]

    def documents(self, template: DocumentTemplate) -> list[str]:
        """The text of each tool that is searched, in order."""
        return [template.render(tool) for tool in self]
