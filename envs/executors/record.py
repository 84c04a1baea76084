"""Record and replay: a backend in front of another, which answers what is recorded and records what the other says.

Recorded is what can come again: OK, TOOL_ERROR and UNKNOWN_TOOL, never a deadline missed or a failure of ours.

A call is known by tool, version and arguments (`CallKey`). Where calls change what later ones give (`stateful`), it is
known by the episode's earlier calls too, so that the same call may read differently the second time, and a replay is
still the same to the last bit. That presupposes that all sessions begin alike and that the same calls then get the
same replies; where it is seen not to hold, the call is an INFRA_ERROR that says so.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from envs.executors.backend import Backend, Reply
from envs.executors.call_key import CallKey
from envs.executors.executor import Stateless
from envs.executors.record_store import Record, RecordStore
from envs.types import Task, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

# replay_only: a miss is an INFRA_ERROR: it is nobody's answer, and an evaluation that has one is not a replay
# replay_then_call: a miss is called and recorded, once; whoever asks later, or at the same time, reads the first reply
# call_and_record: always called; the last reply is the recorded one
RecordPolicy = Literal["replay_only", "replay_then_call", "call_and_record"]

# Of what is left of a call's time, and of all times: how long the record may take. A file that another process holds is
# our failure, so the call is to end as that, before its deadline makes it the tool's.
_STORE_SHARE, _STORE_S = 0.8, 5.0

_KEPT = frozenset({ToolStatus.OK, ToolStatus.TOOL_ERROR, ToolStatus.UNKNOWN_TOOL})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordStats:
    """What became of the calls of one `Recorded` and its sessions."""

    hits: int
    misses: int
    recorded: int

    @property
    def hit_rate(self) -> float | None:
        """Share of the look-ups that found something; None before the first (call_and_record makes none)."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class Recorded:
    """A `Backend` in front of another one, or of none."""

    def __init__(
        self, backend: Backend | None, store: RecordStore, *, policy: RecordPolicy, stateful: bool = False
    ) -> None:
        """Under replay_only `backend` is not touched. `close` closes the store too. Raises UserError without a backend
        for a policy that calls one.
        """
        if backend is None and policy != "replay_only":
            raise UserError(f"record policy {policy} calls the tools, and nothing here runs them; use replay_only")
        self._backend, self._book, self._stateful = backend, _Book(store, policy), stateful

    @property
    def stats(self) -> RecordStats:
        """Counted since the start, all sessions together."""
        counts = self._book.counts
        return RecordStats(hits=counts["hits"], misses=counts["misses"], recorded=counts["recorded"])

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Backend]:
        """See `Backend`."""
        if self._backend is None or self._book.policy == "replay_only":
            yield self._over(None)
            return
        async with self._backend.session(task) as backend:
            yield self._over(backend)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. Outside a session, a call of a stateful backend is an episode of its own."""
        if not self._stateful:
            return await self._over(self._backend).run(tool, arguments, timeout_s=timeout_s)
        async with self.session() as session:
            return await session.run(tool, arguments, timeout_s=timeout_s)

    async def state(self) -> Mapping[str, Any]:
        """None: no state is recorded."""
        return {}

    async def close(self) -> None:
        """See `Backend`."""
        if self._backend is not None:
            await self._backend.close()
        await asyncio.to_thread(self._book.store.close)

    def _over(self, backend: Backend | None) -> Backend:
        return _StatefulSession(backend, self._book) if self._stateful else _Session(backend, self._book)


class _Book:
    """The store as one policy uses it, and the counts."""

    def __init__(self, store: RecordStore, policy: RecordPolicy) -> None:
        self.store, self.policy = store, policy
        self.counts: Counter[str] = Counter()

    async def look_up(self, key: CallKey, ends: float) -> Reply | None:
        """The recorded reply, where the policy replays; under replay_only a miss is a reply too. `ends`: the call, by
        `time.monotonic`. Raises InfraError.
        """
        if self.policy == "call_and_record":
            return None
        found = await self.store.get(key, within_s=_store_s(ends))
        self.counts["misses" if found is None else "hits"] += 1
        if found is not None:
            return replace(found, served_from="replay")
        if self.policy == "replay_only":
            return _refused(
                f"this call of {key.tool_id} (version {key.tool_version}) is not in {self.store.path}, and replay_only "
                "calls nothing; record it with replay_then_call"
            )
        return None

    async def keep(self, key: CallKey, reply: Reply, ends: float) -> Reply:
        """Record what a tool just said; returns what the caller is to read: an INFRA_ERROR when it cannot be recorded,
        which is no exception, for the tool would be called again.
        """
        if reply.status not in _KEPT:
            return reply
        # No call waits for an equal one that is under way. Instead the first on the disk is what all of them read, in
        # every process: else some episodes of the recorded run would differ from their replay.
        again = self.policy == "call_and_record"
        try:
            stored = await self.store.put(Record(key=key, reply=reply), replace=again, within_s=_store_s(ends))
        except InfraError as error:
            return replace(reply, text=f"error: {error}", status=ToolStatus.INFRA_ERROR)
        if _same(stored, reply):
            self.counts["recorded"] += 1
            return reply
        return replace(stored, served_from="replay")


class _Session(Stateless):
    """Calls that change nothing."""

    def __init__(self, backend: Backend | None, book: _Book) -> None:
        self._backend, self._book = backend, book

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        key, ends = CallKey.of(tool, arguments), time.monotonic() + timeout_s
        if (found := await self._book.look_up(key, ends)) is not None:
            return found
        assert self._backend is not None
        reply = await self._backend.run(tool, arguments, timeout_s=max(0.0, ends - time.monotonic()))
        return await self._book.keep(key, reply, ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replayed:
    """A call of this episode that was replayed, and that its backend has not seen."""

    tool: ToolDoc
    arguments: Mapping[str, Any]
    reply: Reply


class _StatefulSession(Stateless):
    """One episode whose calls change what later ones give; one call at a time.

    Replayed calls do not reach the backend. When one that is not recorded must, it runs them first, and they have to
    say again what is recorded: else the state behind the replay and the backend's own are two.
    """

    def __init__(self, backend: Backend | None, book: _Book) -> None:
        self._backend, self._book = backend, book
        self._turn = asyncio.Lock()
        self._history: str | None = ""  # None: a call failed half-way, and what follows it cannot be told apart
        self._unseen: deque[_Replayed] = deque()
        self._broken: str | None = None  # why nothing can be called here any more

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        ends = time.monotonic() + timeout_s
        async with self._turn:
            if self._broken is not None:
                return _refused(self._broken)
            if self._history is None:
                return await self._called(tool, arguments, ends)
            key = CallKey.of(tool, arguments, history=self._history)
            if (found := await self._book.look_up(key, ends)) is not None:
                if found.status in _KEPT:
                    self._unseen.append(_Replayed(tool=tool, arguments=arguments, reply=found))
                    self._history = key.digest
                return found
            if not await self._catch_up(ends):
                return _refused(self._broken)
            history, self._history = key.digest, None  # until the call is over and recorded
            reply = await self._called(tool, arguments, ends)
            if reply.status not in _KEPT:
                return reply
            kept = await self._book.keep(key, reply, ends)
            if kept.status not in _KEPT:
                return kept
            self._history = history
            if not _same(kept, reply):
                self._broken = _differs(tool)
                return _refused(self._broken)
            return reply

    async def _called(self, tool: ToolDoc, arguments: Mapping[str, Any], ends: float) -> Reply:
        assert self._backend is not None
        return await self._backend.run(tool, arguments, timeout_s=max(0.0, ends - time.monotonic()))

    async def _catch_up(self, ends: float) -> bool:
        """Run what was replayed; False when the backend cannot be brought to the state that the episode has seen."""
        while self._unseen:
            call = self._unseen.popleft()
            self._broken = f"{call.tool.id} could not be run again to bring its backend to the replayed state"
            try:
                reply = await self._called(call.tool, call.arguments, ends)
            except (InfraError, TimeoutError) as error:  # a deadline missed here is not the policy's
                self._broken += f" ({str(error) or 'no reply in time'})"
                return False
            self._broken = None if _same(reply, call.reply) else _differs(call.tool)
            if self._broken is not None:
                return False
        return True


def _store_s(ends: float) -> float:
    return min(_STORE_S, _STORE_SHARE * max(0.0, ends - time.monotonic()))


def _same(left: Reply, right: Reply) -> bool:
    return (left.status, left.text) == (right.status, right.text)


def _differs(tool: ToolDoc) -> str:
    return (
        f"{tool.id} says something else than what is recorded after the same calls; record anew with call_and_record, "
        "or leave this backend unrecorded if it never says the same twice"
    )


def _refused(problem: str | None) -> Reply:
    """A reply, not an exception: another try would end the same."""
    return Reply(text=f"error: {problem}", status=ToolStatus.INFRA_ERROR, served_from="replay")
