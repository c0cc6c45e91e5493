"""Nothing grows that should not, for hours: `python -m tests.soak --minutes 480` (G14).

`pelton dev` runs with three executors under a steady load of short and streamed tasks, of clients
that vanish in the middle and of some that do not read. Every half minute one of two executors is
killed; all other parts live through the whole run and are measured: memory, open files, consumers
of the log, and what lies on the disk. At the end every task that was accepted has to be over.

A part fails that grows by more than 1 % an hour, beyond what chance explains; so a short run finds
only what leaks fast.
"""

# nats-py's signatures leave types out:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import aiohttp
import msgspec
import nats
import structlog
from nats.js import JetStreamContext

from tests.acceptance.running import Dev, eventually, message

STRUCK: Final = ("executor-2", "executor-3")
EVERY: Final = 30.0
"""Seconds between two kills."""
SAMPLES: Final = 240
"""How often is measured in all, but not more than once a second."""
WARM: Final = 1 / 3
"""Which share of the run comes before what counts."""
BAR: Final = 0.01
"""By which share a part may grow in an hour."""
LEAST: Final = 2.0
"""MiB, or files, below which nothing is called growth."""
WITHIN: Final = 60.0

AGENT = '''\
import asyncio

from pelton.runtime import Turn, agent


@agent
async def soaked(turn: Turn) -> str:
    """Take a step, say ten pieces, and answer."""
    await turn.step("step", asyncio.sleep, 0.01, idempotent=True)
    for number in range(10 if turn.text.startswith("stream") else 0):
        await turn.stream(f"piece {number} of {turn.text} ")
    return turn.text
'''


class Growth(NamedTuple):
    """How something measured has changed after the warm-up: a share of it an hour."""

    what: str
    middle: float
    an_hour: float
    chance: float
    """Two standard errors of that."""
    in_all: float

    @property
    def fails(self) -> bool:
        """Whether it grows as it must not."""
        return self.an_hour - self.chance > BAR and self.in_all > LEAST

    @classmethod
    def of(cls, what: str, times: Sequence[float], values: Sequence[float]) -> Growth:
        """Return the growth of what was measured at these times, in seconds."""
        skip = int(len(times) * WARM)
        hours, kept = [at / 3600 for at in times[skip:]], values[skip:]
        slope, intercept = linear_regression(hours, kept)
        middle, mean = median(kept) or 1.0, sum(hours) / len(hours)
        missed = sum((y - intercept - slope * x) ** 2 for x, y in zip(hours, kept, strict=True))
        spread = sum((x - mean) ** 2 for x in hours)
        error = (missed / max(1, len(kept) - 2) / spread) ** 0.5 if spread else 0.0
        in_all = slope * (hours[-1] - hours[0])
        return cls(what, middle, slope / middle, 2 * error / middle, in_all)


class Load:
    """Clients at a steady rate. `accepted` are the tasks that there are by what was answered."""

    def __init__(self, url: str, rate: float, seed: int) -> None:
        self._url, self._rate, self._random = f"{url}/soaked", rate, random.Random(seed)
        self.accepted: set[str] = set()
        self.sent = self.refused = 0

    async def run(self, until: float) -> None:
        """Send until then, each message whether or not the ones before are answered."""
        timeout = aiohttp.ClientTimeout(total=WITHIN)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            due = time.monotonic()
            while due < until:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += 1 / self._rate
                group.create_task(self._client(session, self.sent), name=f"client {self.sent}")
                self.sent += 1

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        kind = self._random.choice(("short", "short", "stream", "cut", "idle"))
        name = f"{'short' if kind == 'short' else 'stream'}-{number}"
        context = f"c-{self._random.randrange(number + 1)}"  # a new one, or one that goes on
        body = {
            "jsonrpc": "2.0",
            "id": number,
            "method": "SendMessage" if kind == "short" else "SendStreamingMessage",
            "params": message(name, contextId=context),
        }
        try:
            async with session.post(self._url, json=body, headers={"A2A-Version": "1.0"}) as answer:
                if kind == "short":
                    found = await answer.json()
                    self.accepted.add(found["result"]["task"]["id"])
                    return
                async for line in answer.content:
                    if not line.startswith(b"data:") or kind == "stream":
                        continue
                    self.accepted.add(_task_of(line))
                    await asyncio.sleep(5.0 if kind == "idle" else 0.0)  # and reads no more
                    return
        except (aiohttp.ClientError, TimeoutError, KeyError):
            self.refused += 1


