"""Time, ids and randomness, passed in (law 14), so that everything can run in a simulated world."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import uuid_utils

_encode: Final = msgspec.json.encode


class World(Protocol):
    """What our code may know of the world outside. Waiting is the event loop's business."""

    def now(self) -> datetime:
        """The wall clock in UTC: data, never a decision (F6)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps, for deadlines."""
        ...

    def new_id(self) -> str:
        """A new id that nobody else has: a UUIDv7, so that ids sort by time."""
        ...

    @property
    def random(self) -> random.Random:
        """Randomness, for jitter."""
        ...


@dataclass(frozen=True)
class RealWorld:
    """The world as it is."""

    random: random.Random = field(default_factory=random.Random)

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on the monotonic clock."""
        return time.monotonic()

    def new_id(self) -> str:
        """Return a new UUIDv7."""
        return str(uuid_utils.uuid7())


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC as A2A writes timestamps: milliseconds, `Z`."""
    text = _encode(moment)  # a fifth of what formatting its fields costs, and on every path
    fraction = text[21:24] if moment.microsecond else b"000"
    return (b"%b.%bZ" % (text[1:20], fraction)).decode()
