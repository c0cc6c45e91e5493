"""Bells on a real server: consumers that vanish, silence, and clean ends."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import time

import nats
import pytest

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.log import Bell, Bells
from pelton.runtime.server import EmbeddedServer
from tests.proxy import proxy


async def ring(bells: Bells, within: float = 10.0) -> Bell:
    async with asyncio.timeout(within):
        return await bells.next()


async def test_bells_ring_again_after_their_consumer_was_deleted(
    log: JetStreamLog, nats_url: str
) -> None:
    async with log.bells("echo", capacity=4) as bells:
        await log.append("cmd.echo.c", b"1", id="1")
        await (await ring(bells)).done()
        async with await nats.connect(nats_url) as client:
            await client.jetstream().delete_consumer("LOG", "bells-echo")
        await log.append("cmd.echo.c", b"2", id="2")
        heard = {(await ring(bells)).record.data, (await ring(bells)).record.data}
        assert heard == {b"1", b"2"}, "acks carry no truth"


async def test_bells_ring_after_the_connection_was_cut(nats_server: EmbeddedServer) -> None:
    user = nats_server.url.rpartition("@")[0]
    async with (
        proxy(nats_server.address) as (between, address),
        JetStreamLog.open(f"{user}@{address}", profile=RELAXED) as log,
        log.bells("echo", capacity=2, patience=1.0) as bells,
    ):
        for number in range(5):
            between.cut()
            await log.append("cmd.echo.c", b"%d" % number, id=f"{number}")
            bell = await ring(bells)
            while bell.record.data != b"%d" % number:  # an acknowledgement was lost
                await bell.done()
                bell = await ring(bells)
            await bell.done()


async def test_bells_ring_after_a_silence_of_the_server(nats_server: EmbeddedServer) -> None:
    async with (
        JetStreamLog.open(nats_server.url, profile=RELAXED) as log,
        log.bells("echo", capacity=1) as bells,
    ):
        nats_server.pause()
        await asyncio.sleep(3.5)  # no heartbeat: the consumer is looked after, in vain
        nats_server.resume()
        await log.append("cmd.echo.c", b"1", id="1")
        assert (await ring(bells)).record.data == b"1"


@pytest.mark.accepts("AS-61")
async def test_after_a_clean_end_the_work_is_elsewhere_within_a_second(
    log: JetStreamLog, nats_url: str
) -> None:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as leaving:
        for number in range(3):
            await log.append("cmd.echo.c", b"%d" % number, id=f"{number}")
        async with (
            leaving.bells("echo", capacity=10, patience=60) as going,
            log.bells("echo", capacity=10, patience=60) as staying,
        ):
            in_hand = await ring(going)
            begin = time.monotonic()
            await going.quiet()
            await in_hand.hand_back()
            await log.append("cmd.echo.c", b"3", id="3")
            heard = {(await ring(staying)).record.data for _ in range(4)}
            assert time.monotonic() - begin < 1.0
            assert heard == {b"0", b"1", b"2", b"3"}


async def test_what_was_never_asked_for_stays_with_the_server(
    log: JetStreamLog, nats_url: str
) -> None:
    """An executor that is full takes nothing more, whatever waits."""
    for number in range(50):
        await log.append("cmd.echo.c", b"%d" % number, id=f"{number}")
    async with log.bells("echo", capacity=3, patience=60) as bells:
        for _ in range(3):
            await ring(bells)
        await asyncio.sleep(0.2)  # what must not come would be here
        async with await nats.connect(nats_url) as client:
            info = await client.jetstream().consumer_info("LOG", "bells-echo")
    assert info.num_ack_pending == 3
    assert info.num_pending == 47


async def test_many_bells_ring_quickly(log: JetStreamLog) -> None:
    """The pace of bell and answer; printed."""
    total = 2000
    for start in range(0, total, 200):
        numbers = range(start, start + 200)
        await asyncio.gather(*(log.append(f"cmd.echo.c{n}", b"", id=f"{n}") for n in numbers))
    async with log.bells("echo", capacity=64) as bells:
        begin = time.monotonic()
        seen: set[int] = set()
        for _ in range(total):
            bell = await ring(bells)
            seen.add(bell.record.sequence)
            await bell.done()
        elapsed = time.monotonic() - begin
    assert len(seen) == total
    print(f"{total / elapsed:,.0f} bells/s")
