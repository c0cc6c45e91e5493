"""Looking back as tools: a task event by event, as of any moment, beside another, and run again."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from pelton.adapters.mcp.tool import Answer, Arguments
from pelton.events import subjects
from pelton.events.a2a import JsonObject, Task
from pelton.events.context import TaskFold
from pelton.events.errors import InvalidInput, TaskNotFound, UnsupportedOperation
from pelton.events.events import name_of
from pelton.events.ids import context_of, token
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.runtime.bulk import inline_task
from pelton.runtime.clock import rfc3339
from pelton.runtime.log import Log
from pelton.runtime.replay import diff
from pelton.runtime.replay.archive import Header, pack
from pelton.runtime.replay.session import task_session
from pelton.runtime.replay.walk import Pace, walk

RERUN_WITHIN: Final = 120.0
"""Seconds that an agent's code has to run again."""
_MOST: Final = 200
"""How many differences are told, at most."""

TaskId = Annotated[str, Meta(min_length=1, max_length=256, description="The task's id.")]


class TimelineArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """Which task, and which page of its events."""

    task: TaskId
    page_size: Annotated[int, Meta(ge=1, le=100, description="How many entries, at most.")] = 50
    page_token: Annotated[
        str, Meta(max_length=2048, description="`nextPageToken` of the page before this one.")
    ] = ""


class Moment(Answer, frozen=True, kw_only=True, rename="camel"):
    """An event of a task: where it is, what led to it, and what it changed, line by line."""

    sequence: int
    time: str
    id: str
    name: str
    cause: str
    cause_sequence: int
    event: JsonObject
    changes: tuple[str, ...]


class Timeline(Answer, frozen=True, kw_only=True, rename="camel"):
    """A page of the events of a task, in their order."""

    agent: str
    items: tuple[Moment, ...]
    next_page_token: str
    total_size: int


class StateArguments(Arguments, frozen=True, kw_only=True):
    """Which task, and as of which sequence of the log."""

    task: TaskId
    sequence: Annotated[int, Meta(ge=1, description="The sequence of a record of the log.")]


class State(Answer, frozen=True, kw_only=True):
    """A task as of a sequence of the log."""

    agent: str
    sequence: int
    task: Task


class DiffArguments(Arguments, frozen=True, kw_only=True):
    """Which two tasks."""

    left: TaskId
    right: TaskId


class Diff(Answer, frozen=True, kw_only=True):
    """Where two tasks differ, the first difference first; of more than 200, the first."""

    equal: bool
    alike: int
    differ: int
    differences: tuple[diff.Difference, ...]


class RerunArguments(Arguments, frozen=True, kw_only=True):
    """Which task."""

    task: TaskId


class Rerun(Answer, frozen=True, kw_only=True):
    """What came of running an agent's code again, by the record alone and without any effect."""

    equal: bool
    verdict: JsonObject


async def paces_of(
    log: Log, task: str, until: int = sys.maxsize
) -> tuple[str, list[Pace], TaskFold | None]:
    """Return the agent of a task, its events, and how it stood as of a sequence of the log.

    Raises:
        TaskNotFound: there is none.
    """
    try:
        place = token(context_of(task))
    except InvalidInput:
        raise TaskNotFound("there is no such task") from None
    for last in await log.latest(f"evt.*.{place}"):
        agent, found, there = subjects.parse(last.subject).agent, list[Pace](), False
        then: TaskFold | None = None
        async for pace in walk(log, agent, task):
            there = there or pace.after is not None
            then = pace.after if pace.record.sequence <= until else then
            found.append(pace._replace(after=None))
        if there:
            return agent, found, then
    raise TaskNotFound("there is no such task")


async def timeline(log: Log, given: TimelineArguments) -> Timeline:
    """Tell a task event by event: what led to each, and what it changed."""
    agent, paces, _ = await paces_of(log, given.task)
    asked = ("timeline", given.task)
    [at] = read_cursor(given.page_token, asked, 1) if given.page_token else ("0",)
    if not at.isdecimal():
        raise InvalidInput("the page token is not one of this list", field="pageToken")
    begin = int(at)
    page = paces[begin : begin + given.page_size]
    end = begin + len(page)
    return Timeline(
        agent=agent,
        items=tuple(_moment(pace) for pace in page),
        next_page_token=write_cursor((str(end),), asked) if end < len(paces) else "",
        total_size=len(paces),
    )


def _moment(pace: Pace) -> Moment:
    event = pace.recorded.event
    return Moment(
        sequence=pace.record.sequence,
        time=rfc3339(pace.record.received),
        id=pace.recorded.id,
        name=name_of(event),
        cause=pace.cause.what,
        cause_sequence=pace.cause.sequence,
        event=msgspec.to_builtins(event),
        changes=tuple(each.line() for each in pace.changes),
    )


async def state(log: Log, given: StateArguments) -> State:
    """Tell how a task stood as of a sequence of the log."""
    agent, _, then = await paces_of(log, given.task, given.sequence)
    if then is None:
        raise TaskNotFound("there was no such task then")
    view = await inline_task(log, then.view())
    return State(agent=agent, sequence=given.sequence, task=view)


async def diff_tasks(log: Log, given: DiffArguments) -> Diff:
    """Compare two tasks, event by event."""
    sides: list[Any] = []
    for task in (given.left, given.right):
        await paces_of(log, task)
        sides += [await task_session(log, task, blobs=False), task]
    found = await asyncio.to_thread(diff.diff, *sides)
    return Diff(
        equal=not found.differences,
        alike=found.alike,
        differ=len(found.differences),
        differences=tuple(found.differences[:_MOST]),
    )


async def rerun(log: Log, code: Sequence[str], given: RerunArguments) -> Rerun:
    """Run an agent's code again by the record of a task, without any effect, and compare.

    Raises:
        UnsupportedOperation: nobody has said where the code is, or it cannot be run.
    """
    if not code:
        raise UnsupportedOperation("executor.agents names no code here: pelton rerun can be told")
    await paces_of(log, given.task)
    session = await task_session(log, given.task)
    header = Header(context=context_of(given.task), exported=rfc3339(log.now))
    with tempfile.TemporaryDirectory(prefix="pelton-") as directory:
        file = Path(directory) / "task.pelton"
        file.write_bytes(pack(header, session)[0])
        own = {k: v for k, v in os.environ.items() if not k.startswith("PELTON_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pelton.adapters.cli", "rerun", given.task),
            *("--file", str(file), "--data", directory, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=own | {"PELTON_EXECUTOR_AGENTS": ",".join(code)},
        )
        try:
            async with asyncio.timeout(RERUN_WITHIN):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    try:
        found = msgspec.json.decode(said, type=JsonObject)
    except msgspec.DecodeError:
        raise UnsupportedOperation("the code could not be run again: try pelton rerun") from None
    return Rerun(equal=bool(found["equal"]), verdict=found["verdict"])
