"""What the model gateway adds to a call: `python -m benchmarks.gateway`.

An agent asks a scripted model, by turns directly and through the gateway of its executor, with a
conversation that grows by two messages each time; answers are streamed in twenty pieces: as a model
says them, one after the other, and all at once, where nothing is done while the model thinks. Agent
and model are programs of their own (`gateway_ends`), as they are elsewhere: what is added is that
of the executor and the log alone. It is the median of through the gateway less that of directly. On
a machine that others use, what it takes of the executor's processor is the figure that stands
still; how long the log takes to store is told beside it, since two appends of a call are waited
for.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from benchmarks.gateway_ends import Times
from pelton.adapters.gateway.server import Gateway
from pelton.events.a2a import Message, Part, Role
from pelton.runtime.agents import agent
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import DURABLE, RELAXED, Profile
from pelton.runtime.observer import Unobserved
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client

GOAL = 2.0  # ms added to a call
PACE = 0.003  # seconds between pieces, as a quick model says them
_LIMIT = 300.0  # seconds for a round


class Appends(Unobserved):
    """Hears how long the log takes, in ms."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def appended(self, seconds: float, how: str) -> None:
        """Hear of an append."""
        if how == "stored":
            self.took.append(seconds * 1_000)


class Measured(NamedTuple):
    """The times of calls directly and through the gateway, and what a call took of the executor."""

    direct: Times
    through: Times
    cpu: float
    append: float


@asynccontextmanager
async def end(*arguments: str) -> AsyncGenerator[asyncio.StreamReader]:
    """Run one end of the calls for the duration of the block, and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.gateway_ends", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.stdin.close()  # which tells it to end
        await process.wait()


async def measure(profile: Profile, calls: int, pace: float) -> Measured:
    """Return what calls take directly, and through the gateway."""
    found = asyncio.get_running_loop().create_future()
    heard = Appends()
    async with asyncio.timeout(_LIMIT), end("model", str(pace)) as model:
        url = (await model.readline()).decode().strip()

        async def asking(turn: Turn) -> None:
            assert turn.models is not None
            async with turn.models.route() as route:
                heard.took.clear()
                began = time.process_time()
                async with end("agent", url, route.url("anthropic"), str(calls)) as asked:
                    direct, through = msgspec.json.decode(
                        await asked.readline(), type=tuple[Times, Times]
                    )
                cpu = (time.process_time() - began) * 1_000 / calls
                found.set_result(Measured(direct, through, cpu, statistics.median(heard.took)))

        @agent(name="asker")
        async def asker(turn: Turn) -> str:
            await turn.step("run", asking, turn, idempotent=True)
            return "done"

        environ = {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": url}
        with tempfile.TemporaryDirectory(prefix="bench-gateway-") as data:
            async with (
                EmbeddedServer(Path(data), profile=profile) as server,
                JetStreamLog.open(server.url, profile=profile, observer=heard) as log,
                Gateway(GatewaySettings(), environ=environ) as gateway,
            ):
                executor = Executor(log, [asker], world=RealWorld(), gateway=gateway)
                running = asyncio.create_task(executor.run())
                await executor.ready.wait()
                said = Message(message_id="go", role=Role.USER, parts=(Part(text="go"),))
                client = Client(log, "asker")
                context, task = await client.send("", message=said)
                result: Measured = await found  # who follows the log meanwhile would be counted
                await client.settled(context, task)
                executor.stop()
                await running
    return result


def show(name: str, direct: Sequence[float], through: Sequence[float]) -> float:
    """Print a line, and return what is added."""
    one, other = statistics.median(direct), statistics.median(through)
    far = sorted(through)[int(len(through) * 0.99)] - sorted(direct)[int(len(direct) * 0.99)]
    print(f"{name:36} {one:8.2f} {other:8.2f} {other - one:8.2f} {far:8.2f}")
    return other - one


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.gateway")
    parser.add_argument("--calls", type=int, default=60)
    given = parser.parse_args(arguments)
    print(f"{'ms of a call':36} {'direct':>8} {'through':>8} {'added':>8} {'at p99':>8}")
    for profile in (RELAXED, DURABLE):
        for how, pace in (("paced", PACE), ("at once", 0.0)):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(measure(profile, given.calls, pace))
            name = f"{profile.name}, {how}"
            show(f"{name}: to the first byte", found.direct.first, found.through.first)
            added = show(f"{name}: to the end", found.direct.whole, found.through.whole)
            print(
                f"  {'within' if added <= GOAL else 'above'} {GOAL:g} ms; of the executor's"
                f" processor {found.cpu:.2f}, an append {found.append:.2f}"
            )


if __name__ == "__main__":
    main()
