"""The contract of the log: reading all of it, and hearing what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from pelton.runtime.log import Heard, Log, LogRegressed, Record
from tests.contract.test_log import CMD, EVT, fill, scanning, texts
from tests.contract.worlds import LogWorld, contract, eventually


async def everything(log: Log, *, after: int = 0, pattern: str = ">") -> list[Record]:
    """Return all that a bounded scan yields."""
    async with scanning(log, after=after, pattern=pattern) as batches:
        return [record async for batch in batches for record in batch]


@contract(lossy=True)
async def test_a_scan_yields_everything_in_order(world: LogWorld) -> None:
    log = await world.open()
    assert await everything(log) == []
    for n in range(0, 1000, 100):
        appends = (log.append(f"evt.echo.c{i % 7}", b"", id=f"{i}") for i in range(n, n + 100))
        await asyncio.gather(*appends)
    records = await everything(log)
    assert [record.sequence for record in records] == list(range(1, 1001))
    assert records[499] == await log.at(500)


@contract(lossy=True)
async def test_a_scan_begins_after_a_position_and_matches_a_pattern(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 3)
    await fill(log, CMD, 2)
    await fill(log, EVT, 1, first=4)
    assert [r.sequence for r in await everything(log, after=2)] == [3, 4, 5, 6]
    assert [r.sequence for r in await everything(log, after=1, pattern="evt.>")] == [2, 3, 6]
    assert [r.sequence for r in await everything(log, pattern="cmd.echo.*")] == [4, 5]
    assert await everything(log, after=6) == []
    assert await everything(log, pattern="evt.nobody.>") == []
    assert await everything(log, after=3, pattern="cmd.nobody.*") == []


@contract()
async def test_a_scan_ends_where_the_log_ended_when_it_began(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 600)
    async with scanning(log) as batches:
        seen = len(await anext(batches))
        await fill(log, EVT, 5, first=601)
        async for batch in batches:
            seen += len(batch)
    assert seen == 600


@contract()
async def test_a_scan_of_a_log_that_is_shorter_is_refused(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 2)
    for live in (False, True):
        async with scanning(log, after=3, live=live) as batches:
            with pytest.raises(LogRegressed):
                await anext(batches)


async def take(batches: AsyncGenerator[Sequence[Record], None]) -> list[bytes]:
    """Return what a live scan yields until it says that it is at the end."""
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while batch := await anext(batches):
            found += texts(batch)
    return found


@contract(lossy=True)
async def test_a_live_scan_goes_on(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    async with scanning(log, live=True) as batches:
        assert await take(batches) == []
        await fill(other, EVT, 1)
        assert await take(batches) == [b"1"]
        await fill(other, EVT, 700, first=2)
        found: list[bytes] = []
        while len(found) < 700:
            found += await take(batches)
        assert found == [b"%d" % n for n in range(2, 702)]


@contract()
async def test_a_live_scan_begins_with_what_is_there(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 3)
    await fill(log, CMD, 3)
    async with scanning(log, after=1, pattern="evt.>", live=True) as batches:
        assert await take(batches) == [b"2", b"3"]
        await fill(log, CMD, 1, first=4)
        await fill(log, EVT, 1, first=4)
        found: list[bytes] = []
        while not found:
            found = await take(batches)
        assert found == [b"4"]


@contract()
async def test_a_live_scan_survives_the_server(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, EVT, 2)
    async with scanning(log, live=True) as batches:
        assert await take(batches) == [b"1", b"2"]
        found: list[bytes] = []
        for first in (3, 5):
            await world.kill_server()
            await world.start_server()
            await fill(other, EVT, 2, first=first)
            while len(found) < first - 1:
                found += await take(batches)
        assert found == [b"3", b"4", b"5", b"6"]


@contract()
async def test_a_closed_scan_leaves_nothing_behind(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 600)
    before = await world.readers()
    for live in (False, True):
        async with scanning(log, live=live) as batches:
            await anext(batches)
    await everything(log)

    async def freed() -> bool:
        return await world.readers() == before

    await eventually(freed)


@contract()
async def test_listeners_hear_what_is_stored(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, EVT, 1)
    heard: list[Heard] = []
    all_heard: list[Heard] = []
    async with log.listen("evt.echo.*", heard.append), other.listen(">", all_heard.append):
        await log.append(EVT, b"b", id="2")
        await other.append(CMD, b"c", id="3")
        await log.append("evt.echo.c2", b"d", id="4")
        await other.append("evt.other.c1", b"e", id="5")
        await log.append(EVT, b"f", id="6")
        await eventually(lambda: len(heard) >= 3 and len(all_heard) >= 5)
    assert heard == [
        Heard(2, 1, EVT, b"b"),
        Heard(4, 0, "evt.echo.c2", b"d"),
        Heard(6, 2, EVT, b"f"),
    ]
    assert [copy.sequence for copy in all_heard] == [2, 3, 4, 5, 6]

    await log.append(EVT, b"g", id="7")
    async with log.listen(EVT, heard.append):
        await log.append(EVT, b"h", id="8")
        await eventually(lambda: len(heard) > 3)
    assert heard[3:] == [Heard(8, 7, EVT, b"h")], "nothing is heard outside the context"


@contract()
async def test_what_is_told_is_heard_and_not_stored(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    heard: list[bytes] = []
    elsewhere: list[bytes] = []
    copies: list[Heard] = []
    begun: set[tuple[str, bytes]] = set()

    def both_hear_both() -> bool:
        """Other servers of a cluster know some moments later who hears at this one."""
        log.tell("begun", b"here")
        other.tell("begun", b"there")
        return len(begun) == 4

    async with (
        log.told("rates", heard.append),
        other.told("rates", heard.append),
        other.told("others", elsewhere.append),
        other.listen(">", copies.append),
        log.told("begun", lambda data: begun.add(("here", data))),
        other.told("begun", lambda data: begun.add(("there", data))),
    ):
        await eventually(both_hear_both)
        log.tell("rates", b"one")
        await eventually(lambda: len(heard) == 2)
        other.tell("rates", b"two")
        await eventually(lambda: len(heard) == 4)
    log.tell("rates", b"three")
    await log.append(EVT, b"", id="1")
    assert heard == [b"one", b"one", b"two", b"two"]
    assert not elsewhere
    assert not copies
    assert await log.extent() == (1, 1)


@contract()
async def test_live_copies_come_in_order(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    heard: list[int] = []
    async with log.listen("evt.>", lambda copy: heard.append(copy.sequence)):
        for hundred in range(3):
            appends = (other.append(EVT, b"", id=f"{hundred}/{n}") for n in range(100))
            await asyncio.gather(*appends)
        await eventually(lambda: len(heard) >= 300)
    assert heard == list(range(1, 301))


@contract()
async def test_a_listener_is_told_when_it_may_have_missed_something(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    heard: list[int] = []
    restored: list[int] = []
    silent: list[int] = []
    stop = log.on_restored(lambda: restored.append(1))
    log.on_restored(lambda: silent.append(1))()
    async with log.listen("evt.>", lambda copy: heard.append(copy.sequence)):
        await other.append(EVT, b"", id="1")
        await eventually(lambda: heard == [1])
        assert not restored
        await world.kill_server()
        await world.start_server()
        await eventually(lambda: bool(restored))
        assert log.connected
        await asyncio.sleep(0.5)  # until the server has heard from us again
        await other.append(EVT, b"", id="2")
        await eventually(lambda: heard[-1] == 2)
    assert set(heard) == {1, 2}, "the last one before may come again, from a new leader"
    told = len(restored)
    stop()
    await world.kill_server()
    await world.start_server()
    await eventually(lambda: log.connected)
    assert len(restored) == told
    assert not silent
