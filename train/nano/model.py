"""The nano policy: a Qwen3 of about a million parameters with its own small tokenizer.

Small enough that the whole loop, training included, runs on a laptop; the same architecture, tokenizer class and chat
template as the 4B model, so that nothing in the loop knows the difference.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from envs.dialects import Qwen3Dialect
from envs.episode import EXECUTION_RULES, RETRIEVAL_RULES

VOCABULARY = 4096
CONTEXT = 2048
# Qwen3's own spelling and order; the first three are special, the others are not, as in its tokenizer.
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
# What every context repeats to the letter is one token each: a nano model should spend its length on what varies.
FIXED = (*TAGS, *Qwen3Dialect.FIXED, RETRIEVAL_RULES, EXECUTION_RULES)
# Role headers, and the JSON around names and values, as pieces of their own: so a name or a value has the same tokens
# wherever it stands.
_JSON = (
    r"(?:system|user|assistant)\n",
    r'\{"type": "function", "function": \{"name": "',
    r'", "description": "',
    r'", "parameters": \{"type": "object", "properties": \{"',
    r'": \{"type": "(?:string|integer|number|boolean)"\}',
    r'": \{"type": "array", "items": \{"type": "(?:string|integer|number)"\}\}',
    r'\}, "required": \["',
    r'"\]\}\}\}',
    r'\n\{"name": "',
    r'search_tools", "arguments": \{"query": "',
    r'select_tools", "arguments": \{"names": \["',
    r'", "arguments": \{"',
    r'"?\]?\}\}\n',
    r'"?\]?, "',
    r'": (?:\["?|")?',
    r", (?=[\p{N}-])",
)
# Then words with their leading space, single digits, quotes, runs of other signs.
_SPLIT = "|".join((*_JSON, r" ?\p{L}+", r"\p{N}", r' ?"', r' ?[^\s\p{L}\p{N}"]+', r"\s+(?!\S)", r"\s+"))


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` pieces over `texts`, with Qwen3's control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(FIXED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=CONTEXT
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    fast.add_tokens([AddedToken(text, special=False, normalized=False) for text in FIXED])
    fast.chat_template = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")
    return fast


def nano_config(tokenizer: Any, *, hidden: int = 128, layers: int = 4) -> Qwen3Config:
    """The nano architecture over `tokenizer`."""
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )


def new_nano(config: Qwen3Config) -> Qwen3ForCausalLM:
    """Random weights; seed torch first."""
    return Qwen3ForCausalLM(config)
