"""What three servers promise and one cannot: nothing is lost with the leader, and work goes on."""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
import pytest

from pelton.runtime.jetstream import CLUSTER, JetStreamLog
from pelton.runtime.jetstream.client import Reply
from pelton.runtime.log import Conflict, Log
from tests.cluster import Place
from tests.contract.worlds import eventually
from tests.runtime.jetstream.test_append import SUBJECT, chain, numbered, stored

RECOVERED = 15.0
"""Seconds after which writers must be at work again; elections took 4 to 9."""

pytestmark = pytest.mark.timeout(150)


@contextlib.asynccontextmanager
async def clients(place: Place, count: int) -> AsyncGenerator[list[JetStreamLog]]:
    """Give some clients, each of which knows all servers."""
    async with contextlib.AsyncExitStack() as stack:
        opened = (JetStreamLog.open(place.urls, profile=CLUSTER) for _ in range(count))
        yield [await stack.enter_async_context(each) for each in opened]


@contextlib.asynccontextmanager
async def apart(place: Place) -> AsyncGenerator[tuple[JetStreamLog, JetStreamLog]]:
    """Give a client of the leader, and one of a replica, which answers its reads."""
    async with JetStreamLog.open(place.urls, profile=CLUSTER):
        pass  # which makes the streams
    leader = await place.leader()
    replica = next(each for each in place.cluster.servers if each is not leader)
    async with (
        JetStreamLog.open(place.url(leader), profile=CLUSTER) as writer,
        JetStreamLog.open(place.url(replica), profile=CLUSTER) as reader,
    ):
        yield writer, reader


def codes_of_appends(log: JetStreamLog, codes: Counter[int], patch: pytest.MonkeyPatch) -> None:
    """Count the codes with which the server refuses appends."""
    ask = log._connection.request

    async def request(
        subject: str, data: bytes = b"", *, headers: bytes = b"", within: float
    ) -> Reply:
        reply = await ask(subject, data, headers=headers, within=within)
        if subject.startswith("evt."):
            codes[msgspec.json.decode(reply.data).get("error", {}).get("err_code", 0)] += 1
        return reply

    patch.setattr(log._connection, "request", request)


async def test_a_real_conflict_has_two_codes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of eight wins each time, whatever the others are told: 10164 while it is undecided."""
    codes: Counter[int] = Counter()
    async with clients(place, 8) as logs:
        for log in logs:
            codes_of_appends(log, codes, monkeypatch)
        head, turn = 0, 0
        while turn < 10 or (turn < 200 and not {10071, 10164} <= codes.keys()):
            appends = (
                log.append(SUBJECT, b"", id=f"{turn}/{n}", expect=head)
                for n, log in enumerate(logs)
            )
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            (head,) = [each for each in outcomes if isinstance(each, int)]
            assert sum(isinstance(each, Conflict) for each in outcomes) == 7, outcomes
            turn += 1
        assert {10071, 10164} <= codes.keys(), codes
        assert codes[0] == turn == (await logs[0].extent()).last


async def test_what_is_decisive_comes_from_the_leader(place: Place) -> None:
    """A replica is a little behind, now and then: who is told nothing by it must ask the leader."""
    async with apart(place) as (writer, reader):
        behind = 0
        sequence = 0
        for number in range(3000):
            sequence = await writer.append(SUBJECT, b"", id=f"{number}", expect=number)
            behind += not await reader.read(SUBJECT, after=number)
            if behind >= 3:
                break
        assert behind, "no replica was ever behind: this run proves nothing"
        for number in range(sequence, sequence + 300, 3):
            await writer.append(SUBJECT, b"", id=f"{number}", expect=number)
            assert await reader.read(SUBJECT, after=number, decisive=True)
            await writer.append(SUBJECT, b"", id=f"{number + 1}", expect=number + 1)
            assert await reader.at(number + 2), "a replica's word: the log went backwards (law 13)"
            await writer.append(SUBJECT, b"", id=f"{number + 2}", expect=number + 2)
            batches = reader.scan(after=number + 2, pattern="evt.>")
            assert [each.sequence async for batch in batches for each in batch] == [number + 3]


async def test_a_blob_is_there_when_it_has_been_put(place: Place) -> None:
    async with apart(place) as (writer, reader):
        for _ in range(300):
            data = os.urandom(64)
            assert await reader.get_blob(await writer.put_blob(data)) == data


async def test_a_client_finds_the_servers_that_it_was_not_told_of(place: Place) -> None:
    """And logs in to them; a list with a server that is away is no hindrance either."""
    leader = place.cluster.servers[0]
    async with JetStreamLog.open(place.url(leader), profile=CLUSTER) as log:
        assert await log.append(SUBJECT, b"1", id="1", expect=0) == 1
        leader.kill()
        begin = time.monotonic()
        assert await log.append(SUBJECT, b"2", id="2", expect=1) == 2
        assert time.monotonic() - begin < RECOVERED
        async with JetStreamLog.open(place.urls, profile=CLUSTER) as other:
            assert (await other.extent()).last == 2


class Gaps:
    """The longest time between two appends of a log."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self.longest = 0.0

    async def append(self, subject: str, data: bytes, *, id: str, expect: int | None = None) -> int:
        begin = time.monotonic()
        try:
            return await self._log.append(subject, data, id=id, expect=expect)
        finally:
            self.longest = max(self.longest, time.monotonic() - begin)


