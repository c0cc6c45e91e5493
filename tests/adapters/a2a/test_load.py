"""The bridge and an executor under load: nobody holds the event loop (AS-66)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from benchmarks.load import run
from pelton.runtime.agents import agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import executing, served
from tests.garbage import left_alone


@agent
async def echo(turn: Turn) -> str:
    """Say what was said."""
    return turn.text


@pytest.mark.accepts("AS-66")
async def test_the_event_loop_is_never_held_for_long(log: JetStreamLog, tmp_path: Path) -> None:
    """With 16 requests under way, a turn of the loop costs some milliseconds at most.

    What counts is the CPU time of the loop's thread, so that a busy machine does not. The clients
    run on it too.
    """
    longest = 0.0
    async with executing(log, echo), served(log, tmp_path) as url:
        loading = asyncio.create_task(run(f"{url}/echo", 16, 1.5))
        with left_alone():
            before = time.thread_time()
            while not loading.done():
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, before = max(longest, now - before), now
        load = await loading

    assert load.errors == 0, load.first_error
    assert len(load.latencies) > 16
    assert longest < 0.1
