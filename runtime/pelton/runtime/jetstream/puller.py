"""Pulling from a consumer: credit instead of requests, and a watch over the server's silence.

The server is given a credit of messages and sends them as they come, with a heartbeat when none do.
What it may send is bounded by what we have room for, so nothing is ever dropped; when neither a
message nor a heartbeat comes, or the consumer is gone, the owner mends it and pulling goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.client import Connection, Subscription
from pelton.runtime.log import LogUnavailable

HEARTBEAT: Final = 1.0
"""Seconds between signs of life from the server while there are no messages."""

_SILENCE: Final = 2.5 * HEARTBEAT
"""Seconds without any sign of life after which the consumer is looked after."""

_EXPIRES: Final = 30
"""Seconds after which the server ends a pull that it could not fill."""

_log = structlog.get_logger(__name__)


class Puller:
    """Pulls from one consumer after another, as its owner makes them.

    `deliver` is called with subject, reply subject and data of each message; `mend` makes sure that
    there is a consumer and returns its name. Credit is asked for with `want`.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        *,
        deliver: Callable[[bytes, bytes, bytes], None],
        mend: Callable[[], Awaitable[str]],
        max_bytes: int = 0,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._deliver = deliver
        self._mend = mend
        self._max_bytes = max_bytes
        self._consumer = ""
        self.credit = 0
        """How many messages the server may still send."""
        self._pulls: dict[bytes, int] = {}
        """The credit left of each pull that the server has, oldest first, when last settled."""
        self._number = 0
        self._inbox = ""
        self._signs = 0
        """Of life, from the server."""
        self._subscription: Subscription | None = None
        self._broken = asyncio.Event()
        self._refill: Callable[[], None] = lambda: None

    async def open(self, refill: Callable[[], None]) -> None:
        """Begin; `refill` is called whenever credit may have ended without being used."""
        self._refill = refill
        self._consumer = await self._mend()
        await self._subscribe()
        refill()

    async def _subscribe(self) -> None:
        self._inbox = self._connection.new_inbox()
        self._skip = len(self._inbox) + 1
        self._pulls.clear()
        self.credit = 0
        self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._receive)

    def want(self, count: int) -> None:
        """Give the server credit for so many more messages."""
        self._settle()
        self._number += 1
        question: dict[str, int] = {
            "batch": count,
            "expires": _EXPIRES * wire.SECOND,
            "idle_heartbeat": int(HEARTBEAT * wire.SECOND),
        }
        if self._max_bytes:
            question["max_bytes"] = self._max_bytes
        self._pulls[b"%d" % self._number] = count
        self.credit += count
        self._connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            wire.encode(question),
            reply=f"{self._inbox}.{self._number}",
        )

    def _receive(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self._signs += 1
        if reply[:8] == b"$JS.ACK.":
            self.credit -= 1
            self._deliver(subject, reply, data)
            return
        status = wire.status(headers)
        if status == 100:
            return
        self._settle()
        self.credit -= self._pulls.pop(subject[self._skip :], 0)
        if status == 503 or (status == 409 and b"Consumer" in headers):
            self._broken.set()  # no such consumer (any more)
        else:
            self._refill()

    def _settle(self) -> None:
        """Take what has come from the credit of the pulls, the oldest first, as the server does."""
        come = sum(self._pulls.values()) - self.credit
        for number, left in tuple(self._pulls.items()):
            if come < left:
                self._pulls[number] = left - come
                break
            come -= left
            del self._pulls[number]
        self.credit = sum(self._pulls.values())

    def lost(self) -> None:
        """Have the consumer looked after at once."""
        self._broken.set()

    async def watch(self) -> None:
        """Mend what breaks, for ever; the owner runs this as a task of its own."""
        forget = self._connection.on_restored(self._broken.set)
        try:
            while True:
                await self._trouble()
                self.close()  # what the old consumer still sends must not mix with the new one's
                try:
                    self._consumer = await self._mend()
                    await self._subscribe()
                except LogUnavailable as error:
                    _log.info("a consumer cannot be mended yet", error=str(error))
                    self._broken.set()
                    await asyncio.sleep(HEARTBEAT / 4)
                    continue
                self._refill()
        finally:
            forget()

    async def _trouble(self) -> None:
        """Wait until the consumer has to be looked after."""
        while not self._broken.is_set():
            signs = self._signs
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE):
                    await self._broken.wait()
            if self.credit > 0 and signs == self._signs:
                self._broken.set()
        self._broken.clear()

    def silence(self) -> None:
        """Take no more: the server is asked to send nothing; what is on its way still comes."""
        if self._subscription is not None:
            self._subscription.silence()

    def close(self) -> None:
        """End it."""
        if self._subscription is not None:
            self._subscription.close()
