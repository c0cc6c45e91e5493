"""The contract of the log: bells."""

from __future__ import annotations

import asyncio

import pytest

from pelton.runtime.log import Bell, Bells
from tests.contract.test_log import CMD, EVT, fill
from tests.contract.worlds import LogWorld, contract, never

PATIENCE = 1.0


async def ring(bells: Bells, *, within: float = 10.0) -> Bell:
    """Return the next bell, which must come."""
    async with asyncio.timeout(within):
        return await bells.next()


async def several(bells: Bells, count: int) -> list[Bell]:
    """Return the next bells."""
    return [await ring(bells) for _ in range(count)]


def said(bells: list[Bell]) -> list[bytes]:
    return [bell.record.data for bell in bells]


@contract()
async def test_commands_ring_in_the_order_of_the_log(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 3)
    await fill(log, EVT, 2)
    await fill(log, "cmd.other.c1", 2)
    async with log.bells("echo", capacity=20) as bells:
        first = await several(bells, 3)
        assert said(first) == [b"1", b"2", b"3"]
        await fill(other, "cmd.echo.c2", 3)
        second = await several(bells, 3)
        assert said(second) == [b"1", b"2", b"3"]
        assert [bell.record.subject for bell in second] == ["cmd.echo.c2"] * 3
        assert [bell.deliveries for bell in first + second] == [1] * 6
        assert first[1].record == (await log.read(CMD, decisive=True))[1]
        await never(bells.next(), within=0.3)


@contract()
async def test_what_is_done_never_rings_again(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 3)
    async with log.bells("echo", capacity=5, patience=PATIENCE) as bells:
        for bell in await several(bells, 3):
            await bell.done()
        await never(bells.next(), within=2 * PATIENCE)
    async with other.bells("echo", capacity=5, patience=PATIENCE) as bells:
        await never(bells.next(), within=0.5)
        await fill(log, CMD, 1, first=4)
        assert (await ring(bells)).record.data == b"4"


@contract()
async def test_executors_share_the_bells(world: LogWorld) -> None:
    first, second = await world.open(), await world.open()
    async with (
        first.bells("echo", capacity=10) as some,
        second.bells("echo", capacity=10) as others,
    ):
        await asyncio.sleep(0.2)  # until both are known
        await fill(first, CMD, 20)
        heard = await several(some, 10) + await several(others, 10)
        assert sorted(int(text) for text in said(heard)) == list(range(1, 21))
        assert {bell.deliveries for bell in heard} == {1}


