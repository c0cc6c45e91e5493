"""What the model gateway adds to a call: `python -m benchmarks.gateway`.

An agent asks a scripted model, by turns directly and through the gateway of its executor, with a
conversation that grows by two messages each time; answers are streamed in twenty pieces: as a model
says them, one after the other, and all at once, where nothing is done while the model thinks. What
is added is the median of through the gateway less that of directly. On a machine that others use,
what it takes of the processor is the figure that stands still.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import uvloop

from pelton.adapters.gateway.server import Gateway
from pelton.events.a2a import Message, Part, Role
from pelton.runtime.agents import agent
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import DURABLE, RELAXED, Profile
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.testing.models import ScriptedModel, say
from tests.runtime.clients import Client

GOAL = 2.0  # ms added to a call
PATH = "/v1/messages"
PACE = 0.003  # seconds between pieces, as a quick model says them


class Times(NamedTuple):
    """How long calls took to their first byte and to their end, and of the processor, in ms."""

    first: list[float]
    whole: list[float]
    cpu: list[float]


async def ask(client: aiohttp.ClientSession, url: str, messages: list[Any], times: Times) -> None:
    """Ask once, and note how long it takes."""
    body = {"model": "scripted", "stream": True, "max_tokens": 99, "messages": messages}
    began, spent = time.perf_counter(), time.process_time()
    async with client.post(url + PATH, json=body) as response:
        assert response.status == 200, await response.text()
        await response.content.readany()
        times.first.append((time.perf_counter() - began) * 1_000)
        await response.content.read()
    times.whole.append((time.perf_counter() - began) * 1_000)
    times.cpu.append((time.process_time() - spent) * 1_000)


async def measure(profile: Profile, calls: int, pace: float = 0.0) -> tuple[Times, Times]:
    """Return the times of calls directly, and through the gateway."""
    direct, through, done = Times([], [], []), Times([], [], []), asyncio.Event()
    words = "what was said before, and is said again in every question that follows it " * 8

    async def asking(turn: Turn, url: str) -> None:
        assert turn.models is not None
        messages: list[Any] = []
        async with turn.models.route() as route, aiohttp.ClientSession() as client:
            for number in range(calls):
                messages += [
                    {"role": "user", "content": f"{number}: {words}"},
                    {"role": "assistant", "content": f"{number}: {words}"},
                ]
                ways = [(url, direct), (route.url("anthropic"), through)]
                for way, times in ways[:: 1 if number % 2 else -1]:
                    await ask(client, way, messages, times)

    async with ScriptedModel(lambda _: say("word " * 20, delay=pace)) as model:

        @agent(name="asker")
        async def asker(turn: Turn) -> str:
            await turn.step("run", lambda: asking(turn, model.url), idempotent=True)
            done.set()
            return "done"

        environ = {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url}
        with tempfile.TemporaryDirectory(prefix="bench-gateway-") as data:
            async with (
                EmbeddedServer(Path(data), profile=profile) as server,
                JetStreamLog.open(server.url, profile=profile) as log,
                Gateway(GatewaySettings(), environ=environ) as gateway,
            ):
                executor = Executor(log, [asker], world=RealWorld(), gateway=gateway)
                running = asyncio.create_task(executor.run())
                await executor.ready.wait()
                said = Message(message_id="go", role=Role.USER, parts=(Part(text="go"),))
                client = Client(log, "asker")
                context, task = await client.send("", message=said)
                await done.wait()  # who follows the log meanwhile would be counted
                await client.settled(context, task)
                executor.stop()
                await running
    return direct, through


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
                direct, through = runner.run(measure(profile, given.calls, pace))
            name = f"{profile.name}, {how}"
            show(f"{name}: to the first byte", direct.first, through.first)
            show(f"{name}: of the processor", direct.cpu, through.cpu)
            added = show(f"{name}: to the end", direct.whole, through.whole)
            print(f"  {'within' if added <= GOAL else 'above'} {GOAL:g} ms")


if __name__ == "__main__":
    main()
