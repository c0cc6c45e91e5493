"""The bells of a simulated log: pulls with credit, as a durable pull consumer is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from pelton.runtime.log import LogUnavailable, Record
from pelton.runtime.simulation.link import Link
from pelton.runtime.simulation.queue import Puller, Queue

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]


class SimulatedBell:
    """One delivery of one command."""

    def __init__(self, bells: SimulatedBells, record: Record, deliveries: int) -> None:
        self.record = record
        self.deliveries = deliveries
        self._bells = bells
        self._open = True

    async def working(self) -> None:
        """Say that the command is still in hand."""
        if self._open:
            self._bells.tell(partial(self._bells.queue.working, self.record.sequence))

    async def done(self) -> None:
        """Never ring again for this command."""
        self._answer(partial(self._bells.queue.done, self.record.sequence))

    async def hand_back(self, delay: float = 0.0) -> None:
        """Ring again, here or elsewhere, after `delay` seconds."""
        self._answer(partial(self._bells.queue.hand_back, self.record.sequence, delay))

    def _answer(self, act: Callable[[], None]) -> None:
        if self._open:
            self._open = False
            self._bells.tell(act)
            self._bells.answered(self.record.sequence)


class SimulatedBells:
    """The bells of one agent, as one client hears them."""

    def __init__(self, link: Link, queue: Queue, capacity: int, ask: Ask) -> None:
        self.queue, self.tell = queue, link.tell
        self._ask = ask
        self._link, self._capacity = link, capacity
        self._waiting: asyncio.Queue[SimulatedBell] = asyncio.Queue()
        self._in_hand: set[int] = set()
        self._received = 0
        self._puller = Puller(link, link.inbound(self._arrived))
        self._quiet = False
        self._forget = link.on_restored(self._restored)
        self._pull()

    async def next(self) -> SimulatedBell:
        """Return the next bell."""
        bell = await self._waiting.get()
        if bell.record.sequence in self._in_hand:
            self._pull()  # it has used credit, and takes no room
        self._in_hand.add(bell.record.sequence)
        return bell

    async def quiet(self) -> None:
        """Take no more, and hand back what was not yet returned."""
        self.close()
        with suppress(LogUnavailable):  # then the server has forgotten us anyway
            await self._ask(lambda: None)

    def close(self) -> None:
        """Take no more; does not wait for the server."""
        self._quiet = True
        self._forget()
        self._link.tell(partial(self.queue.leave, self._puller))
        while not self._waiting.empty():
            self._return(self._waiting.get_nowait().record)

    def answered(self, sequence: int) -> None:
        """One command less in hand."""
        self._in_hand.discard(sequence)
        self._pull()

    def _arrived(self, delivery: tuple[Record, int]) -> None:
        record, deliveries = delivery
        self._received += 1
        if self._quiet:
            self._return(record)
        else:
            self._waiting.put_nowait(SimulatedBell(self, record, deliveries))

    def _return(self, record: Record) -> None:
        self._link.tell(partial(self.queue.hand_back, record.sequence, 0.0))

    def _restored(self) -> None:
        self._received = 0
        self._puller = Puller(self._link, self._link.inbound(self._arrived))
        self._pull()

    def _pull(self) -> None:
        if not self._quiet:
            free = self._capacity - len(self._in_hand) - self._waiting.qsize()
            self._link.tell(partial(self.queue.pull, self._puller, self._received + max(0, free)))
