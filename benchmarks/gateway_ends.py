"""The two ends of a call of a model, each a program: `python -m benchmarks.gateway_ends END …`.

`model PACE` is a scripted model: it prints its URL, and ends with its standard input.
`agent URL URL CALLS` asks two URLs by turns, and prints how long that took.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import aiohttp
import msgspec
import uvloop

from pelton.testing.models import ScriptedModel, say

_PATH = "/v1/messages"
_WARM = 5  # calls that nobody counts
_WORDS = "what was said before, and is said again in every question that follows it " * 8


class Times(msgspec.Struct):
    """How long calls took to their first byte and to their end, in ms."""

    first: list[float]
    whole: list[float]


async def model(pace: float) -> None:
    """Answer in twenty pieces, so many seconds apart."""
    async with ScriptedModel(lambda _: say("word " * 20, delay=pace)) as scripted:
        print(scripted.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def agent(one: str, other: str, calls: int) -> None:
    """Ask two URLs by turns, with a conversation that grows."""
    ways = [(one, Times([], [])), (other, Times([], []))]
    messages: list[Any] = []
    async with aiohttp.ClientSession() as client:
        for number in range(_WARM + calls):
            messages += [
                {"role": "user", "content": f"{number}: {_WORDS}"},
                {"role": "assistant", "content": f"{number}: {_WORDS}"},
            ]
            for url, times in ways[:: 1 if number % 2 else -1]:
                await ask(client, url, messages, times)
    for _, times in ways:
        del times.first[:_WARM], times.whole[:_WARM]
    print(msgspec.json.encode([times for _, times in ways]).decode(), flush=True)


async def ask(client: aiohttp.ClientSession, url: str, messages: list[Any], times: Times) -> None:
    """Ask once, and note how long it takes."""
    body = {"model": "scripted", "stream": True, "max_tokens": 99, "messages": messages}
    began = time.perf_counter()
    async with client.post(url + _PATH, json=body) as response:
        assert response.status == 200, await response.text()
        await response.content.readany()
        times.first.append((time.perf_counter() - began) * 1_000)
        await response.content.read()
    times.whole.append((time.perf_counter() - began) * 1_000)


def main() -> None:
    """Be one end."""
    which, *given = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if which == "model":
            runner.run(model(float(given[0])))
        else:
            runner.run(agent(given[0], given[1], int(given[2])))


if __name__ == "__main__":
    main()
