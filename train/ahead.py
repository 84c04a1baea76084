"""Batches played ahead of the trainer: rollouts and updates at once, within a bound on how old the weights may be.

Admission, not discarding: batch n is begun once weights of version n − lag are there, and is played wholly with the
newest ones at that moment. What is played is always trained. With lag 0 batch n waits for version n, and nothing is
played while the trainer updates. What is in flight when a run ends is played again, with the checkpoint's weights,
when it is resumed.
"""

from threading import Condition, Thread

from retriever.base.errors import InfraError
from rollout.weights import WeightUpdate
from train.config import GrpoConfig
from train.source import BatchSource, GenerationBatch


class Ahead:
    """A `BatchSource` in front of another, whose batches a thread plays one after the other."""

    def __init__(self, source: BatchSource, *, lag: int, batches: int) -> None:
        self._source, self._lag, self._batches = source, lag, batches
        self._changed = Condition()
        self._newest: WeightUpdate | None = None
        self._played: dict[int, GenerationBatch] = {}  # at most lag + 1
        self._failed: BaseException | None = None
        self._thread: Thread | None = None

    @property
    def newest_version(self) -> int:
        """Of the weights that the trainer gave last; -1: none yet."""
        return -1 if self._newest is None else self._newest.version

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """Batch `index`, played with `weights` or older ones. Raises what playing raised."""
        with self._changed:
            self._newest = weights
            self._changed.notify_all()
            if self._thread is None:
                self._thread = Thread(target=self._play, args=(index,), name="rollouts", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: index in self._played or self._failed is not None)
            if index in self._played:
                return self._played.pop(index)
            assert self._failed is not None
            raise self._failed

    def _play(self, first: int) -> None:
        """The thread: every batch from `first` on, each as soon as it may be begun."""
        try:
            for index in range(first, self._batches):
                batch = self._source.batch(index, self._admitted(index))
                with self._changed:
                    self._played[index] = batch
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - it is raised where the batch is waited for
            with self._changed:
                self._failed = error if isinstance(error, Exception) else InfraError(f"rollouts ended: {error!r}")
                self._changed.notify_all()

    def _admitted(self, index: int) -> WeightUpdate:
        """The newest weights, once they are new enough for batch `index`."""
        with self._changed:
            self._changed.wait_for(lambda: self.newest_version >= max(0, index - self._lag))
            assert self._newest is not None
            return self._newest


def ahead(source: BatchSource, config: GrpoConfig) -> BatchSource:
    """`source`, played ahead where the config allows a lag."""
    lag = config.max_policy_lag
    return Ahead(source, lag=lag, batches=config.max_steps) if lag else source