Trouble = Callable[[Place], Awaitable[None]]


async def kill_the_leader(place: Place) -> None:
    """SIGKILL the leader, and start it again when another one leads."""
    (await place.leader()).kill()
    await place.leader()
    await place.cluster.start()


async def kill_a_replica(place: Place) -> None:
    leader = await place.leader()
    next(each for each in place.cluster.servers if each is not leader).kill()
    await asyncio.sleep(1.0)  # work goes on without it for a while
    await place.cluster.start()


async def depose_the_leader(place: Place) -> None:
    for _ in range(5):
        await place.step_down()
        await asyncio.sleep(0.3)  # between two: work goes on
    await place.leader()


async def freeze_the_leader(place: Place) -> None:
    """SIGSTOP it for longer than all must take to recover: it wakes up and thinks that it leads."""
    leader = await place.leader()
    leader.pause()
    await asyncio.sleep(RECOVERED + 3.0)  # its clients must give it up, and others elect
    leader.resume()
    await place.cluster.start()


async def kill_all(place: Place) -> None:
    place.cluster.kill()
    await place.cluster.start()


async def stop_one_after_the_other(place: Place) -> None:
    """An upgrade: each server is stopped and started, the next when the cluster is whole."""
    for server in place.cluster.servers:
        await server.stop()
        await place.cluster.start()