def _task_of(line: bytes) -> str:
    """Return the id of the task in the first event of a stream."""
    task: str = msgspec.json.decode(line.removeprefix(b"data:"))["result"]["task"]["id"]
    return task


class Meter:
    """Measures the parts that live through the run."""

    def __init__(self, dev: Dev, js: JetStreamContext) -> None:
        self._dev, self._js = dev, js
        self._pids = {name: pid for name, pid in dev.pids().items() if name not in STRUCK}
        self._pids["pelton dev"] = dev.process.pid
        self.times: list[float] = []
        self.values: dict[str, list[float]] = {}
        self.log: list[tuple[int, int]] = []
        """Records and bytes of the log each time."""

    async def run(self, interval: float) -> None:
        """Measure for ever."""
        began = time.monotonic()
        while True:
            taken = await asyncio.to_thread(self._measure)
            stream = (await self._js.stream_info("LOG")).state
            taken["consumers of the log"] = stream.consumer_count
            self.log.append((stream.messages, stream.bytes))
            self.times.append(time.monotonic() - began)
            for what, value in taken.items():
                self.values.setdefault(what, []).append(value)
            await asyncio.sleep(interval)

    def _measure(self) -> dict[str, float]:
        taken: dict[str, float] = {}
        for name, pid in self._pids.items():
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            taken[f"{name}: MiB"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            taken[f"{name}: files"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        wal = self._dev.cwd / ".pelton" / "projections.db-wal"
        with suppress(FileNotFoundError):
            taken["write-ahead log: MiB"] = wal.stat().st_size / 2**20
        return taken


async def strike(dev: Dev, seed: int) -> None:
    """Kill an executor now and then, for ever; the next time another one."""
    for number in range(sys.maxsize):
        await asyncio.sleep(EVERY)
        name = STRUCK[(number + seed) % len(STRUCK)]
        with suppress(ProcessLookupError):  # it is being started again
            os.kill(dev.pids()[name], signal.SIGKILL)


async def soak(directory: Path, seconds: float, rate: float, seed: int) -> bool:
    """Run it, print what was found, and return whether nothing grew and nothing is stuck."""
    (directory / "soaked.py").write_text(AGENT)
    with Dev(directory, "--executors", "3", agents=("soaked.py",)) as dev:
        dev.ready()
        client = await nats.connect(dev.file["nats"])
        load, meter = Load(dev.url, rate, seed), Meter(dev, client.jetstream())
        async with asyncio.TaskGroup() as group:
            others = [
                group.create_task(meter.run(max(1.0, seconds / SAMPLES)), name="meter"),
                group.create_task(strike(dev, seed), name="strike"),
                group.create_task(tell(load, meter), name="tell"),
            ]
            await load.run(time.monotonic() + seconds)
            for each in others:
                each.cancel()
        await client.close()
        over = await asyncio.to_thread(all_over, dev)
    found = [Growth.of(what, meter.times, values) for what, values in meter.values.items()]
    print(f"\n{load.sent} messages, {len(load.accepted)} tasks known, {load.refused} cut off")
    records, size = meter.log[-1]
    print(f"{records} records in the log, {size / max(1, records):.0f} bytes each")
    print(f"{'measured':28} {'median':>9} {'an hour':>9} {'chance':>8}")
    for one in found:
        told = f"{one.what:28} {one.middle:9.1f} {one.an_hour:+9.2%} {one.chance:8.2%}"
        print(told + ("  grows" if one.fails else ""))
    print("every task is over" if over else "some tasks are not over: they are stuck")
    return over and not any(one.fails for one in found)


async def tell(load: Load, meter: Meter) -> None:
    """Say every minute how far it is."""
    while True:
        await asyncio.sleep(60)
        parts = {what: f"{values[-1]:.0f}" for what, values in meter.values.items()}
        print(f"{meter.times[-1]:6.0f} s  {load.sent} messages  {parts}", flush=True)


def all_over(dev: Dev) -> bool:
    """Wait until no task is open any more; False if some stay so."""
    states = ("submitted", "working")
    try:
        eventually(lambda: not any(open_in(dev, each) for each in states), WITHIN)
    except AssertionError:
        return False
    return True


def open_in(dev: Dev, state: str) -> int:
    """Return how many tasks are in a state."""
    total: int = dev.json("tasks", "--state", state)["total"]
    return total


def main() -> int:
    """Soak; 1 if something grew, or is stuck."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=480)
    parser.add_argument("--rate", type=float, default=50, help="messages a second")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with TemporaryDirectory() as directory:
        well = asyncio.run(soak(Path(directory), given.minutes * 60, given.rate, given.seed))
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
