"""Reading the log from a position on, in order and without loss, as fast as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from pelton.runtime.clock import World
from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api
from pelton.runtime.jetstream.puller import Puller
from pelton.runtime.jetstream.streams import LOG
from pelton.runtime.log import LogRegressed, Record

_WINDOW: Final = 4096
"""Records that the server may send ahead of the reader."""

_BYTES: Final = 4 * 1024 * 1024
"""And how many bytes: of each pull, and of what waits for the reader."""

_IDLE: Final = 60
"""Seconds after which the server drops a consumer that nobody pulls from."""


async def scan(
    api: Api, *, after: int, pattern: str, live: bool, world: World
) -> AsyncGenerator[Sequence[Record], None]:
    """Yield all matching records above `after`, in batches; see the port."""
    reading = _Reading(api, after=after, pattern=pattern, world=world)
    try:
        end = await reading.start()
        while True:
            batch, reached = await reading.batch()
            if not live and batch and batch[-1].sequence >= end:
                batch = [record for record in batch if record.sequence <= end]
                reached = True
            if batch:
                yield batch
            if reached:
                if not live:
                    return
                yield []
    finally:
        await reading.stop()


class _Reading:
    """A consumer of this scan's own, made again wherever it was lost."""

    def __init__(self, api: Api, *, after: int, pattern: str, world: World) -> None:
        self._api = api
        self._pattern = pattern
        self._world = world
        self._position = after
        self._end = 0
        self._more = 0
        """How many records the server has yet to send, as far as we know."""
        self._number: int = 0
        self._reached = False
        self._awaited = False
        """Whether the reader waits."""
        self._arrived: list[tuple[bytes, bytes, bytes]] = []
        """Deliveries that were not read yet: subject, reply subject and data."""
        self._records: list[Record] = []
        self._size = 0
        self._failure: BaseException | None = None
        self._ready = asyncio.Event()
        self._puller = Puller(
            api.connection,
            LOG,
            deliver=self._deliver,
            mend=self._mend,
            max_bytes=max(_BYTES, 2 * api.connection.max_payload),
        )
        self._watch: asyncio.Task[None] | None = None
        self._consumer = ""

    async def start(self) -> int:
        """Begin, and return the last sequence that is there now."""
        await self._puller.open(self._refill)
        self._watch = asyncio.create_task(self._watched(), name="scan")
        return self._end

    async def _watched(self) -> None:
        try:
            await self._puller.watch()
        except Exception as error:  # noqa: BLE001 - it is the reader's: `batch` raises it
            self._failure = error
            self._ready.set()

    async def _mend(self) -> str:
        self._read()
        info = await self._api.stream(LOG)
        if info is None and self._position:
            raise LogRegressed("the log is gone that was read before")
        last = info.state.last_seq if info else 0
        if last < self._position:
            raise LogRegressed(
                f"the log ends at {last}, but {self._position} was read before:"
                " it is not the log it was"
            )
        self._end = await self._last_match(last)
        self._more = self._end - self._position
        self._free()
        name = f"scan-{self._world.new_id()}"
        self._consumer = name  # and if this is cut off, it is freed
        await self._api.command(
            f"$JS.API.CONSUMER.CREATE.{LOG}.{name}",
            {
                "stream_name": LOG,
                "config": {
                    "name": name,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": self._position + 1,
                    "ack_policy": "none",
                    "filter_subject": self._pattern,
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": _IDLE * wire.SECOND,
                    "max_deliver": 1,
                },
            },
        )
        self._number = 0
        if self._position >= self._end:
            self._reached = True
            self._ready.set()
        return name

    async def _last_match(self, last: int) -> int:
        """Return the sequence of the last record that matches now.

        The leader must say it: the consumer may be where a replica is behind, and takes the end of
        that for the end of the log.
        """
        if self._pattern == ">" or last == self._position:
            return last
        found = await self._api.stored(LOG, {"last_by_subj": self._pattern})
        return found.record.sequence if found else 0

    def _refill(self) -> None:
        """Ask for what is there, as far as there is room.

        What is not there yet would come one by one, at the cost of a wake-up each, here and at the
        server. So a reader who has all, and waits, asks for one; and when it comes, for the others.
        """
        if self._size > _BYTES:
            return
        self._read()
        credit = self._puller.credit
        idle = self._awaited and not self._ready.is_set()
        there = max(self._more, 1) if idle else self._more
        wanted = min(_WINDOW - len(self._records), there) - credit
        if wanted > 0 and credit <= _WINDOW // 2:
            self._puller.want(wanted)

    def _deliver(self, subject: bytes, reply: bytes, data: bytes) -> None:
        if not self._arrived:
            self._ready.set()
        self._arrived.append((subject, reply, data))
        self._size += len(data)
        if self._puller.credit <= 0:
            self._refill()

    def _read(self) -> None:
        """Make records of what has arrived; together they cost less than one by one."""
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        _, last, number, _, more = wire.delivery(arrived[-1][1])
        if number != self._number + len(arrived):
            self._number = -1  # one is missing: nothing counts until there is a new consumer
            self._puller.lost()
            return
        records = self._records
        for subject, reply, data in arrived:
            sequence, received_ns = wire.stored(reply)
            records.append(Record(sequence, subject.decode(), data, received_ns))
        self._number, self._position, self._more = number, last, more
        if not more and self._position >= self._end:
            self._reached = True

    async def batch(self) -> tuple[Sequence[Record], bool]:
        """Return what has come, and whether that is all there is; waits until something has."""
        if not self._ready.is_set():
            self._awaited = True
            self._refill()
            await self._ready.wait()
            self._awaited = False
        if self._failure is not None:
            raise self._failure
        self._read()
        records, self._records = self._records, []
        reached, self._reached = self._reached, False
        self._size = 0
        self._ready.clear()
        self._refill()
        return records, reached

    async def stop(self) -> None:
        """Free what the server holds."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._puller.close()
        self._free()

    def _free(self) -> None:
        if self._consumer:
            self._api.connection.publish(f"$JS.API.CONSUMER.DELETE.{LOG}.{self._consumer}")
