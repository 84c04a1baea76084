"""The one bridge between text and token ids.

Nothing is decoded and tokenised again: a context grows by appending ids. What we write as `Markup` may become a control
token; data (instructions, tool descriptions, observations) is tokenised so that it never can, whatever it spells.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from envs.dialects import Dialect, Markup, Piece
from envs.types import PolicyMessage, Prompt
from retriever.base.errors import UserError

START, END = Markup("<|im_start|>"), Markup("<|im_end|>")


class Renderer:
    """Writes prompts, observations and completions as token ids, in ChatML frames (Qwen, SmolLM2)."""

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:
        self.tokenizer = tokenizer
        self.dialect = dialect
        self._control = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
        for token in (START, END):
            if token not in self._control:
                raise UserError(f"the tokenizer has no {token} token; only ChatML models (Qwen, SmolLM2, …) can be run")
        self.start_id, self.end_id = self._control[START], self._control[END]
        # Looks ahead without consuming, so that a spelling inside another one, or overlapping it, is found too.
        self._spelling = re.compile(f"(?={'|'.join(map(re.escape, self._control))})")
        self._encode_run = lru_cache(maxsize=8192)(self._encode_data)

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """A fresh context, up to where the policy begins to write."""
        return self._encode(
            [*_frame("system", self.dialect.system(prompt)), *_frame("user", [prompt.user]), START, "assistant\n"]
        )

    def observation_ids(self, texts: Sequence[str]) -> tuple[int, ...]:
        """What follows a completion that ended with the end-of-turn token."""
        return self._encode(["\n", *_frame("user", self.dialect.observation(texts)), START, "assistant\n"])

    def request_ids(self, text: str) -> tuple[int, ...]:
        """What a dialogue's user says next, in place of an observation."""
        return self._encode(["\n", *_frame("user", [text]), START, "assistant\n"])

    def completion_ids(self, message: PolicyMessage) -> tuple[int, ...]:
        """What a policy that writes `message` would have sampled, the end-of-turn token included."""
        return self._encode([*self.dialect.write(message), END])

    def completion_text(self, ids: Sequence[int]) -> str:
        """A completion decoded for the parser and for people, without its end-of-turn token."""
        body = ids[:-1] if ids and ids[-1] == self.end_id else ids
        return str(self.tokenizer.decode(list(body), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def messages(self, ids: Sequence[int]) -> list[tuple[str, str]]:
        """(role, text) of each closed message of a context: what a reader of the ids sees."""
        found, start = [], None
        for position, token in enumerate(ids):
            if token == self.start_id:
                start = position + 1
            elif token == self.end_id and start is not None:
                role, _, text = self.completion_text(ids[start:position]).partition("\n")
                found.append((role, text))
                start = None
        return found

    def _encode(self, pieces: Iterable[Piece]) -> tuple[int, ...]:
        ids: list[int] = []
        run = ""  # adjacent texts are tokenised together, as the chat template's one string would be
        for piece in pieces:
            control = self._control.get(piece) if isinstance(piece, Markup) else None
            if control is None:
                run += piece
                continue
            ids += self._encode_run(run)
            ids.append(control)
            run = ""
        return (*ids, *self._encode_run(run))

    def _encode_data(self, text: str) -> tuple[int, ...]:
        """Ids of `text` without any control token: the spelling of one is cut behind its first character."""
        ids: list[int] = []
        begin = 0
        for match in self._spelling.finditer(text):
            ids += self._plain(text[begin : match.start() + 1])
            begin = match.start() + 1
        ids += self._plain(text[begin:])
        assert not set(ids) & set(self._control.values()), f"data became a control token: {text[:200]!r}"
        return tuple(ids)

    def _plain(self, text: str) -> list[int]:
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate, which tools may return, has no bytes
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []


def _frame(role: str, content: Sequence[Piece]) -> list[Piece]:
    return [START, f"{role}\n", *content, END, "\n"]
