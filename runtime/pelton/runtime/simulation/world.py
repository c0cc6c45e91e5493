"""The simulated world: clock, ids and randomness from one seed, and how to run in it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from pelton.runtime.simulation.loop import VirtualLoop, running

_T = TypeVar("_T")
_EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)


class SimulatedWorld:
    """A `World` on virtual time.

    `skew` is how many seconds its wall clock is ahead; it may be set at any moment (F6).
    """

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311  # chance, not secrets
        self.skew = 0.0
        self._loop = running()

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return _EPOCH + timedelta(seconds=self._loop.time() + self.skew)

    def monotonic(self) -> float:
        """Return the virtual time in seconds."""
        return self._loop.time()

    def new_id(self) -> str:
        """Return a UUIDv7."""
        milliseconds = int(self.now().timestamp() * 1000)
        chance = self.random.getrandbits(74)
        value = milliseconds << 80 | 0x7 << 76 | chance >> 62 << 64 | 0b10 << 62 | chance % 2**62
        return str(UUID(int=value))

    def part(self, name: str) -> SimulatedWorld:
        """Return a world for a part of the simulation, so that parts stay independent."""
        return SimulatedWorld(f"{self.seed}/{name}")


def run(
    seed: int,
    main: Callable[[SimulatedWorld], Coroutine[Any, Any, _T]],
    *,
    shuffle: bool = True,
    limit: float = 86_400.0,
) -> _T:
    """Run `main` in a world of its own; the same seed gives the same run.

    With `shuffle`, the seed also decides which of the ready callbacks runs next. What fails
    carries the note `SIM_SEED=<seed>`.

    Raises:
        Stuck: nobody can run any more, or `limit` seconds of virtual time have passed.
    """
    order = random.Random(f"{seed}/order") if shuffle else None  # noqa: S311  # likewise
    loop = VirtualLoop(order=order, limit=limit)

    async def body() -> _T:
        return await main(SimulatedWorld(str(seed)))

    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                result = runner.run(body())
            finally:
                loop.release()
        if loop.troubles:
            raise loop.troubles[0]
    except BaseException as error:
        error.add_note(f"SIM_SEED={seed}")
        raise
    return result
