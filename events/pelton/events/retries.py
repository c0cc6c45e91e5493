"""When something that failed is tried again: by the class of its failure, ever later, not for ever.

How often it has failed is in the log and starts anew with each progress (design, *Laws* 5, 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pelton.events.events import FailureClass


class Retry(msgspec.Struct, frozen=True):
    """How often something is tried in all, and how long is waited between.

    The wait begins with `first` seconds and grows by `factor` each time, up to `longest`.
    """

    attempts: int = 3
    first: float = 1.0
    factor: float = 2.0
    longest: float = 60.0

    def delay(self, failures: int, chance: float) -> float | None:
        """Return the seconds until the next try after so many failures, or None if it was the last.

        `chance`, from 0 up to 1, spreads those who fail together: half to one and a half of it.
        """
        if failures >= self.attempts:
            return None
        wait = min(self.longest, self.first * self.factor ** (failures - 1))
        return wait * (0.5 + chance)


NEVER: Final = Retry(attempts=1)
"""Not tried again."""

RETRIES: Final[Mapping[FailureClass, Retry]] = {
    FailureClass.TIMEOUT: Retry(attempts=3),
    FailureClass.PROVIDER: Retry(attempts=5),
    FailureClass.DEPENDENCY: Retry(attempts=5),
    FailureClass.SESSION_LOST: Retry(attempts=3, first=0.1),
    FailureClass.INTERNAL: Retry(attempts=3),
}
"""What is tried again unless an agent or a step says otherwise: what may pass by itself."""

CRASHES: Final = Retry(attempts=5, first=0.5, longest=30.0)
"""How often the process that runs a turn may die without progress before the turn is given up."""


def retry_of(kind: FailureClass, own: Mapping[FailureClass, Retry]) -> Retry:
    """Return how failures of a class are tried again, where `own` overrides what is usual."""
    return own.get(kind) or RETRIES.get(kind, NEVER)
