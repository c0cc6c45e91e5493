"""Scans: what is lost is noticed, what breaks is mended, a slow reader is waited for."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import nats
import pytest

from pelton.runtime.jetstream import RELAXED, JetStreamLog, puller
from pelton.runtime.jetstream.parser import WholeParser
from pelton.runtime.jetstream.puller import Puller
from pelton.runtime.log import Log, LogRegressed, Record
from pelton.runtime.server import EmbeddedServer
from tests.proxy import proxy


def scanning(
    log: Log, *, after: int = 0, live: bool = False
) -> aclosing[AsyncGenerator[Sequence[Record], None]]:
    return aclosing(log.scan(after=after, live=live))


async def fill(log: Log, count: int, *, size: int = 10) -> None:
    for start in range(0, count, 200):
        numbers = range(start, min(start + 200, count))
        await asyncio.gather(
            *(log.append("evt.a.c", bytes(size), id=f"{count}/{size}/{n}") for n in numbers)
        )


async def consumers(url: str) -> list[str]:
    async with await nats.connect(url) as client:
        return [info.name for info in await client.jetstream().consumers_info("LOG")]


async def test_a_scan_goes_on_when_its_consumer_is_deleted(
    log: JetStreamLog, nats_url: str
) -> None:
    await fill(log, 20_000)
    seen: list[int] = []
    deleted = 0
    async with scanning(log) as batches:
        async for batch in batches:
            seen += [record.sequence for record in batch]
            if deleted < 3:
                for name in await consumers(nats_url):
                    async with await nats.connect(nats_url) as client:
                        deleted += await client.jetstream().delete_consumer("LOG", name)
    assert deleted == 3
    assert seen == list(range(1, 20_001))


async def test_a_scan_goes_on_when_the_connection_is_cut(nats_server: EmbeddedServer) -> None:
    user = nats_server.url.rpartition("@")[0]
    async with (
        proxy(nats_server.address) as (between, address),
        JetStreamLog.open(f"{user}@{address}", profile=RELAXED) as log,
    ):
        await fill(log, 20_000, size=200)
        seen: list[int] = []
        async with scanning(log) as batches:
            async for batch in batches:
                seen += [record.sequence for record in batch]
                if between.cuts < 4 and len(seen) > 3000 * between.cuts:
                    between.cut()
        assert between.cuts == 4
    assert seen == list(range(1, 20_001))


async def test_a_missing_record_is_noticed(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that never arrives: the numbers have a gap, and the scan begins anew there."""
    await fill(log, 5000)
    lost = 0
    parser = log._connection._client._ps
    assert isinstance(parser, WholeParser)
    take = parser._take

    def lose(sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        nonlocal lost
        if lost < 3 and reply.startswith(b"$JS.ACK.LOG.") and b".1000." in reply:
            lost += 1
            return
        take(sid, subject, reply, headers, data)

    monkeypatch.setattr(parser, "_take", lose)
    async with scanning(log) as batches:
        seen = [record.sequence async for batch in batches for record in batch]
    assert lost > 0
    assert seen == list(range(1, 5001))


async def test_a_scan_that_ends_as_it_begins_leaves_nothing(
    log: JetStreamLog, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asyncio.Event()
    command = log._api.command

    async def late(subject: str, question: Mapping[str, Any]) -> None:
        await command(subject, question)
        made.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(log._api, "command", late)
    async with scanning(log) as batches:
        beginning = asyncio.ensure_future(anext(batches))
        await made.wait()
        assert len(await consumers(nats_url)) == 1
        beginning.cancel()
        await asyncio.wait((beginning,))
    async with asyncio.timeout(5):
        while await consumers(nats_url):
            await asyncio.sleep(0.01)


async def test_a_slow_reader_gets_everything_and_holds_little(log: JetStreamLog) -> None:
    await fill(log, 30_000)
    seen, largest = 0, 0
    async with scanning(log) as batches:
        async for batch in batches:
            largest = max(largest, len(batch))
            seen += len(batch)
            await asyncio.sleep(0.05)
    assert seen == 30_000
    assert largest <= 4096


async def test_large_records_are_bounded_by_bytes(log: JetStreamLog) -> None:
    await fill(log, 40, size=1_000_000)
    largest = 0
    async with scanning(log) as batches:
        seen = 0
        async for batch in batches:
            largest = max(largest, len(batch))
            seen += len(batch)
            await asyncio.sleep(0.05)
    assert seen == 40
    assert largest <= 14, "what waits, and two pulls, of 4 MB each and a record"


async def test_a_live_scan_of_another_log_stops(nats_server: EmbeddedServer) -> None:
    """The log went backwards while we read it (law 13)."""
    async with JetStreamLog.open(nats_server.url, profile=RELAXED) as log:
        await fill(log, 10)
        async with scanning(log, live=True) as batches:
            assert len(await anext(batches)) == 10
            assert await anext(batches) == []
            async with await nats.connect(nats_server.url) as client:
                await client.jetstream().delete_stream("LOG")
            async with JetStreamLog.open(nats_server.url, profile=RELAXED) as other:
                await fill(other, 3)
                async with asyncio.timeout(15):
                    with pytest.raises(LogRegressed):
                        await anext(batches)


async def test_reading_is_as_fast_as_bare_reading(log: JetStreamLog, nats_url: str) -> None:
    """Measure, and print; the bar of 0.8 is asserted with much room, on a busy machine."""
    total = 15_000
    await fill(log, total, size=256)

    async def ours() -> float:
        begin = time.perf_counter()
        async with scanning(log) as batches:
            assert sum([len(batch) async for batch in batches]) == total
        return total / (time.perf_counter() - begin)

    async def bare() -> float:
        seen, done = 0, asyncio.Event()

        async def one(_: object) -> None:
            nonlocal seen
            seen += 1
            if seen == total:
                done.set()

        async with await nats.connect(nats_url) as client:
            begin = time.perf_counter()
            subscription = await client.jetstream().subscribe(
                ">", stream="LOG", ordered_consumer=True, cb=one
            )
            await done.wait()
            elapsed = time.perf_counter() - begin
            await subscription.unsubscribe()
        return total / elapsed

    pairs = [(await ours(), await bare()) for _ in range(2)]
    best = max(mine for mine, _ in pairs), max(theirs for _, theirs in pairs)
    print(f"scan {best[0]:,.0f}/s, bare nats-py {best[1]:,.0f}/s, {best[0] / best[1]:.2f} x")
    assert best[0] > 0.4 * best[1]


async def test_what_comes_while_the_reader_is_busy_is_fetched_in_one_go(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who has all waits for one record; what came meanwhile does not come one by one."""
    wanted = watched(monkeypatch)
    async with scanning(log, live=True) as batches:
        assert await anext(batches) == []
        await fill(log, 100)
        seen: list[int] = []
        async for batch in batches:
            seen += [record.sequence for record in batch]
            if len(seen) == 100:
                break
    assert seen == list(range(1, 101))
    assert wanted == [1, 99]


async def test_a_reader_who_waits_longer_than_a_pull_lasts_is_still_served(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "_EXPIRES", 1)
    monkeypatch.setattr(puller, "HEARTBEAT", 0.4)  # the server wants it below half of that
    wanted = watched(monkeypatch)
    async with scanning(log, live=True) as batches:
        assert await anext(batches) == []
        following = asyncio.ensure_future(anext(batches))
        while len(wanted) < 3:
            await asyncio.sleep(0.05)
        await fill(log, 1)
        assert [record.sequence for record in await following] == [1]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of all credit that is given from now on."""
    wanted: list[int] = []
    want = Puller.want

    def watch(self: Puller, count: int) -> None:
        wanted.append(count)
        want(self, count)

    monkeypatch.setattr(Puller, "want", watch)
    return wanted
