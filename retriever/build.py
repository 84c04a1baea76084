"""From a configuration and a catalogue to a retriever."""

import os
from pathlib import Path

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.client import RemoteRetriever
from retriever.config import TOKEN_VARIABLE, RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import document_template
from retriever.encoder import Encoder, load_encoder
from retriever.hybrid import HybridRetriever
from retriever.lexical import LexicalRetriever
from retriever.reranker import RerankingRetriever, load_reranker
from retriever.search import IndexedRetriever, Retriever, ScoringRetriever
from retriever.sentences import SentenceRetriever

_MANY = 1000  # tools that MiniLM takes more than some seconds for, on two cores


def build_retriever(config: RetrieverConfig, catalogue: Catalogue) -> Retriever:
    """Index `catalogue` as `config` says, or reach the service that has. Raises UserError when it cannot."""
    if config.url is None:
        return build_index(config, catalogue)
    remote = RemoteRetriever(config.url, catalogue, token=os.environ.get(TOKEN_VARIABLE) or None)
    remote.check()
    return remote


def build_index(config: RetrieverConfig, catalogue: Catalogue, *, encoder: Encoder | None = None) -> IndexedRetriever:
    """Index `catalogue` in this process. Raises UserError when the encoder is not there.

    `encoder` is for several catalogues with one model; it takes the place of `config.encoder`.
    """
    retriever: IndexedRetriever = _scoring(config, catalogue.compacted(), encoder)
    if config.reranker is None:
        return retriever
    model = load_reranker(config.reranker, device=config.device)
    return RerankingRetriever(retriever, model, document_template(config.document), depth=config.rerank_depth)


def embedding_told(config: RetrieverConfig, tools: int) -> str:
    """What is done before the first search, in words; nothing where it does not take long."""
    embeds = config.url is None and config.kind != "bm25"
    return f"embedding {tools:,} tools; retriever.kind=bm25 needs none of it" if embeds and tools > _MANY else ""


def configured_encoder(config: RetrieverConfig) -> Encoder:
    """The encoder that `config` names, as it is to run. Raises UserError when it is not there."""
    return load_encoder(config.encoder, device=config.device, pooling=config.pooling, dtype=config.dtype)


def _scoring(config: RetrieverConfig, catalogue: Catalogue, encoder: Encoder | None) -> ScoringRetriever:
    whole = _whole_queries(config, catalogue, encoder)
    if not config.sentence_weight:
        return whole
    if len(catalogue) > config.exact_fusion_limit:
        raise UserError(
            f"retriever.sentence_weight={config.sentence_weight} scores the whole catalogue, and its {len(catalogue)} "
            f"tools exceed retriever.exact_fusion_limit={config.exact_fusion_limit}; give 0, or raise the limit"
        )
    return SentenceRetriever(whole, sentence_weight=config.sentence_weight)


def _whole_queries(config: RetrieverConfig, catalogue: Catalogue, encoder: Encoder | None) -> ScoringRetriever:
    template = document_template(config.document)
    if config.kind == "dense":
        return _dense(config, catalogue, encoder)
    lexical = LexicalRetriever(catalogue, template, stop_words=config.stop_words, k1=config.k1, b=config.b)
    if config.kind == "bm25":
        return lexical
    return HybridRetriever(
        lexical,
        _dense(config, catalogue, encoder),
        lexical_weight=config.lexical_weight,
        by=config.fused_by,
        exact_limit=config.exact_fusion_limit if config.index.kind == "flat" else 0,
        depth=config.fusion_depth,
    )


def _dense(config: RetrieverConfig, catalogue: Catalogue, encoder: Encoder | None) -> DenseRetriever:
    return DenseRetriever(
        catalogue,
        document_template(config.document),
        encoder or configured_encoder(config),
        query_prefix=config.query_prefix,
        document_prefix=config.document_prefix,
        index=config.index,
        cache_dir=None if config.cache_dir is None else Path(config.cache_dir).expanduser(),
        query_cache_size=config.query_cache_size,
    )
