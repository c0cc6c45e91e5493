"""Loops that go on for as long as their owner does, whatever becomes of them (AS-72)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from pelton.runtime.clock import World

FIRST: Final = 0.2
"""Seconds after which a loop that has crashed is begun again."""
LONGEST: Final = 30.0
"""Seconds that lie between a crash and the next beginning at most."""
STEADY: Final = 60.0
"""Seconds after which a loop counts as well: the pauses begin anew."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


async def supervised(
    loop: Callable[[], Awaitable[None]],
    what: str,
    *,
    world: World,
    crashed: Callable[[Exception], Awaitable[None]],
) -> None:
    """Run a loop until it ends; one that crashes is begun again, later each time it crashes soon.

    `crashed` is told of each crash, and must not raise.
    """
    pause = FIRST
    while True:  # ends: with the loop, or the task
        began = world.monotonic()
        try:
            await loop()
        except Exception as error:
            if world.monotonic() - began > STEADY:
                pause = FIRST
            logger.exception("loop-crashed", loop=what, again_in=pause)
            await crashed(error)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST)
