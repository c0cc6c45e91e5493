"""What only the simulated log can be made to do: the contract suite proves the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pelton.runtime.log import Conflict, Extent, LogFull, LogRegressed, LogUnavailable
from pelton.runtime.simulation import (
    Faults,
    Process,
    SimulatedLog,
    SimulatedServer,
    SimulatedWorld,
    run,
)

Main = Callable[[SimulatedWorld], Coroutine[Any, Any, None]]


def simulated(main: Main) -> Callable[[], None]:
    """Make a test of a coroutine: it runs in twenty worlds."""

    def test() -> None:
        for seed in range(20):
            run(seed, main, limit=3_600.0)

    return test


@simulated
async def test_an_id_is_forgotten_after_the_window(world: SimulatedWorld) -> None:
    server = SimulatedServer(world, window=120.0)
    log = SimulatedLog(server)
    assert await log.append("cmd.echo.c1", b"", id="same") == 1
    await asyncio.sleep(119.0)
    assert await log.append("cmd.echo.c1", b"", id="same") == 1
    await asyncio.sleep(2.0)
    assert await log.append("cmd.echo.c1", b"", id="same") == 2


@simulated
async def test_a_lost_acknowledgement_is_recognised(world: SimulatedWorld) -> None:
    server, faults = SimulatedServer(world), Faults(lost_replies=1.0)
    log, other = SimulatedLog(server, name="a", faults=faults), SimulatedLog(server, name="b")

    async with asyncio.TaskGroup() as group:
        append = group.create_task(log.append("evt.echo.c1", b"mine", id="mine", expect=0))
        await asyncio.sleep(0.5)
        assert await other.append("evt.echo.c1", b"theirs", id="theirs", expect=1) == 2
        faults.heal()
    assert append.result() == 1
    assert await log.extent() == Extent(1, 2)
    assert faults.fired["lost reply"]


@simulated
async def test_a_timeout_means_unknown(world: SimulatedWorld) -> None:
    server, faults = SimulatedServer(world), Faults(lost_replies=1.0)
    log = SimulatedLog(server, faults=faults)
    with pytest.raises(LogUnavailable):
        await log.append("evt.echo.c1", b"1", id="1", expect=0)
    faults.heal()
    assert await log.extent() == Extent(1, 1), "it was stored all the same"
    with pytest.raises(Conflict):
        await log.append("evt.echo.c1", b"2", id="2", expect=0)
    assert await log.append("evt.echo.c1", b"1", id="1", expect=0) == 1


@simulated
async def test_a_request_may_arrive_after_its_sender_gave_up(world: SimulatedWorld) -> None:
    server = SimulatedServer(world)
    log = SimulatedLog(server, deadline=1.0)
    log.link.sever(3.0)
    with pytest.raises(LogUnavailable):
        await log.append("cmd.echo.c1", b"late", id="late")
    assert server.extent() == Extent(1, 0)
    await asyncio.sleep(5.0)
    assert server.extent() == Extent(1, 1)


@simulated
async def test_a_power_cut_takes_what_the_profile_allows(world: SimulatedWorld) -> None:
    for profile, left in (("durable", 3), ("cluster", 3), ("relaxed", 2)):
        server = SimulatedServer(world, profile=profile)  # type: ignore[arg-type]
        log = SimulatedLog(server)
        for number in range(1, 4):
            await log.append("cmd.echo.c1", b"%d" % number, id=f"{number}")
            if number == 2:
                server.sync()
        server.cut_power()
        server.start()
        assert await log.extent() == Extent(1, left)
        assert await log.append("cmd.echo.c1", b"4", id="4") == left + 1


@simulated
async def test_a_kill_takes_nothing_that_was_stored(world: SimulatedWorld) -> None:
    server = SimulatedServer(world, profile="relaxed")
    log = SimulatedLog(server)
    await log.append("cmd.echo.c1", b"", id="1")
    lease = await log.lease("echo", "c1", holder="a", ttl=60.0)
    assert lease is not None
    server.kill()
    server.start()
    assert await log.extent() == Extent(1, 1)
    assert not await lease.renew(), "leases live in memory"


@simulated
async def test_a_crash_undoes_the_latest_acknowledgements(world: SimulatedWorld) -> None:
    server = SimulatedServer(world)
    log = SimulatedLog(server)
    for number in range(40):
        await log.append(f"cmd.echo.c{number}", b"", id=f"{number}")
    again: list[int] = []
    async with log.bells("echo", capacity=40, patience=60.0) as bells:
        for _ in range(40):
            await (await bells.next()).done()
            await asyncio.sleep(0.2)
        server.cut_power()
        server.start()
        while True:
            try:
                async with asyncio.timeout(10.0):
                    again.append((await bells.next()).record.sequence)
            except TimeoutError:
                break
    assert again == sorted(again)
    assert again == list(range(41 - len(again), 41)), "the latest, and nothing else"
    assert len(again) <= 26, "five seconds at most"


@simulated
async def test_a_log_that_went_backwards_is_noticed(world: SimulatedWorld) -> None:
    server = SimulatedServer(world)
    log = SimulatedLog(server)
    for number in range(3):
        await log.append("evt.echo.c1", b"", id=f"{number}")
    live = log.scan(live=True)
    assert len(await anext(live)) == 3
    server.truncate(1)
    with pytest.raises(LogRegressed):
        await anext(log.scan(after=3))
    assert await log.append("evt.echo.c1", b"other", id="other") == 2, "a sequence is reused"
    with pytest.raises(LogRegressed):
        await anext(await _again(live))


async def _again(live: Any) -> Any:
    assert list(await anext(live)) == []
    return live


@simulated
async def test_a_full_log_says_so(world: SimulatedWorld) -> None:
    server = SimulatedServer(world)
    log = SimulatedLog(server)
    server.full = True
    with pytest.raises(LogFull):
        await log.append("evt.echo.c1", b"", id="1", expect=0)
    server.full = False
    assert await log.append("evt.echo.c1", b"", id="1", expect=0) == 1


@simulated
async def test_a_broken_connection_loses_copies_and_is_told(world: SimulatedWorld) -> None:
    server = SimulatedServer(world)
    log, other = SimulatedLog(server, name="a"), SimulatedLog(server, name="b")
    heard: list[int] = []
    told: list[float] = []
    log.on_restored(lambda: told.append(world.monotonic()))
    async with log.listen("evt.>", lambda copy: heard.append(copy.sequence)):
        log.link.sever(2.0)
        await other.append("evt.echo.c1", b"", id="1")
        await asyncio.sleep(3.0)
        await other.append("evt.echo.c1", b"", id="2")
        await asyncio.sleep(1.0)
    assert heard == [2]
    assert len(told) == 1


@simulated
async def test_a_stopped_process_hears_nothing_and_its_bells_ring_elsewhere(
    world: SimulatedWorld,
) -> None:
    server = SimulatedServer(world)
    heard: list[tuple[str, int, float]] = []

    async def serve(name: str) -> None:
        log = SimulatedLog(server, name=name)
        async with log.bells("echo", capacity=1, patience=3.0) as bells:
            while True:
                bell = await bells.next()
                heard.append((name, bell.deliveries, world.monotonic()))
                await asyncio.sleep(1.0)
                await bell.done()

    first = Process("first")
    first.start(serve("first"))
    await asyncio.sleep(0.1)
    await SimulatedLog(server).append("cmd.echo.c1", b"", id="1")
    await asyncio.sleep(0.5)
    first.stop()
    second = Process("second")
    second.start(serve("second"))
    await asyncio.sleep(10.0)
    first.go_on()
    await asyncio.sleep(10.0)
    first.kill()
    second.kill()
    assert [(name, deliveries) for name, deliveries, _ in heard] == [("first", 1), ("second", 2)]
    assert heard[1][2] - heard[0][2] == pytest.approx(3.0, abs=0.1)
