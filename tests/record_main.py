"""A process that records calls until it is killed, and notes each one once it is acknowledged.

    python -m tests.record_main STORE NOTES NAME

Not a test: `test_record` kills it.
"""

import asyncio
import json
import os
import sys
from itertools import count

from envs.executors.backend import Reply
from envs.executors.call_key import CallKey
from envs.executors.record_store import Record, RecordStore
from retriever.tools import ToolDoc

TOOL = ToolDoc(id="t.write", name="write", description="", parameters={"type": "object"})
WRITERS = 8


async def record(store: RecordStore, notes: int, name: str) -> None:
    """Eight writers at once; every third call is one that the other processes write too."""

    async def write(numbers: "count[int]") -> None:
        for number in numbers:
            arguments = {"shared": number} if number % 3 == 0 else {"own": number, "by": name}
            said = f"{name} {number} " + "x" * (number % 5000)
            kept = await store.put(Record(key=CallKey.of(TOOL, arguments), reply=Reply(text=said)), replace=False)
            os.write(notes, (json.dumps([arguments, kept.text]) + "\n").encode())

    numbers = count()
    await asyncio.gather(*(write(numbers) for _ in range(WRITERS)))


if __name__ == "__main__":
    notes = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
    asyncio.run(record(RecordStore(sys.argv[1]), notes, sys.argv[3]))
