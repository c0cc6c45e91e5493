"""A task as it was, and what happened to it: straight from the log (AS-22)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from pelton.events import subjects
from pelton.events.a2a import Task
from pelton.events.commit import RecordedEvent, recorded
from pelton.events.context import Context, fold
from pelton.events.decide import foresee
from pelton.events.errors import TaskNotFound
from pelton.events.events import CommandRejected, TaskEvent
from pelton.events.ids import context_of
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.log import Log, Record

Moment = int | datetime
"""A stream sequence, or a time in UTC: everything that was stored until then."""


class Happened(NamedTuple):
    """An event of a task, and the record that holds it."""

    record: Record
    recorded: RecordedEvent


async def context_at(log: Log, agent: str, context_id: str, moment: Moment) -> Context:
    """Return a context as clients saw it at a moment, undecided messages included.

    Raises:
        DamagedRecord: its commits do not chain (law 13).
        LogUnavailable: the log did not answer in time.
    """
    before = _until(moment)
    state = Context(agent=agent, id=context_id)
    for record in filter(before, await log.read(subjects.commits(agent, context_id))):
        state = fold(state, record.sequence, record.data)
    for record in filter(before, await log.read(subjects.commands(agent, context_id))):
        if not state.decided(record.sequence):
            state = foresee(state, decode_command(record.data))
    return state


async def task_at(log: Log, agent: str, task_id: str, moment: Moment) -> Task:
    """Return a task as clients saw it at a moment.

    Raises:
        TaskNotFound: it was not there yet.
        InvalidInput: this is not the id of a task.
    """
    state = await context_at(log, agent, context_of(task_id), moment)
    task = state.tasks.get(task_id)
    if task is None:
        raise TaskNotFound("there was no such task at that moment")
    return task.view()


async def timeline(log: Log, agent: str, task_id: str) -> list[Happened]:
    """Return the events of a task in order, refused commands about it included.

    Raises:
        InvalidInput: this is not the id of a task.
        DamagedRecord: a commit cannot be read.
    """
    return [
        Happened(record, each)
        for record in await log.read(subjects.commits(agent, context_of(task_id)))
        for each in recorded(decode_commit(record.data))
        if isinstance(each.event, TaskEvent | CommandRejected) and each.event.task_id == task_id
    ]


def _until(moment: Moment) -> Callable[[Record], bool]:
    if isinstance(moment, datetime):
        return lambda record: record.received <= moment
    return lambda record: record.sequence <= moment
