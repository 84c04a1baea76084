"""The one door to sentence-transformers. It takes 5 s to import: only what needs a model imports this module."""

from sentence_transformers import (
    CrossEncoder,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

__all__ = [
    "BaseEvaluator",
    "BatchSamplers",
    "CrossEncoder",
    "MultipleNegativesRankingLoss",
    "Pooling",
    "SentenceTransformer",
    "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments",
    "Transformer",
]
