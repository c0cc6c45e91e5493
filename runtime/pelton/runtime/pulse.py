"""What an attempt is doing just now: whether it works, waits, or makes no progress at all.

Progress is what the turn does, never the heart beat of its process (AS-46).
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from pelton.runtime.clock import World


class Pulse:
    """Counts what runs and what waits; `suspend_after` and `inactivity` are in seconds.

    An attempt that has steps running or does anything is at work. One that only waits is to be
    suspended after a while, one that does nothing at all to fail.
    """

    def __init__(self, world: World, *, suspend_after: float, inactivity: float) -> None:
        self._world = world
        self._suspend_after, self._inactivity = suspend_after, inactivity
        self._last = world.monotonic()
        self._beats = self._stalled = 0
        self._running = 0
        self._waits: dict[str, int] = {}
        self._changed = asyncio.Event()

    @property
    def waits(self) -> tuple[str, ...]:
        """The keys that are waited for."""
        return tuple(self._waits)

    @property
    def still(self) -> bool:
        """Whether nothing has gone on since `stalled` returned."""
        return self._beats == self._stalled

    def beat(self) -> None:
        """There was progress."""
        self._beats += 1
        self._last = self._world.monotonic()

    @contextmanager
    def running(self) -> Generator[None]:
        """Something runs, as long as the context lasts."""
        self._running += 1
        self.beat()
        try:
            yield
        finally:
            self._running -= 1
            self.beat()
            if self._waits:  # else nothing is due any sooner
                self._changed.set()

    @contextmanager
    def waiting(self, key: str) -> Generator[None]:
        """Something is waited for under a key, as long as the context lasts."""
        self._waits[key] = self._waits.get(key, 0) + 1
        self.beat()
        self._changed.set()
        try:
            yield
        finally:
            self._waits[key] -= 1
            if not self._waits[key]:
                del self._waits[key]
            self.beat()

    async def stalled(self) -> bool:
        """Return when nothing goes on any more: True if it waits, False if it makes no progress."""
        while True:
            self._changed.clear()
            waits = bool(self._waits) and not self._running
            limit = self._suspend_after if waits else self._inactivity
            left = self._last + limit - self._world.monotonic()
            if left <= 0:
                self._stalled = self._beats
                return waits
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue  # look again: there may have been progress meanwhile
