"""Schedules on a real server: each slot fires once, whoever serves and whoever dies (AS-56)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.commands import (
    RemoveSchedule,
    RemoveScheduleData,
    SetSchedule,
    SetScheduleData,
)
from pelton.events.commit import recorded
from pelton.events.context import TaskFold
from pelton.events.envelope import encode
from pelton.events.events import (
    CommandRejected,
    ScheduleFired,
    ScheduleMissed,
    ScheduleRemoved,
    ScheduleSet,
)
from pelton.events.schedule import Missed, Schedule
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.clock import rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.timetable import SCHEDULED, ask, envelope
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, serving

SECONDLY = "* * * * * *"


def echo(*schedules: Schedule) -> Agent:
    """Return an agent that says again what it is told."""

    @agent(name="echo", schedules=schedules)
    async def run(turn: Turn) -> str:
        """Say it again."""
        return turn.text

    return run


async def put(log: JetStreamLog, change: Schedule | str, **attributes: Any) -> None:
    """Ask for a schedule, or for the end of one."""
    asked = {**envelope(WORLD, "echo", actor="anna", tenant="local"), **attributes}
    if isinstance(change, str):
        await ask(log, "echo", RemoveSchedule(data=RemoveScheduleData(name=change), **asked))
    else:
        await ask(log, "echo", SetSchedule(data=SetScheduleData(schedule=change), **asked))


async def told(log: JetStreamLog) -> list[Any]:
    """Return all events of the schedules."""
    records = await log.read(subjects.schedule_commits("echo"))
    return [each.event for record in records for each in recorded(decode_commit(record.data))]


async def until(
    log: JetStreamLog, holds: Callable[[list[Any]], bool], within: float = 20.0
) -> list[Any]:
    """Wait until the events of the schedules are as wanted."""
    moved = asyncio.Event()
    subject = subjects.schedule_commits("echo")
    async with asyncio.timeout(within), log.listen(subject, lambda _: moved.set()):
        while True:
            moved.clear()
            if holds(events := await told(log)):
                return events
            await moved.wait()


def fired(events: list[Any]) -> list[ScheduleFired]:
    return [event for event in events if isinstance(event, ScheduleFired)]


async def task_of(log: JetStreamLog, firing: ScheduleFired) -> TaskFold:
    """Return the task of a firing, once it has ended."""
    contexts = Contexts(log)
    async with asyncio.timeout(10):
        while True:
            state = await contexts.load("echo", firing.context_id)
            task = state.tasks.get(state.commands.get(firing.command_id, ""))
            if task is not None and task.ended:
                return task
            await asyncio.sleep(0.05)


@pytest.mark.accepts("AS-56")
async def test_each_slot_fires_once_among_replicas_and_restarts(log: JetStreamLog) -> None:
    each_second = Schedule(name="beat", text="again", cron=SECONDLY)
    async with serving(log, echo(each_second)), serving(log, echo(each_second)):
        await until(log, lambda events: len(fired(events)) >= 2)
    async with serving(log, echo(each_second)):
        events = await until(log, lambda events: len(fired(events)) >= 5)
        for firing in fired(events):
            await task_of(log, firing)
    assert sum(isinstance(event, ScheduleSet) for event in events) == 1
    slots = [firing.slot for firing in fired(events)]
    assert slots == sorted(set(slots))
    for firing in fired(events):
        task = await task_of(log, firing)
        assert task.status.state is TaskState.COMPLETED
        assert text_of(task.history[0].parts) == "again"
        assert task.metadata == {SCHEDULED: {"name": "beat", "slot": firing.slot}}
    assert len({firing.context_id for firing in fired(events)}) == len(slots)


async def test_a_schedule_set_at_run_time_goes_on_with_its_context(log: JetStreamLog) -> None:
    async with serving(log, echo()):
        await put(log, Schedule(name="daily", text="now", cron=SECONDLY, context="diary"))
        events = await until(log, lambda events: len(fired(events)) >= 2)
        await task_of(log, fired(events)[0])
        await put(log, "daily")
        await until(log, lambda events: any(isinstance(e, ScheduleRemoved) for e in events))
        before = len(fired(await told(log)))
        await asyncio.sleep(2.2)  # two slots that are none any more
        assert len(fired(await told(log))) == before
    assert {firing.context_id for firing in fired(events)} == {"diary"}
    assert (await Contexts(log).load("echo", "diary")).owner == "anna"


async def test_one_time_fires_once_and_only_once(log: JetStreamLog) -> None:
    at = rfc3339(log.now + timedelta(seconds=1.5))
    once = Schedule(name="once", text="now", at=at)
    async with serving(log, echo(once)):
        events = await until(log, lambda events: bool(fired(events)))
        assert rfc3339(log.now) >= at
        await put(log, replace(once, text="again"))  # the same slot
        await put(log, replace(once, name="twice"))
        events = await until(log, lambda events: len(fired(events)) == 2)
    assert [(firing.name, firing.slot) for firing in fired(events)] == [("once", at), ("twice", at)]


@pytest.mark.accepts("AS-56")
@pytest.mark.parametrize("missed", list(Missed))
async def test_missed_slots_follow_the_policy_and_are_recorded(
    log: JetStreamLog, missed: Missed
) -> None:
    old = [rfc3339(log.now - timedelta(minutes=minutes)) for minutes in (7, 5)]
    await put(log, Schedule(name="a", text="x", at=old[0], missed=missed))
    await put(log, Schedule(name="b", text="x", at=old[1], missed=missed))
    async with serving(log, echo()):
        events = await until(log, lambda events: len(events) == 4)
    came = events[2:]
    if missed is Missed.SKIP:
        assert came == [
            ScheduleMissed(name=name, first=slot, last=slot, count=1)
            for name, slot in zip("ab", old, strict=True)
        ]
    else:
        assert [firing.slot for firing in fired(came)] == old


async def test_what_was_fired_and_not_sent_is_sent_by_another(log: JetStreamLog) -> None:
    """As if an executor had died between the two."""
    once = Schedule(name="once", text="now", at=rfc3339(log.now + timedelta(seconds=0.5)))
    broken = Wounded(log)
    async with serving(broken, echo(once)):  # type: ignore[arg-type]
        [firing] = fired(await until(log, lambda events: bool(fired(events))))
        await asyncio.sleep(0.2)  # longer than it takes to send
    assert not await log.read(subjects.commands("echo", firing.context_id))
    async with serving(log, echo(once)):
        assert (await task_of(log, firing)).status.state is TaskState.COMPLETED
    assert len(fired(await told(log))) == 1


class Wounded:
    """A log that takes no message from its executor."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, subject: str, data: bytes, **more: Any) -> int:
        """Append, unless it is a message."""
        if subject.startswith("cmd.") and "_schedules" not in subject:
            await asyncio.Event().wait()
        return await self._log.append(subject, data, **more)


