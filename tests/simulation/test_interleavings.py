"""Concurrent writers to one aggregate, in many randomised interleavings (AS-13)."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from pelton.runtime.log import Conflict, LogUnavailable
from pelton.runtime.simulation import Faults, SimulatedLog, SimulatedServer, SimulatedWorld, run

WORLDS, AGGREGATES = 100, 100
CHUNKS = 10


async def write(log: SimulatedLog, subject: str, name: str, times: int) -> int:
    """Add to the number that an aggregate is; return how often somebody else was first."""
    conflicts = 0
    for number in range(times):
        while True:
            try:
                records = await log.read(subject, decisive=True)
                value, head = (
                    int(records[-1].data) if records else 0,
                    records[-1].sequence if records else 0,
                )
                id_ = f"{subject} {name} {number} {conflicts}"
                await log.append(subject, b"%d" % (value + 1), id=id_, expect=head)
            except Conflict:
                conflicts += 1
                continue
            except LogUnavailable:
                raise AssertionError("five seconds of loss in a row") from None
            break
    return conflicts


async def interleave(world: SimulatedWorld, *, ignore_expectation: bool = False) -> Counter[str]:
    """Let two or three writers add to each of many aggregates, and compare with what they added."""
    profile = world.random.choice(("durable", "cluster"))
    server = SimulatedServer(world, profile=profile, ignore_expectation=ignore_expectation)  # type: ignore[arg-type]
    faults = Faults(latency=(0.0001, 0.01), lost_requests=0.005, lost_replies=0.01)
    logs = [SimulatedLog(server, name=f"writer {n}", faults=faults) for n in range(3)]
    counts: Counter[str] = Counter()

    async def one(number: int) -> None:
        subject, chance = f"evt.echo.c{number}", Random(f"{world.seed} {number}")
        shares = [chance.randint(1, 2) for _ in range(chance.randint(2, 3))]
        conflicts = sum(
            await asyncio.gather(
                *(write(logs[n], subject, f"{n}", times) for n, times in enumerate(shares))
            )
        )
        counts["conflicts"] += conflicts
        values = [int(record.data) for record in await logs[0].read(subject, decisive=True)]
        counts["lost updates"] += values != list(range(1, sum(shares) + 1))

    await asyncio.gather(*(one(number) for number in range(AGGREGATES)))
    counts["lost acknowledgements"] += faults.fired["lost reply"]
    return counts


@pytest.mark.accepts("AS-13")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_update_is_lost(chunk: int) -> None:
    total: Counter[str] = Counter()
    for seed in range(chunk, WORLDS, CHUNKS):
        counts = run(seed, interleave)
        assert not counts["lost updates"], f"SIM_SEED={seed}"
        total += counts
    assert total["conflicts"] > WORLDS * AGGREGATES / CHUNKS / 2
    assert total["lost acknowledgements"] > 20


def test_without_the_expectation_updates_are_lost() -> None:
    counts = run(1, lambda world: interleave(world, ignore_expectation=True))
    assert counts["lost updates"] > AGGREGATES / 4
