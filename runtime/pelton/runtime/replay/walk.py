"""A task event by event: what each one changed, and what had caused it (AS-22)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import compress, islice
from operator import is_not
from typing import Any, Final, NamedTuple, cast

import msgspec

from pelton.events import subjects
from pelton.events.commit import Commit, RecordedEvent, recorded
from pelton.events.context import Context, TaskFold, apply, fold_commit
from pelton.events.done import Done
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord
from pelton.events.events import CommandRejected, TaskEvent, name_of
from pelton.events.ids import context_of
from pelton.events.turns import Turn
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


async def walk(reader: Reader, agent: str, task_id: str) -> AsyncGenerator[Pace]:
    """Yield the events of a task in order, refused commands about it included.

    Each has the whole task with it: who keeps many of them lets these go.

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
    state = Context(agent=agent, id=context_id)
    for record in await reader.read(subjects.commits(agent, context_id)):
        commit = decode_commit(record.data)
        began = name_of(commit.data.events[0]) if commit.data.events else ""
        causes[commit.id] = Cause(commit.id, record.sequence, began)
        cause = causes.get(commit.causationid, Cause(commit.causationid, 0, ""))
        state, paces = tread(state, record, commit, cause, task_id)
        for pace in paces:
            yield pace


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
            left, right = _apart(before or {}, now or {})
            differs = changes(left, right)
            found.append(Pace(record, each, cause, now, differs))
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
    return {} if task is None else _written(task)


_UNTOLD: Final = {TaskFold: "sequence", Turn: "cause"}
_NOTHING: Final = object()


def _members(value: Any) -> dict[str, Any] | None:
    """Return the members of a part of a task, if it is one that is compared member by member."""
    if isinstance(value, TaskFold | Turn):
        named = ((name, getattr(value, name)) for name in value.__struct_fields__)
        untold = _UNTOLD[type(value)]
        return {name: e for name, e in named if name != untold and (e or e is False)}
    if isinstance(value, Done):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _apart(before: Any, after: Any) -> tuple[Any, Any]:
    """Return two values as they are written, without most of what is the same in both.

    Folds share what an event leaves as it is. So a task of thousands of steps is compared by what
    moved, and not written out for each of its events.
    """
    left, right = _members(before), _members(after)
    if left is None or right is None:
        return _written(before), _written(after)
    pairs = {n: _apart(left.get(n, _NOTHING), right.get(n, _NOTHING)) for n in _moved(left, right)}
    return (
        {name: one for name, (one, _) in pairs.items() if one is not _NOTHING},
        {name: other for name, (_, other) in pairs.items() if other is not _NOTHING},
    )


def _moved(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Return the names under which two are not one and the same, in order."""
    if list(left) == list(islice(right, len(left))):  # as ever: some have changed, or came last
        altered = compress(left, map(is_not, left.values(), right.values()))
        return [*altered, *islice(right, len(left), None)]
    moved = [name for name, each in left.items() if right.get(name, _NOTHING) is not each]
    return [*moved, *(name for name in right if name not in left)]


def _written(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, TaskFold | Turn):
        return {name: _written(each) for name, each in (_members(value) or {}).items()}
    return value if value is _NOTHING else msgspec.to_builtins(value)
