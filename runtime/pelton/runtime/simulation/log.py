"""The log port on a simulated server: what `JetStreamLog` is on a real one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

from pelton.events.ids import token, untoken
from pelton.events.presence import Beat
from pelton.events.redact import STANDARD, Redactor
from pelton.runtime.log import (
    Bells,
    BlobMissing,
    Conflict,
    Extent,
    Heard,
    HeartBeat,
    Lease,
    LogUnavailable,
    Record,
)
from pelton.runtime.simulation.bells import SimulatedBells
from pelton.runtime.simulation.faults import Faults
from pelton.runtime.simulation.link import Link
from pelton.runtime.simulation.loop import running
from pelton.runtime.simulation.server import SimulatedServer, WrongLast
from pelton.runtime.vault import Vault

_T = TypeVar("_T")

_ATTEMPT: Final = 1.0
"""Seconds to wait for one answer before asking again."""

_IN_FLIGHT: Final = 0.005
"""Seconds until a cluster knows which of two appends won."""

_subscriptions = count()


class SimulatedLog:
    """A client of a simulated server; open it within the process that it belongs to.

    `deadline` is in seconds and holds for each call. `faults` is how bad the connection is.
    """

    def __init__(
        self,
        server: SimulatedServer,
        *,
        name: str = "client",
        deadline: float = 5.0,
        faults: Faults | None = None,
        redactor: Redactor = STANDARD,
        vault: Vault | None = None,
    ) -> None:
        self.redactor: Final = redactor
        self.vault: Final = vault
        self.link = Link(server, name, faults or Faults())
        self._server, self._name, self._deadline = server, name, deadline
        self._loop = running()
        self._keys = count()

    async def append(self, subject: str, data: bytes, *, id: str, expect: int | None = None) -> int:
        """Store one record; see the port."""
        until = self._loop.time() + self._deadline
        store = partial(self._server.append, subject, data, id, expect)
        while True:
            try:
                return await self._ask(store, until)
            except WrongLast as refusal:
                # The record right after the expected one is ours if the acknowledgement was lost.
                assert expect is not None
                winner = await self._ask(partial(self._server.following, subject, expect), until)
                if winner and winner.id == id:
                    return winner.record.sequence
                if winner or refusal.actual is not None:
                    raise Conflict(subject, expect, refusal.actual) from None
                await asyncio.sleep(_IN_FLIGHT)

    async def read(
        self, subject: str, *, after: int = 0, limit: int | None = None, decisive: bool = False
    ) -> Sequence[Record]:
        """Return the records of one subject; see the port."""
        return await self._ask(partial(self._server.read, subject, after, limit, decisive=decisive))

    async def latest(self, pattern: str) -> Sequence[Record]:
        """Return the last record of each subject; see the port."""
        return await self._ask(partial(self._server.latest, pattern))

    async def extent(self) -> Extent:
        """Return the first and the last sequence."""
        return await self._ask(self._server.extent)

    async def at(self, sequence: int) -> Record | None:
        """Return one record, if it is there."""
        return await self._ask(partial(self._server.at, sequence))

    async def scan(
        self, *, after: int = 0, pattern: str = ">", live: bool = False
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield all matching records in batches; see the port."""
        upto = None if live else (await self.extent()).last
        arrived = asyncio.Event()
        async with self.listen(pattern, lambda _: arrived.set()):
            stop = self.on_restored(arrived.set)
            at_end = False
            try:
                while True:
                    arrived.clear()
                    ask = partial(self._server.scan, after, upto, pattern)
                    position, records = await self._ask(ask, None if not live else float("inf"))
                    if records:
                        yield records
                        at_end = False
                    if position > after:
                        after = position
                    elif not live:
                        return
                    else:
                        if not at_end:
                            yield ()
                            at_end = True
                        await arrived.wait()
            finally:
                stop()

    @asynccontextmanager
    async def listen(self, pattern: str, heard: Callable[[Heard], None]) -> AsyncGenerator[None]:
        """Call `heard` with live copies; see the port."""
        key, listening = next(_subscriptions), True

        def hear(copy: Heard) -> None:
            if listening:
                heard(copy)

        deliver = self.link.inbound(hear)
        subscribe = partial(self._server.subscribe, self.link, key, pattern, deliver)
        stop = self.link.on_restored(lambda: self.link.tell(subscribe))
        try:
            await self._ask(subscribe)
            yield
        finally:
            listening = False
            stop()
            self.link.tell(partial(self._server.unsubscribe, key))

    def tell(self, topic: str, data: bytes) -> None:
        """Say something to whoever hears it now; see the port."""
        self.link.tell(partial(self._server.gossip, f"gossip.{topic}", data))

    @asynccontextmanager
    async def told(self, topic: str, heard: Callable[[bytes], None]) -> AsyncGenerator[None]:
        """Call `heard` with what is told; see the port."""
        async with self.listen(f"gossip.{topic}", lambda copy: heard(copy.data)):
            yield

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Call `restored` whenever live copies may have been lost; returns what ends that."""
        return self.link.on_restored(restored)

    @asynccontextmanager
    async def bells(
        self, agent: str, *, capacity: int, patience: float = 3.0
    ) -> AsyncGenerator[Bells]:
        """Hear the commands of an agent; see the port."""
        find = partial(self._server.queue, agent, patience)
        bells = SimulatedBells(self.link, await self._ask(find), capacity, self._ask)
        try:
            yield bells
        finally:
            bells.close()

    async def lease(self, agent: str, context: str, *, holder: str, ttl: float) -> Lease | None:
        """Take the lease of a context, or None if somebody has it."""
        return await self._lease(f"{agent}.{token(context)}", holder, ttl)

    async def beat(self, agent: str, executor: str, beat: Beat, *, ttl: float) -> Lease | None:
        """Say for a while how an executor stands to an agent; None if it is said already."""
        return await self._lease(f"{agent}.{beat}.{token(executor)}", executor, ttl)

    async def _lease(self, key: str, holder: str, ttl: float) -> Lease | None:
        mine = f"{holder} {self._name} {next(self._keys)}"
        taken = await self._ask(partial(self._server.take_lease, key, mine, max(1.0, ttl)))
        return _Lease(self, key, mine, max(1.0, ttl)) if taken else None

    async def beats(self) -> Sequence[HeartBeat]:
        """Return what executors say now of how they stand to agents."""
        found = (key.split(".") for key in await self._ask(self._server.held))
        return [
            HeartBeat(each[0], untoken(each[2]), Beat(each[1])) for each in found if len(each) == 3
        ]

    async def put_blob(self, data: bytes) -> str:
        """Store bytes under their hash and return it."""
        return await self._ask(partial(self._server.put_blob, data))

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash, verified."""
        data = await self._ask(partial(self._server.get_blob, sha256))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobMissing(f"the bytes of blob {sha256!r} are damaged")
        return data

    @property
    def connected(self) -> bool:
        """Whether the server can be reached, as far as is known now."""
        return self.link.connected

    @property
    def now(self) -> datetime:
        """The time as the server has it."""
        return self._server.world.now()

    async def renew(self, key: str, token: str, ttl: float) -> bool:
        """Renew a lease."""
        return await self._ask(partial(self._server.renew_lease, key, token, ttl))

    async def release(self, key: str, token: str) -> None:
        """Release a lease."""
        await self._ask(partial(self._server.drop_lease, key, token))

    async def _ask(self, act: Callable[[], _T], until: float | None = None) -> _T:
        """Ask until there is an answer, at most until the deadline."""
        loop = self._loop
        end = loop.time() + self._deadline if until is None else until
        while True:
            answer = self.link.ask(act)
            late = loop.call_at(min(end, loop.time() + _ATTEMPT), _give_up, answer)
            try:
                return await answer
            except TimeoutError:
                if loop.time() >= end:
                    raise LogUnavailable("the log did not answer in time: try again") from None
            finally:
                late.cancel()


def _give_up(answer: asyncio.Future[Any]) -> None:
    """End the wait for an answer; cheaper than `asyncio.timeout` for each of so many."""
    if not answer.done():
        answer.set_exception(TimeoutError())


class _Lease:
    def __init__(self, log: SimulatedLog, key: str, token: str, ttl: float) -> None:
        self._log, self._key, self._token, self._ttl = log, key, token, ttl

    async def renew(self) -> bool:
        """Keep it; False if it was lost."""
        return await self._log.renew(self._key, self._token, self._ttl)

    async def release(self) -> None:
        """Give it up."""
        await self._log.release(self._key, self._token)
