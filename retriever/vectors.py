"""The vectors of documents, kept on disk by content, so that only what changed is encoded again."""

import hashlib
import io
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retriever.base.files import write_atomically
from retriever.encoder import Encoder

_log = logging.getLogger(__name__)


def encode_documents(
    texts: Sequence[str], encoder: Encoder, *, cache_dir: Path | None
) -> NDArray[np.float32]:  # [T, D]
    """The vector of each text. With a cache folder, those it holds for this encoder are read, the rest added to it.

    One file per encoder, named by its fingerprint. Two writers at once lose one another's additions, never a file.
    """
    if cache_dir is None or not texts:
        return encoder.encode(texts)
    path = cache_dir / f"vectors-{encoder.fingerprint[:16]}.npz"
    known = _read(path)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        known.update(zip(new, encoder.encode(list(new.values())), strict=True))
        _write(path, known)
    return np.stack([known[key] for key in keys])


def _read(path: Path) -> dict[bytes, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            keys, vectors = file["keys"], file["vectors"]
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("%s cannot be read (%s); its vectors are computed again", path, error)
        return {}


def _write(path: Path, vectors: dict[bytes, NDArray[np.float32]]) -> None:
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(vectors), dtype=np.uint8).reshape(len(vectors), -1)  # [T, 32]
    np.savez(buffer, keys=keys, vectors=np.stack(list(vectors.values())))
    write_atomically(path, buffer.getvalue())
