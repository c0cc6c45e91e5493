"""What is told of work while it is done: who counts, measures and traces it is an adapter.

The runtime knows neither figures nor spans. It says what it does where it does it, to an `Observer`
that is passed in; without one, nobody hears it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

import msgspec


class Attempted(NamedTuple):
    """The attempt of a turn that begins: of which agent's task, and on whose behalf.

    `traceparent` is that of the command which began the turn, and `correlationid` the id under
    which all that its request led to is found: log lines have it too (AS-7).
    """

    agent: str
    context: str
    task: str
    turn: int
    attempt: int
    correlationid: str
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


ATTEMPTED: Final[ContextVar[Attempted | None]] = ContextVar("attempted", default=None)
"""The attempt that is under way: log lines name it."""


class Seen:
    """Something that lasts, as an observer follows it: whoever does it says `how` it has ended.

    `traceparent` is for what follows from it elsewhere, if it is traced.
    """

    __slots__ = ("how", "traceparent")

    def __init__(self, traceparent: str | msgspec.UnsetType = msgspec.UNSET) -> None:
        self.how = "lost"
        self.traceparent = traceparent


class Observer(Protocol):
    """Hears what is done in this process; its methods are quick and raise nothing."""

    def appended(self, seconds: float, how: str) -> None:
        """Hear how long an append took, and that it was stored, or else the code of its error."""
        ...

    def rang(self, agent: str, *, again: bool) -> None:
        """Hear that a bell of an agent rang here; `again` if it had rung before."""
        ...

    def fenced(self, agent: str) -> None:
        """Hear that a context was left to another executor, which has written."""
        ...

    def restarted(self, loop: str) -> None:
        """Hear that a loop which must not end has crashed, and begins again (AS-72)."""
        ...

    def served(self, agent: str) -> None:
        """Hear that a step was served from the log."""
        ...

    def attempt(self, begun: Attempted) -> AbstractContextManager[Seen]:
        """Follow an attempt while the context lasts."""
        ...

    def step(self, agent: str, kind: str, name: str, key: str) -> AbstractContextManager[Seen]:
        """Follow a run of a step's function while the context lasts."""
        ...

    def delegation(self, agent: str, to: str, key: str) -> AbstractContextManager[Seen]:
        """Follow how work is handed on to another agent while the context lasts."""
        ...


class Unobserved:
    """Nobody: hears nothing."""

    _nobody: Final = nullcontext(Seen())

    def appended(self, seconds: float, how: str) -> None:
        """Hear nothing."""

    def rang(self, agent: str, *, again: bool) -> None:
        """Hear nothing."""

    def fenced(self, agent: str) -> None:
        """Hear nothing."""

    def restarted(self, loop: str) -> None:
        """Hear nothing."""

    def served(self, agent: str) -> None:
        """Hear nothing."""

    def attempt(self, begun: Attempted) -> AbstractContextManager[Seen]:  # noqa: ARG002
        """Follow nothing."""
        return self._nobody

    def step(
        self,
        agent: str,  # noqa: ARG002
        kind: str,  # noqa: ARG002
        name: str,  # noqa: ARG002
        key: str,  # noqa: ARG002
    ) -> AbstractContextManager[Seen]:
        """Follow nothing."""
        return self._nobody

    def delegation(self, agent: str, to: str, key: str) -> AbstractContextManager[Seen]:  # noqa: ARG002
        """Follow nothing."""
        return self._nobody


UNOBSERVED: Final = Unobserved()
"""What is told to nobody."""
