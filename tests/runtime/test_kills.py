"""SIGKILL at every boundary of a turn that steps, delegates and asks (AS-11, G1, G3, G5)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pelton.events.a2a import Part, TaskState
from pelton.events.context import Context
from pelton.events.events import (
    DelegationReported,
    QuestionAnswered,
    StepCompleted,
    StepStarted,
    TaskDelegated,
    TaskStatusUpdated,
    TurnEnded,
    TurnStarted,
)
from pelton.events.states import TERMINAL
from pelton.runtime.failpoints import PLACES, Point
from pelton.runtime.jetstream.log import JetStreamLog
from tests.runtime.clients import Client, only, reply
from tests.runtime.killed import ALL, EFFECTS

Accounts = Callable[[], Awaitable[str]]


async def _executor(url: str, *point: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runtime.killed", url, *point),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while (line := await process.stdout.readline()) != b"ready\n":  # the others are its log
            assert line, "it ended before it was ready"
    return process


async def sweep(new_account: Accounts, folder: Path, points: Sequence[Point]) -> list[Point]:
    """Kill an executor at each of the points; return those that were reached."""
    at_once, reached = asyncio.Semaphore(3), list[Point]()

    async def killed_at(point: Point, url: str) -> None:
        async with at_once:
            if await _survives(url, folder / str(point).replace(" ", "-"), point):
                reached.append(point)

    async with asyncio.TaskGroup() as group:
        for point in points:
            group.create_task(killed_at(point, await new_account()))
    return reached


async def _survives(url: str, path: Path, point: Point) -> bool:
    """Kill it there, let another one go on, and check what came of it; whether it was killed."""
    async with JetStreamLog.open(url) as log:
        client = Client(log, "boss")
        victim = await _executor(url, str(point))
        heir = asyncio.create_task(_inherit(url, victim))
        context, task = await client.send(str(path))
        await client.asked(context, task, within=60)
        await client.send("7", context, task=task)
        ended = await client.settled(context, task, within=60)
        if victim.returncode is None:
            victim.send_signal(signal.SIGTERM)
        last = await asyncio.wait_for(heir, 60)  # another one, if it was killed even as it ended
        if last.returncode is None:
            last.send_signal(signal.SIGTERM)
        await asyncio.wait_for(last.wait(), 30)
        assert ended.status.state is TaskState.COMPLETED, point
        assert reply(ended) == "first handed-on 7 last", point
        assert only(ended).parts == (Part(text="[first][last]"),), point
        await _once(client, context, path)
    return victim.returncode == -signal.SIGKILL


async def _inherit(url: str, victim: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
    if await victim.wait() != -signal.SIGKILL:
        return victim  # it was told to stop
    return await _executor(url)


async def _once(client: Client, context: str, path: Path) -> None:
    """Check that everything happened once: ends, results, the delegation, report and answer."""
    events = await client.events(context)
    (handed,) = _of(events, TaskDelegated)
    assert len(_of(events, DelegationReported)) == len(_of(events, QuestionAnswered)) == 1
    child = Client(client.log, "worker")
    theirs = await child.events(handed.context_id)
    lines = Counter(line.split()[1] for line in path.read_text().splitlines())
    for each in (events, theirs):
        ends = [e for e in _of(each, TaskStatusUpdated) if e.status.state in TERMINAL]
        assert len(ends) == len(_of(each, TurnEnded)) == 1
        attempts = [e.attempt for e in _of(each, TurnStarted)]
        assert attempts == sorted(set(attempts))
        results = Counter(e.key for e in _of(each, StepCompleted))
        assert set(results.values()) == {1}, "one result of each step"
        intents = Counter(e.idempotency_key for e in _of(each, StepStarted))
        for key, begun in intents.items():
            assert 1 <= lines[key] <= begun <= 2, "only the step in flight ran again"
    state: Context = await child.contexts.load("worker", handed.context_id)
    assert set(state.tasks) == {handed.child}, "it was handed on once"


def _of(events: Sequence[Any], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.timeout(180)
@pytest.mark.accepts("AS-10", "AS-11", "AS-50", "G1", "G3", "G5")
@pytest.mark.parametrize("places", [PLACES, EFFECTS], ids=["records", "effects"])
async def test_a_turn_survives_sigkill_at_every_boundary(
    new_account: Accounts, tmp_path: Path, places: tuple[str, ...]
) -> None:
    """The first of each; `make chaos` does the others."""
    points = [Point(place, 1) for place in places]
    assert sorted(await sweep(new_account, tmp_path, points), key=points.index) == points


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.accepts("AS-11", "G5")
async def test_a_turn_survives_sigkill_at_every_occurrence(
    new_account: Accounts, tmp_path: Path
) -> None:
    """The first three of each boundary, and all further commits and answers there are."""
    most = {"before commit": 12, "after commit": 12, "before answer": 6}
    points = [Point(place, nth) for place in ALL for nth in range(1, most.get(place, 3) + 1)]
    reached = await sweep(new_account, tmp_path, points)
    print(f"killed at {len(reached)} of {len(points)} points")
    assert len(reached) >= 25
