"""How long it takes to fold one long session: `python -m benchmarks.fold`.

A session as an executor writes it to a real server, with steps, streamed text and progress, of as
many events as are asked for. What is measured is everything between the stored bytes and the state:
decoding, hashing, the chain, and the fold. Then, how long a process that has just begun takes to
have the session: read whole from the log, and with its fold kept.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.turns.growth import told
from pelton.events import subjects
from pelton.events.context import Context, fold
from pelton.events.envelope import encode
from pelton.projections.folds import Folds, open_folds
from pelton.runtime.agents import agent
from pelton.runtime.clock import RealWorld, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.log import Record
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn

GOAL = 50.0  # ms for 1,000 events
CONTEXT = "long"


@agent(name="talker")
async def talker(turn: Turn) -> str:
    """Take a few steps, and say something now and then."""

    async def look(at: int) -> dict[str, object]:
        return {"at": at, "found": "something to think about " * 10}

    for at in range(5):
        await turn.step("look", look, at)
        await turn.stream(f"so far I have found {at} things. ")
    return turn.text


async def session(events: int) -> Sequence[Record]:
    """Return the commits of a session of at least so many events."""
    commits, commands = subjects.commits("talker", CONTEXT), subjects.commands("talker", CONTEXT)
    changed = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="bench-fold-") as data:
        async with (
            EmbeddedServer(Path(data), profile=RELAXED) as server,
            JetStreamLog.open(server.url, profile=RELAXED) as log,
            log.listen(commits, lambda _: changed.set()),
        ):
            contexts, executor = Contexts(log), Executor(log, [talker], world=RealWorld())
            running = asyncio.create_task(executor.run(budget=1.0))
            try:
                async with asyncio.timeout(60 + events / 10):
                    await executor.ready.wait()
                    state, turn = await contexts.load("talker", CONTEXT), 0
                    while state.sequence < events:
                        turn += 1
                        command = told(CONTEXT, turn, rfc3339(RealWorld().now()))
                        await log.append(commands, encode(command), id=command.id)
                        while len(state.tasks) < turn or state.open is not None:
                            changed.clear()
                            state = await contexts.load("talker", CONTEXT)
                            if len(state.tasks) < turn or state.open is not None:
                                await changed.wait()
            finally:
                executor.stop()
                await running
            return await log.read(commits)


def folded(records: Sequence[Record]) -> tuple[Context, float]:
    """Return the state that records lead to, and how many milliseconds that took."""
    began = time.perf_counter()
    state = Context(agent="talker", id=CONTEXT)
    for record in records:
        state = fold(state, record.sequence, record.data)
    return state, (time.perf_counter() - began) * 1_000


async def met(records: Sequence[Record]) -> tuple[float, float]:
    """Return how many milliseconds a process takes to meet a session for the first time.

    By the median of some: read whole from the log, and with its fold kept.
    """
    with tempfile.TemporaryDirectory(prefix="bench-fold-") as data:
        async with (
            EmbeddedServer(Path(data) / "nats", profile=RELAXED) as server,
            open_folds(Path(data) / "folds.db") as folds,
            JetStreamLog.open(server.url, profile=RELAXED) as log,
        ):
            for record in records:
                await log.append(record.subject, record.data, id=str(record.sequence))

            async def meet(kept: Folds | None) -> float:
                began = time.perf_counter()
                await Contexts(log, folds=kept).load("talker", CONTEXT, decisive=True)
                return (time.perf_counter() - began) * 1_000

            whole = [await meet(None) for _ in range(5)]
            await folds.put(await Contexts(log).load("talker", CONTEXT))
            kept = [await meet(folds) for _ in range(5)]
            return statistics.median(whole), statistics.median(kept)


def main() -> int:
    """Measure, and say whether the goal is reached: exit code 0 if it is, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fold", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    records = uvloop.run(session(given.events))
    state, _ = folded(records)
    times = [folded(records)[1] for _ in range(given.rounds)]
    median, goal = statistics.median(times), GOAL * state.sequence / 1_000
    print(
        f"{state.sequence} events of {len(state.tasks)} tasks in {len(records)} commits,"
        f" {sum(len(each.data) for each in records):,} bytes:"
        f" folded in {median:.1f} ms ({min(times):.1f} to {max(times):.1f}), goal {goal:.0f} ms"
    )
    whole, kept = uvloop.run(met(records))
    print(f"met for the first time: {whole:.1f} ms from the log, {kept:.1f} ms with its fold kept")
    return 0 if median <= goal else 1


if __name__ == "__main__":
    sys.exit(main())
