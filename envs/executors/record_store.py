"""Replies of tools on disk: one SQLite file, which any number of processes of one machine read and write at once.

Durable: a write is acknowledged when its transaction is on the disk (WAL with `synchronous=FULL`: every commit is
synced; `NORMAL` would survive a killed process but not a power cut). Writes that wait together share one commit, so
the price of a sync is paid once for all of them. SQLite's work is done in two threads of the store's own, reading and
writing, never in the event loop. Not for network file systems: a WAL needs memory that its processes share. An open
store does not survive a fork: each process opens its own.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from envs.executors.backend import Reply
from envs.executors.call_key import CallKey
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError

_APPLICATION_ID = 0x54534352  # "TSCR", in the file's header: tells our files from other people's
_SCHEMA_VERSION = 1
_TABLE = """CREATE TABLE records (
    key BLOB PRIMARY KEY,        -- SHA-256 of tool, version, arguments and history
    tool_id TEXT NOT NULL, tool_version TEXT NOT NULL, arguments TEXT NOT NULL, history TEXT NOT NULL,
    status TEXT NOT NULL,
    text BLOB NOT NULL,          -- UTF-8, lone surrogates included; before any cut to an observation's length
    served_from TEXT NOT NULL    -- who made the reply: live, simulator
)"""

_BUSY_S = 30.0  # how long a writer waits for the writers of other processes
_RETRY_S = 0.02
_RECORDS_A_COMMIT = 1000  # of an import

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A call and what its tool said."""

    key: CallKey
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    record: Record
    replace: bool
    stored: "Future[Reply]"