async def test_a_schedule_that_cannot_be_is_refused(log: JetStreamLog) -> None:
    async with serving(log, echo()):
        await put(log, Schedule(name="bad", text="x", cron="often"))
        await put(log, Schedule(name="bad", text="x", cron="* * * * *", zone="Nowhere/City"))
        await put(log, "nothing")
        await log.append(subjects.schedule_commands("echo"), b"no command", id="poison")
        events = await until(log, lambda events: len(events) == 4)
    assert [event.code for event in events if isinstance(event, CommandRejected)] == [
        *("validation-denied", "validation-denied", "schedule-not-found", "damaged-record")
    ]


async def test_what_the_code_declares_can_be_changed_until_the_code_changes(
    log: JetStreamLog,
) -> None:
    first = Schedule(name="a", text="x", cron="0 0 1 1 *")
    paused = replace(first, enabled=False)
    async with serving(log, echo(first)):
        await put(log, paused)
        await until(log, lambda events: len(events) == 2)
    async with serving(log, echo(first)):
        assert len(await told(log)) == 2, "the code has not changed"
    changed = replace(first, text="y")
    async with serving(log, echo(changed)):
        events = await until(log, lambda events: len(events) == 3)
    async with serving(log, echo()):
        events = await until(log, lambda events: len(events) == 4)
    assert [type(event).__name__ for event in events] == [
        *("ScheduleSet", "ScheduleSet", "ScheduleSet", "ScheduleRemoved")
    ]
    assert [event.declared for event in events] == [True, False, True, True]


async def test_the_same_command_twice_is_one(log: JetStreamLog) -> None:
    yearly = Schedule(name="a", text="x", cron="0 0 1 1 *")
    async with serving(log, echo()):
        await put(log, yearly, id="one")
        await until(log, lambda events: len(events) == 1)
        await put(log, "a")
        await until(log, lambda events: len(events) == 2)
        asked: dict[str, Any] = envelope(WORLD, "echo", actor="anna", tenant="local")
        asked["id"] = "one"
        again = SetSchedule(data=SetScheduleData(schedule=yearly), **asked)
        sequence = await log.append(
            subjects.schedule_commands("echo"), encode(again), id="after the window"
        )
        async with asyncio.timeout(10):
            while True:
                last = (await log.read(subjects.schedule_commits("echo")))[-1]
                if decode_commit(last.data).data.handled >= sequence:
                    break
                await asyncio.sleep(0.05)  # the commit has no events that could be waited for
    assert len(await told(log)) == 2
