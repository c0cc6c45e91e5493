"""The agent of the benchmark: it says so many things, at a pace, when it is told to begin."""

import asyncio
import time
from pathlib import Path

from pelton.runtime import Turn, agent


@agent
async def talk(turn: Turn) -> None:
    """Say it; each time with its number and the moment."""
    if turn.text == "wait":
        await turn.require_input("For what?")
    count, pace, begin = turn.text.split()
    while not await asyncio.to_thread(Path(begin).exists):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    began = time.monotonic()
    for number in range(int(count)):
        await asyncio.sleep(max(0.0, began + number * float(pace) - time.monotonic()))
        await turn.status(f"@{number}.{time.time_ns()}@")