class RecordStore:
    """Replies by `CallKey`, for any event loop and any thread."""

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Open `path`, or make it if `create`. Raises UserError when it is missing, or no record of this version."""
        self.path = Path(path).expanduser()
        if not self.path.exists():
            if not create:
                raise UserError(f"no record of tool calls at {self.path}; check the path, or record one first")
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._reading, self._writing = _opened(self.path), _opened(self.path)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="record-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="record-write")
        self._lock = threading.Lock()  # of the next line
        self._waiting: list[_Write] = []

    async def get(self, key: CallKey, *, within_s: float = _BUSY_S) -> Reply | None:
        """The recorded reply, as its tool gave it. Raises InfraError when the file cannot be read, or not in time."""
        return await self._done(
            asyncio.get_running_loop().run_in_executor(self._reader, _read, self._reading, key), within_s
        )

    async def put(self, record: Record, *, replace: bool, within_s: float = _BUSY_S) -> Reply:
        """Keep a reply; returns what is on the disk now: `record`'s reply, or the older one unless `replace`.

        Raises InfraError when it cannot be kept, or not in time: then it may yet be, a little later.
        """
        write = _Write(record=record, replace=replace, stored=Future())
        with self._lock:
            self._waiting.append(write)
        self._writer.submit(self._write_waiting)
        return await self._done(asyncio.wrap_future(write.stored), within_s)

    def put_all(self, records: Iterable[Record]) -> int:
        """Keep what is not yet recorded, a thousand records a commit; returns how many are new. Blocks.

        Raises InfraError when they cannot be kept.
        """
        before, remaining = len(self), iter(records)
        try:
            while part := list(islice(remaining, _RECORDS_A_COMMIT)):
                writes = [_Write(record=record, replace=False, stored=Future()) for record in part]
                self._writer.submit(_write, self._writing, writes).result()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        return len(self) - before

    def __len__(self) -> int:
        """How many replies are recorded."""
        ((count,),) = self._reader.submit(_rows, self._reading, "SELECT count(*) FROM records").result()
        return int(count)

    @property
    def has_histories(self) -> bool:
        """Whether some call is known by the calls before it: one of an episode of a stateful server."""
        asked = "SELECT EXISTS(SELECT 1 FROM records WHERE history != '')"
        ((found,),) = self._reader.submit(_rows, self._reading, asked).result()
        return bool(found)

    def close(self) -> None:
        """Write what waits and close the file. A second time it does nothing."""
        for thread, connection in ((self._writer, self._writing), (self._reader, self._reading)):
            thread.shutdown()
            connection.close()

    def _write_waiting(self) -> None:
        with self._lock:
            taken, self._waiting = self._waiting, []
        # One whose caller has been cancelled is not written: nobody was told of it.
        writes = [write for write in taken if write.stored.set_running_or_notify_cancel()]
        if not writes:
            return
        try:
            stored = _write(self._writing, writes)
        except BaseException as error:  # noqa: BLE001 - it is raised where the write is awaited
            for write in writes:
                write.stored.set_exception(error)
        else:
            for write, reply in zip(writes, stored, strict=True):
                write.stored.set_result(reply)

    async def _done(self, work: "asyncio.Future[_T]", within_s: float) -> _T:
        try:
            async with asyncio.timeout(within_s):
                return await work
        except TimeoutError:
            raise self._failed(f"no answer within {within_s:.2g} s") from None
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error | str) -> InfraError:
        return InfraError(f"the record of tool calls {self.path}: {error}; is its disk full, or another process stuck?")


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to a file of ours, made where there was none or an empty one."""
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    try:
        # In one transaction: between two looks at it, another process may make the file.
        connection.execute("BEGIN")
        ours = _is_ours(connection, path)
        connection.execute("COMMIT")
        if not ours:
            connection.execute("BEGIN IMMEDIATE")
            if not _is_ours(connection, path):  # another process may have been first
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            connection.execute("COMMIT")
        _use_wal(connection, path)
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """False for an empty file. Raises UserError for what is something else, before anything of it is changed."""
    ((application,),) = _rows(connection, "PRAGMA application_id")
    ((version,),) = _rows(connection, "PRAGMA user_version")
    ((objects,),) = _rows(connection, "SELECT count(*) FROM sqlite_master")
    if (application, version, objects) == (0, 0, 0):
        return False
    if application != _APPLICATION_ID:
        raise UserError(f"{path} is an SQLite database, but no record of tool calls; give another path")
    if version != _SCHEMA_VERSION:
        raise UserError(
            f"{path} is a record of version {version}, this release reads {_SCHEMA_VERSION}; record into another file"
        )
    return True


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """The switch, once in a file's life, needs the file for itself, and SQLite does not wait for that by itself."""
    ends = time.monotonic() + _BUSY_S
    while True:
        try:
            ((mode,),) = _rows(connection, "PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
        else:
            if mode != "wal":
                raise UserError(f"{path}: its file system cannot keep a write-ahead log; put the file on a local disk")
            return
        time.sleep(_RETRY_S)


def _unusable(path: Path, error: sqlite3.Error) -> UserError:
    return UserError(
        f"{path} cannot be used as a record of tool calls ({error}); "
        "give a file of ours, or a new path, in a folder that you may write"
    )


def _rows(connection: sqlite3.Connection, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()


def _read(connection: sqlite3.Connection, key: CallKey) -> Reply | None:
    query = "SELECT status, text, served_from FROM records WHERE key = ?"
    for status, text, served_from in connection.execute(query, (bytes.fromhex(key.digest),)).fetchall():
        return Reply(text=text.decode(errors="surrogatepass"), status=ToolStatus(status), served_from=str(served_from))
    return None


def _write(connection: sqlite3.Connection, writes: Sequence[_Write]) -> list[Reply]:
    """All of `writes` in one transaction; what is stored for each of them then."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for write in writes:
            connection.execute(
                f"INSERT OR {'REPLACE' if write.replace else 'IGNORE'} INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                _row(write.record),
            )
        stored = [_read(connection, write.record.key) for write in writes]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself on some errors
            connection.execute("ROLLBACK")
        raise
    assert None not in stored
    return [reply for reply in stored if reply is not None]


def _row(record: Record) -> tuple[object, ...]:
    key, reply = record.key, record.reply
    shown = (key.tool_id, key.tool_version, key.arguments, key.history)
    return (
        bytes.fromhex(key.digest),
        *(part.encode(errors="replace").decode() for part in shown),  # for people: SQLite's text holds no surrogates
        reply.status.value,
        reply.text.encode(errors="surrogatepass"),
        reply.served_from,
    )
