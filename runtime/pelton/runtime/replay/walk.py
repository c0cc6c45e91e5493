"""A task event by event: what each one changed, and what had caused it (AS-22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.commit import Commit, RecordedEvent, recorded
from pelton.events.context import Context, TaskFold, apply, fold_commit
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord
from pelton.events.events import CommandRejected, TaskEvent, name_of
from pelton.events.ids import context_of
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.changes import Change, changes
from pelton.runtime.replay.session import Reader


class Cause(NamedTuple):
    """What led to an event: a command, or the commit that began its turn.

    `sequence` is where that is, 0 if it is not to be found; `what` names the command, or the first
    event of the commit.
    """

    id: str
    sequence: int
    what: str


class Pace(NamedTuple):
    """One event of a task: the record that holds it, its cause, and what it changed.

    `after` is the task with it, None while there is no task yet.
    """

    record: Record
    recorded: RecordedEvent
    cause: Cause
    after: TaskFold | None
    changes: Sequence[Change]


async def walk(reader: Reader, agent: str, task_id: str) -> list[Pace]:
    """Return the events of a task in order, refused commands about it included.

    Raises:
        InvalidInput: this is not the id of a task.
        DamagedRecord: the commits of its context do not chain (law 13).
        LogUnavailable: the log did not answer in time.
    """
    context_id = context_of(task_id)
    causes = {
        cause.id: cause
        for record in await reader.read(subjects.commands(agent, context_id))
        if (cause := _command(record)) is not None
    }
    found: list[Pace] = []
    state = Context(agent=agent, id=context_id)
    for record in await reader.read(subjects.commits(agent, context_id)):
        commit = decode_commit(record.data)
        began = name_of(commit.data.events[0]) if commit.data.events else ""
        causes[commit.id] = Cause(commit.id, record.sequence, began)
        cause = causes.get(commit.causationid, Cause(commit.causationid, 0, ""))
        state, paces = tread(state, record, commit, cause, task_id)
        found += paces
    return found


def tread(
    state: Context, record: Record, commit: Commit, cause: Cause, task_id: str | None = None
) -> tuple[Context, list[Pace]]:
    """Return a context after a commit, which a record holds, and its events: of one task or of all.

    Raises:
        DamagedRecord: the commit does not follow what the context has (law 13).
    """
    after = fold_commit(state, record.sequence, commit, digest(record.data))
    found: list[Pace] = []
    for each in recorded(commit):
        event = each.event
        about = event.task_id if isinstance(event, TaskEvent | CommandRejected) else ""
        before = state.tasks.get(about)
        state = apply(state, event, commit)
        if about and task_id in (None, about):
            now = state.tasks.get(about)
            found.append(Pace(record, each, cause, now, changes(shown(before), shown(now))))
    return after, found


def _command(record: Record) -> Cause | None:
    try:
        command = decode_command(record.data)
    except DamagedRecord:  # it has caused nothing but its refusal, which names the record
        return None
    return Cause(command.id, record.sequence, type(command).__name__)


def shown(task: TaskFold | None) -> dict[str, Any]:
    """Return what of a task is compared: not what counts its events, nor its turn's first commit.

    Members that say nothing are left out, so that only what comes is told of a new task.
    """
    if task is None:
        return {}
    found: dict[str, Any] = msgspec.to_builtins(task)
    del found["sequence"]
    if found["turn"] is not None:
        del found["turn"]["cause"]
        found["turn"] = _said(found["turn"])
    return _said(found)


def _said(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value or value is False}
