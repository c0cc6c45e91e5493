"""Moments at which a process is to die: to prove that work survives it (design, *Guarantees*).

A `Doom` counts the moments of each place as a process passes them, and kills it at one of them.
`doomed` wraps a log so that appends and the answers to bells are such places.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self

import msgspec

from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import Bell, Bells, Record

PLACES: Final = (
    "before commit",
    "after commit",
    "before command",
    "after command",
    "before answer",
)
"""Right before and right after a record is stored, of its own context or as a command to another
one (a delegation, a report, a recall), and right before a bell is answered."""


class Point(msgspec.Struct, frozen=True):
    """The `nth` moment, from 1, at a place."""

    place: str
    nth: int

    def __str__(self) -> str:
        return f"{self.place}:{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the point that a text names, as in `after commit:3`.

        Raises:
            InvalidInput: it names none.
        """
        place, _, nth = text.rpartition(":")
        if not place or not nth.isdigit() or int(nth) < 1:
            raise InvalidInput(
                f"{text!r} is no point: write a place and a number, as in after commit:3"
            )
        return cls(place, int(nth))


class Doom:
    """Counts moments, and kills this process by SIGKILL when it gets to a point."""

    def __init__(self, point: Point | None = None) -> None:
        self.passed: Counter[str] = Counter()
        self.point = point

    def at(self, place: str) -> None:
        """Pass a moment; does not return from the one that is meant."""
        self.passed[place] += 1
        if self.point == Point(place, self.passed[place]):
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # it is on its way


def doom(log: JetStreamLog, fate: Doom) -> None:
    """Let a log pass its moments: appends about contexts, and the answers to bells."""
    append, bells = log.append, log.bells

    async def appending(subject: str, data: bytes, *, id: str, expect: int | None = None) -> int:
        if subject.endswith("._agent"):  # that an agent is served is no agent's work
            return await append(subject, data, id=id, expect=expect)
        kind = "commit" if subject.startswith("evt.") else "command"
        fate.at(f"before {kind}")
        stored = await append(subject, data, id=id, expect=expect)
        fate.at(f"after {kind}")
        return stored

    @asynccontextmanager
    async def hearing(agent: str, *, capacity: int, patience: float = 3.0) -> AsyncGenerator[Bells]:
        async with bells(agent, capacity=capacity, patience=patience) as heard:
            yield _Bells(heard, fate)

    log.append = appending  # type: ignore[method-assign]
    log.bells = hearing  # type: ignore[method-assign]


class _Bells:
    """Bells whose answers are moments."""

    def __init__(self, bells: Bells, fate: Doom) -> None:
        self._bells, self._fate = bells, fate

    async def next(self) -> Bell:
        return _Bell(await self._bells.next(), self._fate)

    async def quiet(self) -> None:
        await self._bells.quiet()


class _Bell:
    def __init__(self, bell: Bell, fate: Doom) -> None:
        self._bell, self._fate = bell, fate

    @property
    def record(self) -> Record:
        return self._bell.record

    @property
    def deliveries(self) -> int:
        return self._bell.deliveries

    async def working(self) -> None:
        await self._bell.working()

    async def done(self) -> None:
        self._fate.at("before answer")
        await self._bell.done()

    async def hand_back(self, delay: float = 0.0) -> None:
        self._fate.at("before answer")
        await self._bell.hand_back(delay)
