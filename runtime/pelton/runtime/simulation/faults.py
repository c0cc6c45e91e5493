"""What goes wrong in a simulated run, and when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Faults:
    """How bad the way between clients and server is; rates are chances per request.

    A lost reply is the lost acknowledgement: done, but nobody hears of it. A slow message takes up
    to `slowest` seconds, so that it arrives after its sender gave up.
    """

    latency: tuple[float, float] = (0.0001, 0.001)
    lost_requests: float = 0.0
    lost_replies: float = 0.0
    slow: float = 0.0
    slowest: float = 4.0
    fired: Counter[str] = field(default_factory=Counter[str])
    """How often each fault happened."""

    def heal(self) -> None:
        """Nothing goes wrong from here on."""
        self.lost_requests = self.lost_replies = self.slow = 0.0

    def strikes(self, kind: str, rate: float, chance: random.Random) -> bool:
        """Whether a fault happens now; counts it."""
        struck = rate > 0 and chance.random() < rate
        if struck:
            self.fired[kind] += 1
        return struck

    def delay(self, chance: random.Random) -> float:
        """Return how long the next message takes, in seconds."""
        if self.slow and self.strikes("slow", self.slow, chance):
            return chance.random() * self.slowest
        least, most = self.latency
        return least + (most - least) * chance.random()


class Fault(NamedTuple):
    """One misfortune: `kind` befalls the process number `target` at `at` seconds from the start."""

    at: float
    kind: str
    target: int
    seconds: float


def plan(
    chance: random.Random,
    *,
    kinds: Sequence[str],
    targets: int,
    seconds: float,
    number: int,
    longest: float,
) -> list[Fault]:
    """Return `number` misfortunes of `kinds` within `seconds`, each `longest` seconds at most."""
    faults = (
        Fault(
            at=chance.uniform(0.0, seconds),
            kind=chance.choice(kinds),
            target=chance.randrange(targets),
            seconds=chance.uniform(0.0, longest),
        )
        for _ in range(number)
    )
    return sorted(faults)
