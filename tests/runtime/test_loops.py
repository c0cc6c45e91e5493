"""Loops that must not end."""

from __future__ import annotations

import asyncio

import pytest

from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.runtime import loops
from pelton.runtime.loops import Loops
from tests.adapters.telemetry.reading import figures, value
from tests.runtime.clients import WORLD


@pytest.mark.accepts("AS-72")
async def test_a_loop_that_crashes_begins_again_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "FIRST", 0.01)
    telemetry, runs, lasts = Telemetry(world=WORLD), list[bool](), asyncio.Event()
    kept = Loops(world=WORLD, observer=telemetry)

    async def loop() -> None:
        runs.append(kept.well)
        if len(runs) < 3:
            raise RuntimeError("nobody has foreseen it")
        lasts.set()
        await asyncio.Event().wait()

    keeping = asyncio.create_task(kept.keep("mill", loop))
    await asyncio.sleep(0)
    assert not kept.well
    async with asyncio.timeout(5):
        await lasts.wait()
    assert kept.well
    assert runs == [True, True, True]
    keeping.cancel()
    await asyncio.wait((keeping,))
    assert keeping.cancelled()
    found = figures((await telemetry.metrics.exposition()).decode())
    assert value(found, "pelton_loop_restarts_total", loop="mill") == 2


async def test_a_loop_with_nothing_to_do_ends() -> None:
    async def nothing() -> None:
        pass

    kept = Loops(world=WORLD)
    await kept.keep("idle", nothing)
    assert kept.well
