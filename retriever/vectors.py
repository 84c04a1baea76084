"""The vectors of documents, kept on disk by content, so that only what changed is encoded again."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retriever.encoder import Encoder

_KEY_BYTES = 32  # SHA-256 of a text
_HEADER_BYTES = 64  # of the file of vectors: their dimensions, and room to begin where a cache line does
_BLOCK = 8_192  # texts that are encoded and written at once: what is interrupted goes on there

_log = logging.getLogger(__name__)


def encode_documents(
    texts: Sequence[str], encoder: Encoder, *, cache_dir: Path | None
) -> NDArray[np.float32]:  # [T, D]
    """The vector of each text. With a cache folder, those it holds for this encoder are read, the rest added to it.

    Two files per encoder, named by its fingerprint, that only grow. Where they hold just these texts in just this order
    the result is a map of the file: a million vectors take no memory of their own.
    """
    if cache_dir is None or not texts:
        return encoder.encode(texts)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    with _Store.opened(cache_dir / f"vectors-{encoder.fingerprint[:16]}") as store:
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in store.rows}
        waiting = list(new.items())
        for start in range(0, len(waiting), _BLOCK):
            block = waiting[start : start + _BLOCK]
            store.append([key for key, _ in block], encoder.encode([text for _, text in block]))
        rows = np.array([store.rows[key] for key in keys])
        vectors = store.vectors()
    if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return vectors[rows[0] : rows[0] + len(rows)]
    return np.asarray(vectors[rows])


class _Store:
    """A file of keys and a file of vectors, row by row. A row is there once its key is, and keys are written last."""

    def __init__(self, base: Path) -> None:
        self._keys, self._vectors = base.with_suffix(".keys"), base.with_suffix(".f32")
        self.rows: dict[bytes, int] = {}
        self._dimensions = 0  # 0: not known, for there is no vector
        self._read()

    @classmethod
    @contextmanager
    def opened(cls, base: Path) -> Iterator["_Store"]:
        """The store, this process's alone until it is closed."""
        base.parent.mkdir(parents=True, exist_ok=True)
        with base.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield cls(base)

    def append(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        if not self._dimensions:
            self._dimensions = vectors.shape[1]
            _overwrite(self._vectors, 0, self._dimensions.to_bytes(8, "little").ljust(_HEADER_BYTES, b"\0"))
        assert vectors.shape[1] == self._dimensions, "one encoder, one number of dimensions"
        count = len(self.rows)
        _overwrite(self._vectors, _HEADER_BYTES + count * 4 * self._dimensions, vectors.astype("<f4").tobytes())
        _overwrite(self._keys, count * _KEY_BYTES, b"".join(keys))
        self.rows |= {key: row for row, key in enumerate(keys, start=count)}

    def vectors(self) -> NDArray[np.float32]:
        shape = (len(self.rows), self._dimensions)
        mapped: NDArray[np.float32] = np.memmap(self._vectors, "<f4", mode="r", offset=_HEADER_BYTES, shape=shape)
        return mapped

    def _read(self) -> None:
        try:
            keys = self._keys.read_bytes()
            with self._vectors.open("rb") as file:
                self._dimensions = int.from_bytes(file.read(8), "little")
                size = file.seek(0, os.SEEK_END)
        except FileNotFoundError:
            return
        whole = len(keys) // _KEY_BYTES
        if not self._dimensions or whole * 4 * self._dimensions + _HEADER_BYTES > size:
            self._give_up("does not belong to its keys")
            return
        starts = range(0, whole * _KEY_BYTES, _KEY_BYTES)
        self.rows = {keys[start : start + _KEY_BYTES]: row for row, start in enumerate(starts)}
        if len(self.rows) < whole:
            self._give_up("has keys that come twice")

    def _give_up(self, problem: str) -> None:
        _log.warning("%s %s; its vectors are computed again", self._vectors, problem)
        self.rows, self._dimensions = {}, 0
        for path in (self._keys, self._vectors):  # whoever has mapped the old file keeps it
            path.unlink()


def _overwrite(path: Path, place: int, content: bytes) -> None:
    """Put `content` at `place`, drop what was there and behind, and wait for the disk."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(place)
        file.seek(place)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
