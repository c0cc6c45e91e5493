"""Processes that are kept between the turns of their conversations: so many, and for so long."""

from __future__ import annotations

import asyncio
from typing import Final, Generic, Protocol, TypeVar

KEPT: Final = 2
"""How many are kept, unless it is told otherwise."""
IDLE: Final = 300.0
"""Seconds that one is kept without a turn, unless it is told otherwise."""


class Closes(Protocol):
    """What can be kept."""

    async def close(self) -> None:
        """End the process."""
        ...


P = TypeVar("P", bound=Closes)


class Warm(Generic[P]):
    """At most `keep` of them, one for a conversation, each for `idle` seconds at most.

    Whether one can be gone on with is for whoever takes it to say: nothing that it knows counts but
    what the log has too.
    """

    def __init__(self, keep: int = KEPT, idle: float = IDLE) -> None:
        self.keep, self.idle = keep, idle
        self._kept: dict[str, tuple[P, asyncio.Task[None]]] = {}

    def take(self, context_id: str) -> P | None:
        """Return the one that is kept for a conversation, which is no longer kept."""
        process, ending = self._kept.pop(context_id, (None, None))
        if ending is not None:
            ending.cancel()
        return process

    async def put(self, context_id: str, process: P) -> None:
        """Keep one in place of another one; the one kept longest goes, if there are too many."""
        if context_id in self._kept:
            await self._close(context_id)
        ending = asyncio.create_task(self._end(context_id), name=f"kept for {context_id}")
        self._kept[context_id] = process, ending
        while len(self._kept) > self.keep:
            await self._close(next(iter(self._kept)))

    async def stop(self) -> None:
        """End all of them."""
        while self._kept:
            await self._close(next(iter(self._kept)))

    async def _close(self, context_id: str) -> None:
        process = self.take(context_id)
        assert process is not None
        await process.close()

    async def _end(self, context_id: str) -> None:
        await asyncio.sleep(self.idle)
        process, _ = self._kept.pop(context_id)
        await process.close()
