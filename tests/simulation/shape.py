"""The shape of a run: how many take part in it, and how much goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pelton.runtime.simulation.server import Profile


@dataclass
class Options:
    """The shape of a run. `ignore_expectation` and `ignore_ids` take a guard away."""

    executors: int = 3
    clients: int = 3
    messages: int = 3
    contexts: int = 4
    faults: int = 12
    profile: Profile | None = None
    ignore_expectation: bool = False
    ignore_ids: bool = False


def any_options(chance: Random) -> Options:
    """Return the shape of a seed's run: one in four is large, for a small one costs a third.

    In a small one as much goes wrong for each message.
    """
    if chance.random() < 0.25:
        return Options()
    return Options(
        executors=chance.choice((2, 2, 3)),
        clients=chance.choice((1, 2)),
        messages=chance.choice((1, 2, 3)),
        contexts=chance.choice((1, 2)),
        faults=chance.choice((4, 8)),
    )