class Scan:
    """A live scan, and all that it has yielded."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._more = asyncio.Event()
        self.seen: list[int] = []

    async def run(self) -> None:
        """Take in, for ever."""
        async with contextlib.aclosing(self._log.scan(live=True)) as batches:
            async for batch in batches:
                self.seen += [record.sequence for record in batch]
                self._more.set()

    async def reach(self, sequence: int) -> None:
        """Wait until it has come so far."""
        async with asyncio.timeout(30):
            while self.seen[-1] < sequence:
                self._more.clear()
                await self._more.wait()


@pytest.mark.accepts("G1", "G2", "AS-62")
@pytest.mark.parametrize(
    "trouble",
    [
        kill_the_leader,
        depose_the_leader,
        pytest.param(kill_a_replica, marks=pytest.mark.slow),
        pytest.param(freeze_the_leader, marks=pytest.mark.slow),
        pytest.param(kill_all, marks=pytest.mark.slow),
        pytest.param(stop_one_after_the_other, marks=pytest.mark.slow),
    ],
)
async def test_nothing_is_lost_or_doubled_and_work_goes_on(
    place: Place, trouble: Trouble, record_property: Callable[[str, object], None]
) -> None:
    """Four chains of commits and a scan, each on a connection of its own."""
    subjects = [f"evt.echo.c{number}" for number in range(4)]
    async with clients(place, 5) as logs, asyncio.TaskGroup() as tasks:
        enough = asyncio.Event()
        gaps = [Gaps(log) for log in logs[:4]]
        scan = Scan(logs[4])
        scanning = tasks.create_task(scan.run())
        writers = [
            tasks.create_task(chain(gap, subject, enough))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            for gap, subject in zip(gaps, subjects, strict=True)
        ]

        async def progress(count: int) -> None:
            before = (await logs[0].extent()).last

            async def more() -> bool:
                return (await logs[0].extent()).last >= before + count

            await eventually(more, within=40)

        await progress(200)
        await trouble(place)
        await progress(200)
        enough.set()
        acknowledged = await asyncio.gather(*writers)
        end = sum(len(sequences) for sequences in acknowledged)
        for log in logs:
            assert (await log.extent()).last == end
        for subject, sequences in zip(subjects, acknowledged, strict=True):
            records = await logs[0].read(subject, decisive=True)
            assert [(each.sequence, each.data) for each in records] == numbered(sequences)
        await scan.reach(end)
        scanning.cancel()
        assert scan.seen == list(range(1, end + 1)), "the scan had a gap, or went back"
        longest = max(gap.longest for gap in gaps)
        record_property("longest gap", longest)
        print(f"{trouble.__name__}: {end} appends, longest {longest:.1f} s")
        assert longest < RECOVERED


async def test_bells_and_leases_survive_the_leader(place: Place) -> None:
    """A command in hand stays in hand, a lease stays held, what is new rings: all without us."""
    async with clients(place, 3) as (log, other, sender):
        await sender.append("cmd.echo.c1", b"first", id="1")
        async with log.bells("echo", capacity=2) as bells:
            bell = await bells.next()
            lease = await log.lease("echo", "c1", holder="a", ttl=60)
            assert lease is not None
            leader = await place.leader("KV_LEASE")
            leader.kill()
            assert await other.lease("echo", "c1", holder="b", ttl=60) is None
            assert await lease.renew(), "another server has what the dead one had"
            assert await sender.append("cmd.echo.c1", b"second", id="2") == 2
            async with asyncio.timeout(RECOVERED):
                heard = await bells.next()
                while heard.record.data == b"first":  # it may ring again, to somebody who knows it
                    heard = await bells.next()
            assert heard.record.data == b"second"
            await heard.done()
            await bell.done()
            await lease.release()

            async def free() -> bool:
                return await other.lease("echo", "c1", holder="b", ttl=60) is not None

            await eventually(free, within=RECOVERED)


async def test_the_profile_is_what_the_streams_have(place: Place) -> None:
    """Three replicas of all that must last, and one of a scan, which is made again anywhere."""
    async with clients(place, 1) as (log,):
        for stream in ("LOG", "BLOBS", "KV_LEASE"):
            info = await log._api.stream(stream)
            assert info is not None
            assert info.config["num_replicas"] == 3
        async with log.bells("echo", capacity=1), contextlib.aclosing(log.scan(live=True)) as scan:
            await anext(scan)
            reply = await log._api.ask("$JS.API.CONSUMER.LIST.LOG", {"offset": 0})
            consumers = msgspec.json.decode(reply.data)["consumers"]
            replicas = {
                each["config"].get("durable_name"): 1 + len(each["cluster"].get("replicas") or [])
                for each in consumers
            }
            assert replicas == {"bells-echo": 3, None: 1}
    assert await stored_everywhere(place)


async def stored_everywhere(place: Place) -> bool:
    """Whether each server, asked alone, gives the same records."""
    found: list[list[tuple[int, bytes]]] = []
    for server in place.cluster.servers:
        async with JetStreamLog.open(place.url(server), profile=CLUSTER) as log:
            found.append(await stored(log, SUBJECT))
    return found[0] == found[1] == found[2]
