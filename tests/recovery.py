"""How soon work goes on after a kill, as `pelton dev` runs it: `python -m tests.recovery` (G10).

Each round kills the bridge, nats-server and the executor that runs a task, one after the other, by
SIGKILL in the middle of the task, and takes two times: to the next request that is accepted, and to
the next event of the task. Nobody does anything by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import structlog

from pelton.events import subjects
from pelton.events.commit import Commit
from pelton.events.events import StepCompleted, TurnEnded, TurnStarted
from pelton.events.upcast import decode_commit
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import LogUnavailable
from tests.acceptance.running import Dev, ask, eventually, get, message

BARS: Final = {"bridge": 5.0, "nats-server": 5.0, "executor": 10.0}
"""Which parts are killed, and within how many seconds work is to go on."""

WITHIN: Final = 60.0

WALKER = '''\
import asyncio

from pelton.runtime import Turn, agent


@agent
async def walker(turn: Turn) -> str:
    """Take forty steps, twenty a second."""
    for _ in range(40):
        await turn.step("step", asyncio.sleep, 0.05, idempotent=True)
    return "there"
'''


class Recovery(NamedTuple):
    """After how many seconds a request was accepted, and a task went on."""

    accepted: float
    went_on: float


class Walk:
    """A task in the log."""

    def __init__(self, log: JetStreamLog, context: str) -> None:
        self._log, self._subject = log, subjects.commits("walker", context)
        self.commits: list[tuple[float, Commit]] = []
        self._head = 0

    async def until(self, reached: type[object], *, since: float = 0.0) -> float:
        """Return when (in the server's time) the first commit since a time holds such an event."""
        async with asyncio.timeout(WITHIN):
            while True:
                for at, commit in self.commits:
                    if at > since and any(isinstance(e, reached) for e in commit.data.events):
                        return at
                await asyncio.sleep(0.01)
                await self._read()

    async def _read(self) -> None:
        try:
            records = await self._log.read(self._subject, after=self._head)
        except LogUnavailable:  # the server was killed
            return
        for record in records:
            self._head = record.sequence
            self.commits.append((record.received_ns / 1e9, decode_commit(record.data)))

    @property
    def executor(self) -> str:
        """The executor that runs it."""
        events = [event for _, commit in self.commits for event in commit.data.events]
        return [event.executor for event in events if isinstance(event, TurnStarted)][-1]


def send(dev: Dev, id_: str, within: float = WITHIN) -> None:
    """Send a message; it is accepted when this returns."""
    said = message(id_, contextId=id_) | {"configuration": {"returnImmediately": True}}
    ask(f"{dev.url}/walker", "SendMessage", said, within)


def next_accepted(dev: Dev, id_: str) -> float:
    """Return when the next request was accepted; what is refused or cut off is sent again."""

    def accepted() -> bool:
        try:
            send(dev, id_, within=2.0)
        except (OSError, RuntimeError):
            return False
        return True

    eventually(accepted, WITHIN)
    return time.time()


async def kill(dev: Dev, log: JetStreamLog, part: str, number: int) -> Recovery:
    """Kill a part in the middle of a task, and wait until all is well again."""
    context = f"{part}-{number}"
    await asyncio.to_thread(send, dev, context)
    walk = Walk(log, context)
    await walk.until(StepCompleted)
    pids = {each.get("executor"): each["pid"] for each in dev.file["processes"]}
    pid = pids[walk.executor] if part == "executor" else dev.pids()[part]
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    accepting = asyncio.to_thread(next_accepted, dev, f"{context}-after")
    accepted, went_on = await asyncio.gather(accepting, walk.until(object, since=killed))
    await walk.until(TurnEnded)
    await Walk(log, f"{context}-after").until(TurnEnded)
    await asyncio.to_thread(eventually, lambda: pid not in dev.pids().values(), WITHIN)
    await asyncio.to_thread(eventually, lambda: get(f"{dev.url}/readyz")[0] == 200, WITHIN)
    return Recovery(accepted - killed, went_on - killed)


async def kills(directory: Path, rounds: int) -> dict[str, list[Recovery]]:
    """Kill every part so often."""
    (directory / "walker.py").write_text(WALKER)
    found: dict[str, list[Recovery]] = {part: [] for part in BARS}
    with Dev(directory, "--executors", "2", agents=("walker.py",)) as dev:
        dev.ready()
        async with JetStreamLog.open(dev.file["nats"]) as log:
            for number in range(rounds):
                for part in BARS:
                    found[part].append(await kill(dev, log, part, number))
    return found


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the time within which such a share of all went on."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]


def main() -> int:
    """Kill, and print the times; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each part")
    rounds = parser.parse_args().kills
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with TemporaryDirectory() as directory:
        found = asyncio.run(kills(Path(directory), rounds))
    print("killed       times  accepted p50   p99  went on p50   p99   bar, in seconds")
    missed = False
    for part, times in found.items():
        bar = BARS[part]
        cells = [
            percentile(column, share)
            for column in zip(*times, strict=True)
            for share in (0.5, 0.99)
        ]
        missed |= max(cells) > bar
        told = "{:12.2f} {:5.2f} {:12.2f} {:5.2f}".format(*cells)
        print(f"{part:12} {len(times):5}  {told} {bar:5.0f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