@contract()
async def test_a_bell_that_nobody_answers_rings_elsewhere(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    async with log.bells("echo", capacity=1, patience=PATIENCE) as bells:
        await fill(log, CMD, 1)
        silent = await ring(bells)
        async with other.bells("echo", capacity=1, patience=PATIENCE) as others:
            await never(others.next(), within=PATIENCE / 2)
            again = await ring(others, within=PATIENCE * 3)
            assert again.record == silent.record
            assert again.deliveries == 2
            await again.done()
            await never(others.next(), within=PATIENCE * 2)


@contract()
async def test_a_bell_in_hand_does_not_ring_elsewhere(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    async with (
        log.bells("echo", capacity=1, patience=PATIENCE) as bells,
        asyncio.TaskGroup() as tasks,
    ):
        await fill(log, CMD, 1)
        bell = await ring(bells)
        async with other.bells("echo", capacity=1, patience=PATIENCE) as others:
            elsewhere = tasks.create_task(never(others.next(), within=PATIENCE * 3))
            while not elsewhere.done():
                await bell.working()
                await asyncio.sleep(PATIENCE / 4)
            assert (await ring(others, within=PATIENCE * 3)).deliveries == 2


@contract()
async def test_what_is_handed_back_rings_again(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, CMD, 1)
    async with log.bells("echo", capacity=1, patience=60.0) as bells:
        for deliveries in (1, 2, 3):
            bell = await ring(bells, within=1.0)
            assert bell.deliveries == deliveries
            await bell.hand_back()


@contract()
async def test_what_is_handed_back_rings_after_a_delay(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 1)
    async with log.bells("echo", capacity=1, patience=60.0) as bells:
        bell = await ring(bells)
        await bell.hand_back(1.0)
        await never(bells.next(), within=0.7)
        async with other.bells("echo", capacity=1, patience=60.0) as others:
            waiting = {asyncio.ensure_future(each.next()) for each in (bells, others)}
            done, pending = await asyncio.wait(
                waiting, timeout=2.0, return_when=asyncio.FIRST_COMPLETED
            )
            assert [task.result().deliveries for task in done] == [2]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)


@contract()
async def test_no_more_bells_are_in_hand_than_capacity(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 4)
    async with log.bells("echo", capacity=2, patience=60.0) as bells:
        in_hand = await several(bells, 2)
        await never(bells.next(), within=0.3)
        async with other.bells("echo", capacity=1, patience=60.0) as others:
            assert (await ring(others)).record.data == b"3", "the rest is for others"
            await in_hand[0].done()
            assert (await ring(bells)).record.data == b"4"
        await in_hand[1].hand_back()
        assert (await ring(bells)).record.data == b"2"


@contract()
async def test_a_command_that_rings_twice_here_is_in_hand_once(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, CMD, 1)
    async with log.bells("echo", capacity=2, patience=PATIENCE) as bells:
        late = await ring(bells)
        again = await ring(bells, within=PATIENCE * 3)
        assert (again.record, again.deliveries) == (late.record, 2)
        await again.done()
        await fill(log, CMD, 2, first=2)
        assert said(await several(bells, 2)) == [b"2", b"3"]


@contract()
async def test_a_command_that_rings_twice_here_does_not_hold_up_others(world: LogWorld) -> None:
    log = await world.open()
    await fill(log, CMD, 1)
    async with log.bells("echo", capacity=2, patience=PATIENCE) as bells:
        late = await ring(bells)
        again = await ring(bells, within=PATIENCE * 3)
        assert again.record == late.record
        await fill(log, CMD, 1, first=2)
        async with asyncio.timeout(PATIENCE * 3):
            while (await bells.next()).record == late.record:
                pass


@pytest.mark.accepts("AS-61")
@contract()
async def test_quiet_hands_back_at_once(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 5)
    async with log.bells("echo", capacity=5, patience=60.0) as bells:
        bell = await ring(bells)
        await asyncio.sleep(0.3)  # until the others are delivered
        await bells.quiet()
        await fill(log, CMD, 1, first=6)
        await never(bells.next(), within=0.3)
        async with other.bells("echo", capacity=10, patience=60.0) as others:
            heard = await several(others, 5)
            assert sorted(said(heard)) == [b"2", b"3", b"4", b"5", b"6"]
            await bell.done()
            await never(others.next(), within=0.3)


@contract()
async def test_bells_ring_across_a_restart_of_the_server(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    async with (
        log.bells("echo", capacity=3, patience=PATIENCE) as bells,
        asyncio.TaskGroup() as tasks,
    ):
        await fill(log, CMD, 1)
        await (await ring(bells)).done()
        await asyncio.sleep(1.0)  # acknowledgements are durable after a moment
        waiting = tasks.create_task(bells.next())
        await world.kill_server()
        await world.start_server()
        await fill(other, CMD, 1, first=2)
        async with asyncio.timeout(10):
            bell = await waiting
        assert bell.record.data == b"2"
        await bell.done()


@contract()
async def test_an_unanswered_bell_survives_the_server(world: LogWorld) -> None:
    log, other = await world.open(), await world.open()
    await fill(log, CMD, 1)
    async with log.bells("echo", capacity=1, patience=PATIENCE) as bells:
        await ring(bells)
        await asyncio.sleep(0.5)  # unanswered for a while
        await world.kill_server()
        await world.start_server()
    async with other.bells("echo", capacity=1, patience=PATIENCE) as bells:
        again = await ring(bells)
        assert again.record.data == b"1"
        await again.done()


@contract()
async def test_waiting_for_a_bell_can_be_given_up(world: LogWorld) -> None:
    log = await world.open()
    async with log.bells("echo", capacity=1) as bells:
        for _ in range(3):
            await never(bells.next(), within=0.05)
        await fill(log, CMD, 1)
        assert (await ring(bells)).record.data == b"1", "nothing was lost to those who gave up"
