"""Which task goes to which worker next. Bookkeeping alone: nothing here knows how a task is played."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence


def window(*, max_concurrent: int, group_size: int, tasks: int, workers: int) -> int:
    """How many tasks a worker may hold.

    Enough to fill its engine and one more, so that no place stays free while the next task is sent; never more than an
    even share, so that whoever is ready first leaves something to those who are still starting.
    """
    return min(-(-max_concurrent // group_size) + 1, max(1, -(-tasks // workers)))


class Assignment:
    """Tasks, by their position, on their way through workers, by their index."""

    def __init__(self, tasks: int, *, window: int) -> None:
        self.losses: Counter[int] = Counter()  # how often a task was lost with its worker
        self._waiting = deque(range(tasks))
        self._held: dict[int, int] = {}  # position → worker
        self._window = window

    @property
    def done(self) -> bool:
        """Whether nothing waits and nothing is held."""
        return not self._waiting and not self._held

    def take(self, workers: Iterable[int]) -> tuple[int, int] | None:
        """Give the next task to the one of `workers` that holds least: (worker, position); None if none has room."""
        load: Mapping[int, int] = Counter(self._held.values())
        room = [index for index in sorted(workers) if load.get(index, 0) < self._window]
        if not room or not self._waiting:
            return None
        worker = min(room, key=lambda index: load.get(index, 0))
        position = self._waiting.popleft()
        self._held[position] = worker
        return worker, position

    def finish(self, position: int) -> None:
        """It was played."""
        del self._held[position]

    def lose(self, positions: Sequence[int]) -> None:
        """They were lost with their worker, and are the next to be played again."""
        for position in positions:
            del self._held[position]
        self._waiting.extendleft(sorted(positions, reverse=True))
        self.losses.update(positions)
