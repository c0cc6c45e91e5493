"""The contract of the log: records, leases, blobs, and what a dead server does to a caller."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress

import pytest

from pelton.events.presence import Beat
from pelton.runtime.log import (
    BlobMissing,
    Conflict,
    Extent,
    Log,
    LogUnavailable,
    Record,
    TooLarge,
)
from tests.contract.worlds import LogWorld, contract, eventually

EVT, CMD = "evt.echo.c1", "cmd.echo.c1"


async def fill(log: Log, subject: str, count: int, *, first: int = 1) -> list[int]:
    """Append `count` records `subject/1`, `subject/2`, … in order."""
    numbers = range(first, first + count)
    return [await log.append(subject, b"%d" % n, id=f"{subject}/{n}") for n in numbers]


def scanning(
    log: Log, *, after: int = 0, pattern: str = ">", live: bool = False
) -> aclosing[AsyncGenerator[Sequence[Record], None]]:
    """Return a scan that is closed with the context."""
    return aclosing(log.scan(after=after, pattern=pattern, live=live))


def texts(records: Sequence[Record]) -> list[bytes]:
    return [record.data for record in records]


@contract(lossy=True)
async def test_records_are_stored_in_one_order(world: LogWorld) -> None:
    log = await world.open()
    assert await log.extent() == Extent(1, 0)

    assert await log.append(EVT, b"one", id="1", expect=0) == 1
    assert await log.append(CMD, b"two", id="2") == 2
    assert await log.append(EVT, b"three", id="3", expect=1) == 3

    assert await log.extent() == Extent(1, 3)
    records = await log.read(EVT, decisive=True)
    assert [(r.sequence, r.subject, r.data) for r in records] == [
        (1, EVT, b"one"),
        (3, EVT, b"three"),
    ]
    assert records[0].received_ns <= records[1].received_ns


@contract()
async def test_of_concurrent_writers_one_wins(world: LogWorld) -> None:
    writers = [await world.open() for _ in range(6)]
    head = 0
    for turn in range(20):
        outcomes = await asyncio.gather(
            *(log.append(EVT, b"", id=f"{turn}/{n}", expect=head) for n, log in enumerate(writers)),
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, int)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert (len(won), len(lost)) == (1, 5), outcomes
        for conflict in lost:
            assert (conflict.subject, conflict.expected) == (EVT, head)
            assert conflict.actual in {won[0], None}
        head = won[0]
    assert len(await writers[0].read(EVT, decisive=True)) == 20


@contract(lossy=True)
async def test_concurrent_writers_that_read_again_all_get_through(world: LogWorld) -> None:
    async def add(log: Log, name: str, count: int) -> None:
        for number in range(count):
            attempt = 0
            while True:
                attempt += 1
                records = await log.read(EVT, decisive=True)
                total = int(records[-1].data) if records else 0
                head = records[-1].sequence if records else 0
                try:
                    data, id_ = b"%d" % (total + 1), f"{name}/{number}/{attempt}"
                    await log.append(EVT, data, id=id_, expect=head)
                except Conflict:
                    continue
                break

    writers = [await world.open() for _ in range(4)]
    await asyncio.gather(*(add(log, f"w{n}", 5) for n, log in enumerate(writers)))
    assert texts(await writers[0].read(EVT, decisive=True)) == [b"%d" % n for n in range(1, 21)]


@contract(lossy=True)
async def test_a_wrong_expectation_is_a_conflict(world: LogWorld) -> None:
    log = await world.open()
    with pytest.raises(Conflict) as too_high:
        await log.append(EVT, b"", id="1", expect=99)
    assert too_high.value.actual in {0, None}

    await fill(log, EVT, 2)
    for stale in (0, 1):
        with pytest.raises(Conflict) as conflict:
            await log.append(EVT, b"", id=f"stale {stale}", expect=stale)
        assert (conflict.value.expected, conflict.value.actual) in {(stale, 2), (stale, None)}
    assert len(await log.read(EVT, decisive=True)) == 2


@contract(lossy=True)
async def test_the_expectation_is_about_one_subject(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, "evt.echo.other", 3)
    assert await log.append(EVT, b"", id="a", expect=0) == 4
    assert await log.append(EVT, b"", id="b", expect=4) == 5


@pytest.mark.accepts("AS-9")
@contract(lossy=True)
async def test_an_append_that_was_stored_is_recognised(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    assert await log.append(EVT, b"mine", id="mine", expect=0) == 1
    assert await log.append(EVT, b"mine", id="mine", expect=0) == 1
    assert await other.append(EVT, b"theirs", id="theirs", expect=1) == 2
    assert await log.append(EVT, b"mine", id="mine", expect=0) == 1
    assert await log.extent() == Extent(1, 2)


@pytest.mark.accepts("AS-9")
@contract(lossy=True)
async def test_an_id_without_expectation_is_stored_once(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    assert await log.append(CMD, b"first", id="same") == 1
    await fill(log, EVT, 1)
    assert await log.append(CMD, b"second", id="same") == 1
    assert await other.append(CMD, b"third", id="same") == 1
    assert texts(await log.read(CMD, decisive=True)) == [b"first"]


@contract()
async def test_one_id_from_many_at_once_is_stored_once(world: LogWorld) -> None:
    logs = [await world.open() for _ in range(5)]
    sequences = await asyncio.gather(*(log.append(CMD, b"", id="same") for log in logs))
    assert sequences == [1] * 5
    assert await logs[0].extent() == Extent(1, 1)


@contract(lossy=True)
async def test_a_refused_append_does_not_use_up_its_id(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 1)
    with pytest.raises(Conflict):
        await log.append(EVT, b"", id="again", expect=0)
    assert await log.append(EVT, b"", id="again", expect=1) == 2


@pytest.mark.accepts("AS-9")
@contract()
async def test_records_and_ids_survive_a_kill_of_the_server(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, CMD, 3)
    await world.kill_server()
    await world.start_server()
    assert await log.append(CMD, b"", id=f"{CMD}/2") == 2
    assert await log.append(CMD, b"4", id="4") == 4
    assert texts(await log.read(CMD, decisive=True)) == [b"1", b"2", b"3", b"4"]


@contract()
async def test_an_append_during_an_outage_is_stored_once(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 1)
    await world.kill_server()
    async with asyncio.TaskGroup() as tasks:
        append = tasks.create_task(log.append(EVT, b"2", id="2", expect=1))
        await asyncio.sleep(0.5)  # an outage of some length
        await world.start_server()
    assert append.result() == 2
    assert await log.extent() == Extent(1, 2)


@contract()
async def test_a_record_that_is_too_large_is_refused(world: LogWorld) -> None:
    log = await world.open()
    with pytest.raises(TooLarge):
        await log.append(EVT, bytes(world.too_large), id="1", expect=0)
    assert await log.append(EVT, b"small", id="2", expect=0) == 1


@contract(lossy=True)
async def test_read_returns_what_comes_after_a_position(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 3)
    await fill(log, CMD, 3)
    await fill(log, EVT, 2, first=4)

    async def read(after: int = 0, limit: int | None = None) -> list[bytes]:
        return texts(await log.read(EVT, after=after, limit=limit, decisive=True))

    assert await read() == [b"1", b"2", b"3", b"4", b"5"]
    assert await read(after=2) == [b"3", b"4", b"5"]
    assert await read(after=4) == [b"4", b"5"]
    assert await read(after=8) == []
    assert await read(after=1000) == []
    assert await read(limit=2) == [b"1", b"2"]
    assert await read(after=3, limit=1) == [b"4"]
    assert list(await log.read("evt.echo.unknown", decisive=True)) == []


@contract()
async def test_read_returns_all_of_a_long_context(world: LogWorld) -> None:
    log = await world.open()
    for hundred in range(12):
        names = [f"{hundred}/{n}" for n in range(100)]
        await asyncio.gather(*(log.append(EVT, n.encode(), id=n) for n in names))
    for decisive in (True, False):
        records = list(await log.read(EVT, decisive=decisive))
        while len(records) < 1200:  # a replica may be a little behind
            await asyncio.sleep(0.01)
            records = list(await log.read(EVT, decisive=decisive))
        assert [record.sequence for record in records] == list(range(1, 1201))
    assert len(await log.read(EVT, limit=700)) == 700


@contract()
async def test_a_decisive_read_sees_what_another_has_just_stored(world: LogWorld) -> None:
    writer, reader = await world.open(), await world.open()
    for number in range(1, 20):
        await fill(writer, EVT, 1, first=number)
        assert len(await reader.read(EVT, decisive=True)) == number


@contract(lossy=True)
async def test_latest_returns_the_last_record_of_each_subject(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, "evt.echo.c1", 3)
    await fill(log, "evt.echo.c2", 2)
    await fill(log, "evt.other.c1", 1)

    async def latest(pattern: str) -> dict[str, bytes]:
        return {record.subject: record.data for record in await log.latest(pattern)}

    assert await latest("evt.echo.*") == {"evt.echo.c1": b"3", "evt.echo.c2": b"2"}
    assert await latest("evt.>") == {
        "evt.echo.c1": b"3",
        "evt.echo.c2": b"2",
        "evt.other.c1": b"1",
    }
    assert await latest("evt.echo.c2") == {"evt.echo.c2": b"2"}
    assert await latest("cmd.>") == {}


@contract(lossy=True)
async def test_at_returns_one_record(world: LogWorld) -> None:
    log = await world.open()
    assert await log.at(1) is None
    await fill(log, EVT, 2)
    record = await log.at(2)
    assert record is not None
    assert record == (await log.read(EVT, decisive=True))[1]
    assert await log.at(3) is None


@contract(lossy=True)
async def test_a_lease_is_held_by_one(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    lease = await log.lease("echo", "c1", holder="a", ttl=30)
    assert lease is not None
    assert await other.lease("echo", "c1", holder="b", ttl=30) is None
    assert await other.lease("echo", "c1", holder="a", ttl=30) is None, "a name is no lease"
    assert await other.lease("echo", "c2", holder="b", ttl=30)
    assert await other.lease("other", "c1", holder="b", ttl=30)

    assert await lease.renew()
    await lease.release()
    taken = await other.lease("echo", "c1", holder="b", ttl=30)
    assert taken is not None
    assert not await lease.renew()
    await lease.release()
    assert await taken.renew(), "whoever lost a lease must not end another's"


@contract()
async def test_of_many_who_want_a_lease_one_gets_it(world: LogWorld) -> None:
    logs = [await world.open() for _ in range(6)]
    leases = await asyncio.gather(
        *(log.lease("echo", "c1", holder=f"{n}", ttl=30) for n, log in enumerate(logs))
    )
    assert sum(lease is not None for lease in leases) == 1


@contract()
async def test_a_lease_ends_unless_it_is_renewed(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    lease = await log.lease("echo", "c1", holder="a", ttl=1.0)
    assert lease is not None
    for _ in range(4):
        await asyncio.sleep(0.4)
        assert await lease.renew()
        assert await other.lease("echo", "c1", holder="b", ttl=1.0) is None

    async def taken() -> bool:
        return await other.lease("echo", "c1", holder="b", ttl=30) is not None

    await eventually(taken, within=5)
    assert not await lease.renew()


@contract(lossy=True)
async def test_a_heartbeat_is_heard_until_it_is_given_up(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    assert await other.beats() == []
    lease = await log.lease("echo", "c.1.x", holder="a", ttl=30)
    assert lease is not None
    starting = await log.beat("echo", "one", Beat.STARTING, ttl=30)
    serving = await log.beat("echo", "one", Beat.SERVING, ttl=30)
    assert starting is not None
    assert serving is not None
    assert await log.beat("poet", "two words", Beat.DRAINING, ttl=30)
    assert await other.beat("echo", "one", Beat.SERVING, ttl=30) is None, "it is said already"
    assert await other.beats() == [
        ("echo", "one", Beat.SERVING),
        ("echo", "one", Beat.STARTING),
        ("poet", "two words", Beat.DRAINING),
    ]
    await starting.release()
    assert await serving.renew()
    assert [beat.beat for beat in await other.beats()] == [Beat.SERVING, Beat.DRAINING]


@contract()
async def test_a_heartbeat_that_is_not_renewed_is_heard_no_more(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    beat = await log.beat("echo", "one", Beat.SERVING, ttl=1.0)
    assert beat is not None
    for _ in range(4):
        await asyncio.sleep(0.4)
        assert await beat.renew()
        assert len(await other.beats()) == 1

    async def silent() -> bool:
        return not await other.beats()

    await eventually(silent, within=5)
    assert not await beat.renew()


@contract(lossy=True)
async def test_blobs_are_stored_by_their_hash(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    for data in (b"bulk", b"", bytes(range(256)) * 12_000):
        name = await log.put_blob(data)
        assert name == hashlib.sha256(data).hexdigest()
        assert await other.put_blob(data) == name
        assert await other.get_blob(name) == data


@contract()
async def test_a_blob_that_is_not_there_is_missing(world: LogWorld) -> None:
    log = await world.open()
    with pytest.raises(BlobMissing):
        await log.get_blob(hashlib.sha256(b"never stored").hexdigest())


@contract()
async def test_a_damaged_blob_is_missing(world: LogWorld) -> None:
    log = await world.open()
    name = await log.put_blob(b"worth keeping")
    await world.damage_blob(name)
    with pytest.raises(BlobMissing):
        await log.get_blob(name)


@contract()
async def test_blobs_survive_a_kill_of_the_server(world: LogWorld) -> None:
    log = await world.open()
    name = await log.put_blob(b"bulk")
    await world.kill_server()
    await world.start_server()
    assert await log.get_blob(name) == b"bulk"


@pytest.mark.accepts("AS-62")
@contract()
async def test_every_call_to_a_dead_server_ends_in_time(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, EVT, 1)
    lease = await log.lease("echo", "held", holder="a", ttl=30)
    assert lease is not None
    blob = await log.put_blob(b"bulk")
    assert log.connected

    async def scan() -> None:
        async with scanning(log) as batches:
            await anext(batches)

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: log.append(EVT, b"", id="2", expect=1),
        lambda: log.append(CMD, b"", id="3"),
        lambda: log.read(EVT),
        lambda: log.read(EVT, decisive=True),
        lambda: log.latest("evt.>"),
        log.extent,
        lambda: log.at(1),
        scan,
        lambda: log.lease("echo", "c1", holder="a", ttl=1),
        lambda: log.beat("echo", "one", Beat.SERVING, ttl=1),
        log.beats,
        lease.renew,
        lease.release,
        lambda: log.put_blob(b"more bulk"),
        lambda: log.get_blob(blob),
    ]
    await world.kill_server()

    async def refused(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(LogUnavailable):
            await call()

    async with asyncio.timeout(world.deadline + 1.0):
        await asyncio.gather(*(refused(call) for call in calls))
    assert not log.connected

    await world.start_server()
    await eventually(lambda: log.connected)
    assert len(await log.read(EVT, decisive=True)) in {1, 2}, "an append that failed is unknown"


@contract()
async def test_what_is_open_when_the_server_dies_can_be_closed(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, CMD, 2)
    async with asyncio.timeout(world.deadline * 5), AsyncExitStack() as stack:
        await stack.enter_async_context(log.listen("evt.>", lambda _: None))
        bells = await stack.enter_async_context(log.bells("echo", capacity=1))
        bell = await bells.next()
        live = await stack.enter_async_context(scanning(log, live=True))
        await anext(live)
        await world.kill_server()
        for answer in (bell.working, bell.done, bell.hand_back, bells.quiet):
            with suppress(LogUnavailable):
                await answer()
    await world.start_server()
