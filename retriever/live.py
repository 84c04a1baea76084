"""A catalogue that changes while it is searched: what is added or removed counts from the next search on."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from retriever.catalogue import Catalogue
from retriever.journal import ChangeLog
from retriever.search import IndexedRetriever
from retriever.tools import Candidate, ToolDoc

_log = logging.getLogger(__name__)


class LiveRetriever:
    """Searches the newest version of a catalogue.

    Every change makes a new retriever that shares the index of the last build, and puts it in the place of the old one:
    a search runs on one version from start to end, waits for no change, and none that starts after `remove` returned
    shows what was removed. What was added is scored with the statistics of that build; `compact` builds anew, and then
    every result is a fresh build's. After `compact_after` changes (by default a hundredth of the tools, 1,000 at least)
    that happens in a thread of its own. Safe for many threads. `log` is told of a change before any search shows it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        build: Callable[[Catalogue], IndexedRetriever],
        *,
        compact_after: int | None = None,
        log: ChangeLog | None = None,
    ) -> None:
        self._build = build
        self._log = log
        self._compact_after = compact_after
        self._current = build(catalogue)
        self._changing = threading.Lock()  # held by whoever changes what is current, while what is new is encoded
        self._compacting = threading.Lock()  # held while an index is built
        self._thread: threading.Thread | None = None

    @property
    def catalogue(self) -> Catalogue:
        """The newest version."""
        return self._current.catalogue

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        return self._current.search(queries, k)

    def add(self, tools: Iterable[ToolDoc]) -> Catalogue:
        """The new version, searched from now on. Raises UserError, and changes nothing, when an id is there already."""
        return self._change(add=tuple(tools))

    def remove(self, ids: Iterable[str]) -> Catalogue:
        """The new version, searched from now on. Raises UserError, and changes nothing, when an id is not there."""
        return self._change(remove=tuple(ids))

    def update(self, tools: Iterable[ToolDoc]) -> Catalogue:
        """`remove` and `add` in one step; what is updated moves to the end of the catalogue's order."""
        new = tuple(tools)
        return self._change(add=new, remove=tuple(tool.id for tool in new))

    def replace(self, catalogue: Catalogue) -> Catalogue:
        """Search another catalogue from now on, under the next version; searches go on while its index is built.

        All changes of the old one go with it, those that are made meanwhile too.
        """
        with self._compacting:
            built = self._build(catalogue)
            with self._changing:
                new = built.catalogue.changed(version=self.catalogue.version + 1)
                if self._log is not None:
                    self._log.replaced(new)
                self._current = built.following(new)
                return self.catalogue

    def compact(self) -> None:
        """Build the index anew; searches and changes go on meanwhile."""
        with self._compacting:
            start = self._current
            built = start.rebuilt(start.catalogue.compacted())
            with self._changing:
                self._current = _caught_up(built, start.catalogue, self.catalogue)

    def _change(self, *, add: Sequence[ToolDoc] = (), remove: Sequence[str] = ()) -> Catalogue:
        with self._changing:
            catalogue = self.catalogue.changed(add=add, remove=remove)
            following = self._current.following(catalogue)
            if self._log is not None:
                self._log.changed(add=add, remove=remove)
            self._current = following
            changes = len(catalogue.added) + len(catalogue.holes)
            limit = self._compact_after or max(1_000, catalogue.slots // 100)
            if changes >= limit and not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._compact_quietly, name="compaction", daemon=True)
                self._thread.start()
            return catalogue

    def _compact_quietly(self) -> None:
        try:
            self.compact()
        except Exception:  # noqa: BLE001 - a thread has nobody to raise to
            _log.exception("the index could not be built anew; searches go on, and the next change tries again")


def _caught_up(built: IndexedRetriever, start: Catalogue, now: Catalogue) -> IndexedRetriever:
    """`built`, made of `start` without its holes, brought to what the catalogue has become meanwhile."""
    removed = [start.at(slot).id for slot in sorted(now.holes - start.holes) if slot < start.slots]
    added = [now.at(slot) for slot in range(start.slots, now.slots) if slot not in now.holes]
    return built.following(built.catalogue.changed(add=added, remove=removed, version=now.version))
