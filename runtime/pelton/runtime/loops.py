"""Loops that must not end: one that crashes begins again, later each time it crashes soon (AS-72).

What a loop can foresee, such as a log that is away, it sees to itself; this is for all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from pelton.runtime.clock import World
from pelton.runtime.observer import UNOBSERVED, Observer

FIRST: Final = 0.5
LONGEST: Final = 30.0
"""Seconds until a loop begins again: after its first crash, and at the longest."""
STEADY: Final = 60.0
"""Seconds after which a loop counts as well: the pauses begin anew."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Loops:
    """The loops of one process, each kept by a task of its owner's."""

    def __init__(self, *, world: World, observer: Observer = UNOBSERVED) -> None:
        self._world, self._observer = world, observer
        self._down: set[str] = set()

    @property
    def well(self) -> bool:
        """Whether no loop has crashed and waits to begin again."""
        return not self._down

    async def keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop; should it crash, it begins again. One with nothing to do may end."""
        pause = FIRST
        while True:
            began = self._world.monotonic()
            try:
                return await loop()
            except Exception:  # whatever it was: it is told, and the loop begins again
                logger.exception("loop-crashed", loop=name, again_in=pause)
            self._observer.restarted(name)
            if self._world.monotonic() - began > STEADY:
                pause = FIRST
            self._down.add(name)
            await asyncio.sleep(pause * (0.5 + self._world.random.random()))
            self._down.discard(name)
            pause = min(2 * pause, LONGEST)
