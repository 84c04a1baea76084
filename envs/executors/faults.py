"""Failures on purpose, for tests, robustness evaluation and training: a backend around another one.

What goes wrong is drawn from the seed, the call (`CallKey`) and how many equal calls the session has made before, so
that a run comes out the same again, in any order of episodes, and a call that is tried again may succeed. Put it
outside a `Recorded`: what it does is not recorded.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from envs.executors.backend import Backend, Reply
from envs.executors.call_key import CallKey
from envs.types import Task, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.base.seeds import derive_random
from retriever.tools import ToolDoc

_GARBAGE_CHARS = 1000  # at most; as long as the reply otherwise


class Fault(StrEnum):
    """What can happen to a call. The first three never reach the tool; the last two damage what it said."""

    TIMEOUT = "timeout"
    TOOL_ERROR = "tool_error"
    INFRA_ERROR = "infra_error"
    TRUNCATION = "truncation"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultConfig:
    """Shares of calls, each in [0, 1]. A call has one fault at most; latency comes on top of it."""

    seed: int = 0
    latency_share: float = 0.0
    latency_s: float = 0.0  # how much later these calls begin
    timeout_share: float = 0.0
    tool_error_share: float = 0.0
    infra_error_share: float = 0.0
    truncation_share: float = 0.0
    garbage_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("latency_share", *(f"{fault}_share" for fault in Fault)):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"faults.{name}={getattr(self, name)} is no share; give a number from 0 to 1")
        if not (self.latency_s >= 0 and math.isfinite(self.latency_s)):
            raise UserError(f"faults.latency_s={self.latency_s} is no time; give seconds, e.g. 0.5")
        if self.latency_share and not self.latency_s:
            raise UserError(f"faults.latency_share={self.latency_share} without a faults.latency_s; give seconds")
        together = sum(self.share(fault) for fault in Fault)
        if together > 1 + 1e-9:  # ten times 0.1 is a little more or less than 1
            raise UserError(
                f"the shares of {', '.join(Fault)} add up to {together:g}; a call has one of them, so lower them to 1"
            )

    def share(self, fault: Fault) -> float:
        """The share of calls that have `fault`."""
        share: float = getattr(self, f"{fault}_share")
        return share


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What happens to one call."""

    delay_s: float
    fault: Fault | None
    random: Random  # for whatever else the fault needs


def draw(config: FaultConfig, key: CallKey, nth: int) -> Draw:
    """What happens to the `nth` (from 0) call of its kind in a session: a function of its arguments alone."""
    random = derive_random(config.seed, "fault", key.digest, nth)
    late, place = random.random() < config.latency_share, random.random()
    chosen = None
    for fault in Fault:
        place -= config.share(fault)
        if place < 0:
            chosen = fault
            break
    return Draw(delay_s=config.latency_s if late else 0.0, fault=chosen, random=random)


class Faulty:
    """A `Backend` around another one."""

    def __init__(self, backend: Backend, config: FaultConfig) -> None:
        self._backend, self._config = backend, config
        self._made: Counter[str] = Counter()  # calls so far, by digest

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator["Faulty"]:
        """See `Backend`."""
        async with self._backend.session(task) as backend:
            yield Faulty(backend, self._config)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        key = CallKey.of(tool, arguments)
        drawn = draw(self._config, key, self._made[key.digest])
        self._made[key.digest] += 1
        delay_s = timeout_s if drawn.fault is Fault.TIMEOUT else min(drawn.delay_s, timeout_s)
        if delay_s:
            await asyncio.sleep(delay_s)
        if delay_s == timeout_s:
            raise TimeoutError
        if drawn.fault is Fault.INFRA_ERROR:
            raise InfraError(f"{tool.id}: a failure made up by faults.infra_error_share")
        if drawn.fault is Fault.TOOL_ERROR:
            text = "error: the service is unavailable, try again later"
            return Reply(text=text, status=ToolStatus.TOOL_ERROR, served_from="fault")
        reply = await self._backend.run(tool, arguments, timeout_s=timeout_s - delay_s)
        if drawn.fault is None or reply.status is ToolStatus.INFRA_ERROR:
            return reply
        damaged = _truncated if drawn.fault is Fault.TRUNCATION else _garbage
        return replace(reply, text=damaged(reply.text, drawn.random), served_from="fault")

    async def state(self) -> Mapping[str, Any]:
        """See `Backend`."""
        return await self._backend.state()

    async def close(self) -> None:
        """See `Backend`."""
        await self._backend.close()


def _truncated(text: str, random: Random) -> str:
    """The beginning, as from a connection that broke off: at least a character short, and no marker."""
    return text[: random.randrange(len(text))] if text else text


def _garbage(text: str, random: Random) -> str:
    """Characters of the Latin-1 range, control characters among them: what bytes of another format read like."""
    return "".join(chr(random.randrange(256)) for _ in range(min(max(1, len(text)), _GARBAGE_CHARS)))
