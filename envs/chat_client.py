"""One small client of OpenAI's chat protocol, which vLLM, SGLang, llama.cpp and most services speak.

It asks for one completion and gives its text, or its text and the tools that it calls: no streaming to the caller, no
log-probabilities. Policies that are trained do not come through here: their token ids matter.
"""

import asyncio
import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from retriever.base.errors import InfraError, UserError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0
_LONGEST_RETRY_AFTER_S = 60.0  # a service that is not back by then is asked again all the same
_PASSING = frozenset({408, 409, 425, 429})  # and all from 500 up
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig:
    """Which model answers, and what an answer may cost."""

    base_url: str  # up to the version: http://127.0.0.1:8000/v1
    model: str
    api_key_variable: str | None = None  # the environment variable that holds the key; the key is in no config
    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    timeout_s: float = 60.0  # of one try
    retries: int = 4  # after a connection that failed, a try that took too long, HTTP 429 or 5xx
    response_bytes: int = 4_000_000

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url)
        except (httpx.InvalidURL, TypeError):
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise UserError(f"base_url={self.base_url!r} is no address; give e.g. http://127.0.0.1:8000/v1")
        if not self.model:
            raise UserError("model is empty; give the name that the endpoint knows the model by")
        for name in ("max_tokens", "timeout_s", "response_bytes"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)} is not positive")
        if self.retries < 0:
            raise UserError(f"retries={self.retries} is negative; 0 asks once")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature={self.temperature} is below 0 or no number; 0 is greedy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A tool that the model calls."""

    id: str
    name: str
    arguments: str  # JSON, as the model wrote it: perhaps none


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """One message of the model's."""

    text: str
    calls: tuple[ChatCall, ...] = ()
    cut: bool = False  # by the limit of tokens


class ChatClient:
    """Asks one model, any number of requests at a time, from any event loop."""

    def __init__(self, config: ChatConfig) -> None:
        """Raises UserError when the variable that should hold the key does not."""
        self.config = config
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}  # nothing that inflates
        if config.api_key_variable is not None:
            self._headers["authorization"] = f"Bearer {_key(config.api_key_variable)}"
        self._tls = httpx.create_ssl_context()  # reading the certificates takes longer than all else

    async def complete(
        self, messages: Sequence[Mapping[str, str]], *, within_s: float = math.inf, seed: int | None = None
    ) -> str:
        """The text of one completion of `messages` ({"role", "content"}), all tries together in `within_s`.

        `seed` stands in for the config's. Raises InfraError when no completion came.
        """
        settings = {} if seed is None else {"seed": seed}
        return _text(await self._said(messages, settings, within_s), self._url)

    async def reply(
        self, messages: Sequence[Mapping[str, Any]], *, settings: Mapping[str, Any], within_s: float = math.inf
    ) -> ChatReply:
        """One completion with the tools that it calls. `settings` of the request (tools, max_tokens, …) win over the
        config's. Raises InfraError when no completion came."""
        return _reply(await self._said(messages, settings, within_s), self._url)

    async def _said(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], within_s: float) -> str:
        here = httpx.URL(self._url).host in _HERE  # a proxy of the user's is not for this machine
        # One for each completion: a connection belongs to its event loop, and a new one costs little beside a model.
        async with httpx.AsyncClient(timeout=None, verify=self._tls, trust_env=not here) as client:
            return await self._completed(client, self._body(messages, settings), time.monotonic() + within_s)

    async def _completed(self, client: httpx.AsyncClient, body: bytes, ends: float) -> str:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(self.config.retries + 1):
            limit_s = min(self.config.timeout_s, ends - time.monotonic())
            try:
                async with asyncio.timeout(limit_s):
                    return await self._asked(client, body)
            except TimeoutError:
                problem, wait_s = f"none in {limit_s:.3g} s", 0.0
            except httpx.RequestError as error:
                problem, wait_s = f"{type(error).__name__} {error}".strip(), 0.0
            except _Busy as error:
                problem, wait_s = str(error), error.wait_s
            # not all clients at once; but not before the server said
            wait_s = max(wait_s, pause_s * random.uniform(0.5, 1.0))
            if attempt == self.config.retries or time.monotonic() + wait_s >= ends:
                break
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise InfraError(f"{self._url} gave no completion in {attempt + 1} tries ({problem}); is it running?")

    def _body(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> bytes:
        config = self.config
        asked: dict[str, Any] = {
            "model": config.model,
            "messages": list(map(dict, messages)),
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
        }
        if config.seed is not None:
            asked["seed"] = config.seed
        asked |= settings
        # "replace": a lone surrogate, which a policy may write, cannot be sent
        return json.dumps(asked, ensure_ascii=False).encode(errors="replace")

    async def _asked(self, client: httpx.AsyncClient, body: bytes) -> str:
        content = bytearray()
        async with client.stream("POST", self._url, content=body, headers=self._headers) as answer:
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > self.config.response_bytes:
                    raise InfraError(
                        f"{self._url} answered with more than {self.config.response_bytes:,} bytes; "
                        "lower max_tokens or raise response_bytes"
                    )
        if answer.status_code in _PASSING or answer.status_code >= 500:
            raise _Busy(f"HTTP {answer.status_code}", wait_s=_retry_after_s(answer.headers.get("retry-after")))
        said = content.decode(errors="replace")
        if not answer.is_success:
            raise InfraError(
                f"{self._url} refused: HTTP {answer.status_code}: {said[:200]}; "
                "check the address, the model's name and the key"
            )
        return said


class _Busy(Exception):
    """An answer that may be another one soon."""

    def __init__(self, problem: str, *, wait_s: float) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key and key.isascii() and key.isprintable()):  # the error for a bad header would show it
        raise UserError(f"api_key_variable={variable}: that environment variable holds no key; set it to one")
    return key


def _retry_after_s(header: str | None) -> float:
    """Seconds of a Retry-After header, a number or a date, at most a minute; 0 when there is none that can be read."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):  # of a year that no clock has
            return 0.0
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else 0.0


def _text(said: str, url: str) -> str:
    with _understood(said, url):
        text = json.loads(said)["choices"][0]["message"]["content"]
        if isinstance(text, str):
            return text
        raise TypeError(text)


def _reply(said: str, url: str) -> ChatReply:
    with _understood(said, url):
        choice = json.loads(said)["choices"][0]
        message = choice["message"]
        text, calls = message.get("content") or "", message.get("tool_calls") or []
        if not isinstance(text, str):
            raise TypeError(text)
        return ChatReply(
            text=text,
            calls=tuple(_call(position, call) for position, call in enumerate(calls)),
            cut=choice.get("finish_reason") == "length",
        )


def _call(position: int, call: Any) -> ChatCall:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if not isinstance(name, str):
        raise TypeError(name)
    if not isinstance(arguments, str):  # some servers parse them
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ChatCall(id=str(call.get("id") or f"call_{position}"), name=name, arguments=arguments)


@contextmanager
def _understood(said: str, url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise InfraError(
            f"{url} answered with something that is no completion: {said[:200]!r}; check the address"
        ) from None
