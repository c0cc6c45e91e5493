"""The durable consumer behind the bells: what is delivered to whom, and what comes again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field

from pelton.runtime.log import Record
from pelton.runtime.simulation.loop import running

_INSTANT = 1e-6
"""How early, in seconds, a timer may fire."""


@dataclass(eq=False)
class Puller:
    """A client that hears the bells: it may be sent `allowed` in total and got `sent` so far."""

    client: object
    deliver: Callable[[tuple[Record, int]], None]
    allowed: int = 0
    sent: int = 0


@dataclass
class _Pending:
    record: Record
    due: float
    """When it is delivered again unless it is answered."""
    delivered: list[float] = field(default_factory=list[float])
    """When it was delivered."""


class Queue:
    """The commands of an agent, each delivered until it is acknowledged.

    Redelivery goes before what is new. Answers are by sequence: a late answer to an old delivery
    counts for the delivery in hand.
    """

    def __init__(
        self, pattern: str, next_record: Callable[[str, int], tuple[int, Record | None]]
    ) -> None:
        self.patience = 3.0
        self._pattern, self._next_record = pattern, next_record
        self._loop = running()
        self._cursor = 0
        self._pending: dict[int, _Pending] = {}
        self._acknowledged: deque[tuple[float, _Pending]] = deque()
        self._pullers: deque[Puller] = deque()
        self._open = True

    def pull(self, puller: Puller, allowed: int) -> None:
        """Deliver to a client until it got `allowed` in total."""
        puller.allowed = max(puller.allowed, allowed)
        if puller not in self._pullers:
            self._pullers.append(puller)
        self.ring()

    def leave(self, puller: Puller) -> None:
        """Deliver no more to a client."""
        if puller in self._pullers:
            self._pullers.remove(puller)

    def forget(self, client: object) -> None:
        """Deliver no more over a connection that is gone."""
        self._pullers = deque(p for p in self._pullers if p.client is not client)

    def done(self, sequence: int) -> None:
        """Never deliver a record again."""
        if pending := self._pending.pop(sequence, None):
            self._acknowledged.append((self._loop.time(), pending))

    def working(self, sequence: int) -> None:
        """Wait for another patience."""
        if pending := self._pending.get(sequence):
            self._again(pending, self.patience)

    def hand_back(self, sequence: int, delay: float) -> None:
        """Deliver again after `delay` seconds."""
        if pending := self._pending.get(sequence):
            self._again(pending, delay)

    def ring(self) -> None:
        """Deliver what is due to those who may get it, each in turn."""
        while self._open:
            puller = next((p for p in self._pullers if p.sent < p.allowed), None)
            pending = self._due() if puller else None
            if not puller or not pending:
                return
            self._pullers.remove(puller)
            self._pullers.append(puller)
            puller.sent += 1
            pending.delivered.append(self._loop.time())
            self._again(pending, self.patience)
            puller.deliver((pending.record, len(pending.delivered)))

    def crashed(self, since: float) -> None:
        """Forget who listens, and what was delivered or acknowledged after the time `since`."""
        self._open = False
        self._pullers.clear()
        while self._acknowledged and self._acknowledged[-1][0] > since:
            _, undone = self._acknowledged.pop()
            self._pending[undone.record.sequence] = undone
            undone.due = self._loop.time()
        for pending in self._pending.values():
            while pending.delivered and pending.delivered[-1] > since:
                pending.delivered.pop()

    def restored(self, last: int) -> None:
        """Go on, with a log that ends at `last`."""
        self._open = True
        self._cursor = min(self._cursor, last)
        self._pending = {at: pending for at, pending in self._pending.items() if at <= last}
        self._acknowledged = deque(a for a in self._acknowledged if a[1].record.sequence <= last)
        self.ring()

    def _due(self) -> _Pending | None:
        now = self._loop.time()
        due = [pending for pending in self._pending.values() if pending.due <= now + _INSTANT]
        if due:
            return min(due, key=lambda pending: (pending.due, pending.record.sequence))
        self._cursor, record = self._next_record(self._pattern, self._cursor)
        if record is None:
            return None
        pending = self._pending[record.sequence] = _Pending(record, now)
        return pending

    def _again(self, pending: _Pending, delay: float) -> None:
        pending.due = self._loop.time() + delay
        if delay > 0:
            self._loop.call_at(pending.due, self.ring, context=Context())
        else:
            self.ring()
