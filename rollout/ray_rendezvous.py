"""Where the ranks of a broadcast find each other: a Ray actor, so that only who has the cluster's token can.

It imports no torch, so that its process is there at once.
"""

import asyncio
from collections.abc import Sequence


class Rendezvous:
    """Keys and values of one group."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = asyncio.Condition()

    async def set(self, key: str, value: bytes) -> None:
        """Whoever waits for it goes on."""
        async with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    async def get(self, key: str) -> bytes:
        """Raises KeyError where nobody has set it."""
        return self._values[key]

    async def wait(self, keys: Sequence[str], timeout_s: float) -> bool:
        """Whether all of them were set in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._values.keys() >= set(keys))
        except TimeoutError:
            return False
        return True
