"""The simulated world itself: time, order, processes, and what it refuses."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from pelton.runtime.simulation import Process, SimulatedWorld, Stuck, run


def test_time_passes_without_waiting() -> None:
    async def main(world: SimulatedWorld) -> tuple[float, timedelta]:
        began, moment = world.monotonic(), world.now()
        await asyncio.sleep(3_600.0)
        return world.monotonic() - began, world.now() - moment

    passed, by_clock = run(1, main)
    assert passed == pytest.approx(3_600.0)
    assert by_clock == pytest.approx(timedelta(hours=1), abs=timedelta(milliseconds=1))


def test_a_wall_clock_may_jump_and_deadlines_do_not_care() -> None:
    async def main(world: SimulatedWorld) -> None:
        world.skew = -86_400.0
        async with asyncio.timeout(5.0):
            await asyncio.sleep(4.0)
        assert world.now() < world.part("other").now()

    run(1, main)


def order(seed: int) -> list[int]:
    """Return the order in which ten tasks took three turns each."""
    trail: list[int] = []

    async def main(_: SimulatedWorld) -> None:
        async def step(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                trail.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(step(number))

    run(seed, main)
    return trail


def test_a_seed_decides_the_order_and_the_same_seed_gives_the_same() -> None:
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(20)}) == 20


def test_ids_and_chance_follow_from_the_seed() -> None:
    async def main(world: SimulatedWorld) -> list[str]:
        first = [world.new_id() for _ in range(50)]
        assert len(set(first)) == 50
        assert first[0][14] == "7"
        await asyncio.sleep(1.0)
        assert world.new_id() > max(first)
        return first

    assert run(3, main) == run(3, main)
    assert run(3, main) != run(4, main)


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    async def main(_: SimulatedWorld) -> None:
        async def forever() -> None:
            await asyncio.get_running_loop().create_future()

        await asyncio.create_task(forever(), name="the one who waits")

    with pytest.raises(Stuck, match=r"(?s)the one who waits at .*test_loop\.py") as stuck:
        run(7, main)
    assert "SIM_SEED=7" in stuck.value.__notes__


def test_running_in_circles_is_an_error() -> None:
    async def main(_: SimulatedWorld) -> None:
        for _number in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="in circles"):
        run(1, main)


def test_a_run_has_a_limit() -> None:
    async def main(_: SimulatedWorld) -> None:
        for _number in itertools.count():
            await asyncio.sleep(1.0)

    with pytest.raises(Stuck, match="still running"):
        run(1, main, limit=60.0)


def test_real_input_and_output_is_refused() -> None:
    async def thread(_: SimulatedWorld) -> None:
        await asyncio.to_thread(print)

    async def socket(_: SimulatedWorld) -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    async def process(_: SimulatedWorld) -> None:
        await asyncio.create_subprocess_exec("true")

    with pytest.raises(Stuck):
        run(1, thread)
    for main in (socket, process):
        with pytest.raises((NotImplementedError, Stuck)):
            run(1, main)


def test_what_nobody_took_fails_the_run() -> None:
    async def main(_: SimulatedWorld) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1.0)

    with pytest.raises(ZeroDivisionError) as error:
        run(9, main)
    assert "SIM_SEED=9" in error.value.__notes__


def test_a_killed_process_does_nothing_any_more() -> None:
    trail: list[str] = []

    async def main(_: SimulatedWorld) -> list[str]:
        async def child() -> None:
            await asyncio.sleep(0.5)
            trail.append("child")

        async def body() -> None:
            asyncio.get_running_loop().call_later(4.0, trail.append, "timer")
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(5):
                        await asyncio.sleep(1.0)
                        group.create_task(child())
            finally:
                trail.append("finally")

        process = Process("p")
        process.start(body())
        asyncio.get_running_loop().call_later(3.2, process.kill)
        await process.ended
        await asyncio.sleep(10.0)
        return list(trail)

    assert run(1, main) == ["child"] * 2


def test_a_process_dies_at_any_step_it_is_told_to() -> None:
    def steps(doom: int) -> int:
        async def main(_: SimulatedWorld) -> int:
            done = 0

            async def body() -> None:
                nonlocal done
                for _ in range(10):
                    await asyncio.sleep(1.0)
                    done += 1

            process = Process("p")
            process.start(body())
            process.doom(doom)
            await process.ended
            return done

        return run(1, main)

    assert {steps(doom) for doom in range(30)} == set(range(11))


def test_a_stopped_process_goes_on_later() -> None:
    async def main(world: SimulatedWorld) -> list[float]:
        began = world.monotonic()
        ticks: list[float] = []

        async def body() -> None:
            for _ in range(4):
                await asyncio.sleep(1.0)
                ticks.append(world.monotonic() - began)

        process = Process("p")
        process.start(body())
        await asyncio.sleep(1.5)
        process.stop()
        await asyncio.sleep(60.0)
        assert len(ticks) == 1
        process.go_on()
        await process.ended
        return ticks

    assert run(1, main) == pytest.approx([1.0, 61.5, 62.5, 63.5])
