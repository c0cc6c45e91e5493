"""Nothing grows that should not, for hours: `python -m tests.soak --minutes 480` (G14).

`pelton dev` runs with three executors under a steady load of short and streamed tasks, of clients
that vanish in the middle and of some that do not read. Every half minute one of two executors is
killed; all other parts live through the whole run and are measured: memory, open files, consumers
of the log, and what lies on the disk. At the end every task that was accepted has to be over.

A part fails that grows by more than 1 % an hour, beyond what chance explains; nats-server
may besides by what it keeps of each subject. Caches fill in the first quarter of an hour, so a run
of less than an hour says little of memory.
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
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
import nats
import structlog
from nats.aio.client import Client

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
INDEX: Final = 1024 / 2**20
"""MiB that nats-server may keep of each subject, of which a context has two."""
WITHIN: Final = 60.0
RECENT: Final = 200
"""Messages go on with contexts that are at most so many messages old: a long run has a long log, of
which most lies still."""

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
    def of(
        cls, what: str, times: Sequence[float], values: Sequence[float], allowed: Sequence[float]
    ) -> Growth:
        """Return the growth of what was measured at these times, in seconds, beyond what may be."""
        skip = int(len(times) * WARM)
        hours = [at / 3600 for at in times[skip:]]
        kept = [value - less for value, less in zip(values[skip:], allowed[skip:], strict=True)]
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
        self.sent = 0
        self.troubles: Counter[str] = Counter()
        """Why clients got no whole answer, and how often."""

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
        lately = max(0, number - RECENT)
        context = f"c-{self._random.randint(lately, number)}"  # a new one, or one that goes on
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
                    if "result" in found:
                        self.accepted.add(found["result"]["task"]["id"])
                    else:
                        self.troubles[found["error"]["message"]] += 1
                    return
                async for line in answer.content:
                    if not line.startswith(b"data:") or kind == "stream":
                        continue
                    self.accepted.add(_task_of(line))
                    await asyncio.sleep(5.0 if kind == "idle" else 0.0)  # and reads no more
                    return
        except (aiohttp.ClientError, TimeoutError) as error:
            self.troubles[f"{kind}: {error!r}"[:100]] += 1


def _task_of(line: bytes) -> str:
    """Return the id of the task in the first event of a stream."""
    task: str = msgspec.json.decode(line.removeprefix(b"data:"))["result"]["task"]["id"]
    return task


class Meter:
    """Measures the parts that live through the run."""

    def __init__(self, dev: Dev, client: Client) -> None:
        self._dev, self._client = dev, client
        self._pids = {name: pid for name, pid in dev.pids().items() if name not in STRUCK}
        self._pids["pelton dev"] = dev.process.pid
        self.times: list[float] = []
        self.values: dict[str, list[float]] = {}
        self.log: list[tuple[int, int, int]] = []
        """Records, bytes and subjects of the log each time."""

    async def run(self, interval: float) -> None:
        """Measure for ever."""
        began = time.monotonic()
        while True:
            taken = await asyncio.to_thread(self._measure)
            answer = await self._client.request("$JS.API.STREAM.INFO.LOG", timeout=WITHIN)
            stream = msgspec.json.decode(answer.data)["state"]
            taken["consumers of the log"] = stream["consumer_count"]
            self.log.append((stream["messages"], stream["bytes"], stream["num_subjects"]))
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
        load, meter = Load(dev.url, rate, seed), Meter(dev, client)
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
        left = await asyncio.to_thread(open_at_last, dev)
    index = [INDEX * subjects for _, __, subjects in meter.log]
    found = [
        Growth.of(
            what,
            meter.times,
            values,
            index if what == "nats-server: MiB" else [0.0] * len(index),
        )
        for what, values in meter.values.items()
    ]
    told = f"{load.sent} messages, {len(load.accepted)} tasks known"
    print(f"\n{told}, {load.troubles.total()} in trouble")
    for trouble, times in load.troubles.most_common(10):
        print(f"{times:6} {trouble}")
    records, size, subjects = meter.log[-1]
    print(f"{records} records on {subjects} subjects, {size / max(1, records):.0f} bytes each")
    print(f"{'measured':28} {'median':>9} {'an hour':>9} {'chance':>8}")
    for one in found:
        told = f"{one.what:28} {one.middle:9.1f} {one.an_hour:+9.2%} {one.chance:8.2%}"
        print(told + ("  grows" if one.fails else ""))
    print("\n".join(f"stuck: {task}" for task in left[:10]) or "every task is over")
    return not left and not any(one.fails for one in found)


async def tell(load: Load, meter: Meter) -> None:
    """Say every minute how far it is."""
    while True:
        await asyncio.sleep(60)
        parts = {what: f"{values[-1]:.0f}" for what, values in meter.values.items()}
        print(f"{meter.times[-1]:6.0f} s  {load.sent} messages  {parts}", flush=True)


def open_at_last(dev: Dev) -> list[dict[str, Any]]:
    """Return the tasks that are still open when there was time to end them."""
    found: list[dict[str, Any]] = []

    def none_open() -> bool:
        pages = [dev.json("tasks", "--state", state) for state in ("submitted", "working")]
        found[:] = [task for page in pages for task in page["tasks"]]
        return not found

    with suppress(AssertionError):
        eventually(none_open, WITHIN)
    return found


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
