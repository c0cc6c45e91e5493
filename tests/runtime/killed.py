"""An executor that is killed at a point: `python -m tests.runtime.killed URL [POINT]`.

Each step appends a line with its idempotency key to the file that the message names; right before
and right after it are points of their own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from pelton.adapters.cli.parts import die_with
from pelton.runtime.agents import Terms, agent
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.failpoints import PLACES, Doom, Point, doom
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn

EFFECTS = ("before effect", "after effect")
ALL = (*PLACES, *EFFECTS)
"""Every boundary: of a record, a delegation, a report, a bell's answer, an effect."""

SOON = Terms(suspend_after=0.1)
fate = Doom()


async def note(path: str, line: str) -> str:
    """Have an effect outside: the step's name and key in a file, in one write."""
    fate.at(EFFECTS[0])
    with Path(path).open("a") as file:
        file.write(f"{line} {idempotency_key()}\n")
    fate.at(EFFECTS[1])
    return line


@agent(terms=SOON)
async def boss(turn: Turn) -> str:
    """Do a step, hand on work, ask a person, do another step."""
    first = await turn.step("note", note, turn.text, "first", idempotent=True)
    await turn.stream(f"[{first}]")
    report = await turn.delegate("worker", turn.text)
    answer = await turn.ask("how many?", schema=int)
    last = await turn.step("note", note, turn.text, "last", idempotent=True)
    await turn.stream(f"[{last}]")
    return f"{first} {report.text} {answer} {last}"


@agent
async def worker(turn: Turn) -> str:
    """Do a step."""
    return await turn.step("note", note, turn.text, "handed-on", idempotent=True)


async def main(url: str, *point: str) -> None:
    """Serve until killed."""
    die_with(os.getppid())
    fate.point = Point.parse(*point) if point else None
    async with JetStreamLog.open(url, migrate=False) as log:
        doom(log, fate)
        executor = Executor(log, [boss, worker], world=RealWorld(), patience=1.0)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
        await executor.run(serves=lambda: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
