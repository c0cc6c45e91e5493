"""Bells: the commands of an agent, each delivered to one of its executors.

A durable consumer on the log itself does it: there is nothing to sweep after a restart of the
server, and what it remembers carries no truth (law 5).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api
from pelton.runtime.jetstream.puller import Puller
from pelton.runtime.jetstream.streams import LOG
from pelton.runtime.log import Bell, LogError, LogUnavailable, Record

_UNANSWERED: Final = 200_000
"""Bells of one agent that may be in hand or handed back at once, at all its executors: also those
of turns that wait for a time. 100,000 cost the server 70 MB and 1 % of a core."""


class JetStreamBell:
    """One delivery of one command."""

    __slots__ = ("_bells", "_open", "_reply", "deliveries", "record")

    def __init__(self, bells: JetStreamBells, reply: str, record: Record, deliveries: int) -> None:
        self._bells = bells
        self._reply = reply
        self._open = True
        self.record = record
        self.deliveries = deliveries

    async def working(self) -> None:
        """Say that the command is still in hand."""
        if self._open:
            self._bells.answer(self._reply, b"+WPI")

    async def done(self) -> None:
        """Never ring again for this command."""
        self._end(b"+ACK")

    async def hand_back(self, delay: float = 0.0) -> None:
        """Ring again, here or elsewhere, after `delay` seconds."""
        nanoseconds = int(delay * wire.SECOND)
        self._end(b'-NAK {"delay":%d}' % nanoseconds if nanoseconds > 0 else b"-NAK")

    def _end(self, answer: bytes) -> None:
        if self._open:
            self._open = False
            self._bells.answer(self._reply, answer)
            self._bells.ended(self.record.sequence)


class JetStreamBells:
    """The bells of one agent at one executor."""

    def __init__(self, api: Api, agent: str, *, capacity: int, patience: float) -> None:
        self._api = api
        self._agent = agent
        self._capacity = capacity
        self._patience = patience
        self._in_hand: set[int] = set()
        """Sequences of commands; one that rings again here before it is answered counts once."""
        self._quiet = False
        self._waiting: asyncio.Queue[JetStreamBell | LogError] = asyncio.Queue()
        self._puller = Puller(api.connection, LOG, deliver=self._deliver, mend=self._mend)
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to hear."""
        await self._puller.open(self._refill)
        self._watch = asyncio.create_task(self._watched(), name=f"bells of {self._agent}")

    async def _watched(self) -> None:
        try:
            await self._puller.watch()
        except LogError as error:
            self._waiting.put_nowait(error)  # for whoever waits for a bell

    async def _mend(self) -> str:
        name = f"bells-{self._agent}"
        await self._api.command(
            f"$JS.API.CONSUMER.CREATE.{LOG}.{name}.cmd.{self._agent}.>",
            {
                "stream_name": LOG,
                "config": {
                    "name": name,
                    "durable_name": name,
                    "filter_subject": f"cmd.{self._agent}.>",
                    "deliver_policy": "all",
                    "ack_policy": "explicit",
                    "ack_wait": int(self._patience * wire.SECOND),
                    "max_deliver": -1,
                    "max_ack_pending": _UNANSWERED,
                },
            },
        )
        return name

    def _refill(self) -> None:
        if self._quiet:
            return
        room = self._capacity - len(self._in_hand) - self._waiting.qsize()
        credit = self._puller.credit
        if credit <= room // 2 and room > credit:
            self._puller.want(room - credit)

    def _deliver(self, subject: bytes, reply: bytes, data: bytes) -> None:
        deliveries, sequence, _, received_ns, _ = wire.delivery(reply)
        record = Record(sequence, subject.decode(), data, received_ns)
        self._waiting.put_nowait(JetStreamBell(self, reply.decode(), record, deliveries))

    async def next(self) -> Bell:
        """Return the next bell; waits without end."""
        bell = await self._waiting.get()
        if isinstance(bell, LogError):
            self._waiting.put_nowait(bell)
            raise bell
        if bell.record.sequence in self._in_hand:
            self._refill()  # it has used credit, and takes no room
        self._in_hand.add(bell.record.sequence)
        return bell

    def answer(self, reply: str, answer: bytes) -> None:
        """Tell the server what became of a delivery."""
        self._api.connection.publish(reply, answer)

    def ended(self, sequence: int) -> None:
        """Make room for another bell."""
        self._in_hand.discard(sequence)
        self._refill()

    async def quiet(self) -> None:
        """Take no more: hand back what was delivered and not yet returned by `next`."""
        self._quiet = True
        self._puller.silence()
        with contextlib.suppress(LogUnavailable):  # then the server has forgotten us anyway
            await self._api.connection.flush(within=1.0)  # what was on its way is here now
        while not self._waiting.empty():
            bell = self._waiting.get_nowait()
            if isinstance(bell, JetStreamBell):
                await bell.hand_back()

    async def stop(self) -> None:
        """End it."""
        await self.quiet()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._puller.close()
