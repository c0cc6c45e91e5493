"""What came to a task from outside, and a record in which some of it is another task's.

Messages, results of steps, answers, reports of other agents, and values that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import text_of
from pelton.events.commands import SendMessage
from pelton.events.envelope import encode
from pelton.events.errors import TaskNotFound
from pelton.events.events import (
    AnyEvent,
    DelegationReported,
    MessageReceived,
    QuestionAnswered,
    StepCompleted,
    StepFailed,
    TaskEvent,
    TaskSubmitted,
    TurnStarted,
    ValueRecorded,
)
from pelton.events.ids import context_of
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.log import Record
from pelton.runtime.options import KEY
from pelton.runtime.replay.changes import Change, changes
from pelton.runtime.replay.fork import DEADLINE
from pelton.runtime.replay.session import Session

_OURS: Final = (DEADLINE, "known:", "received#", KEY)
"""How the keys of values begin that follow from something else."""

_Came = (
    TaskSubmitted
    | MessageReceived
    | QuestionAnswered
    | DelegationReported
    | StepCompleted
    | StepFailed
    | ValueRecorded
)


class Input(NamedTuple):
    """Something that came to a task: `what` it is, and where it is recorded.

    `place` is that of the event in the commit at `sequence`, `command` the sequence of the message
    that was sent, if it was one.
    """

    what: str
    sequence: int
    place: int
    command: int
    event: _Came

    @property
    def content(self) -> Any:
        """What was said, returned or drawn, without what follows from who asked when."""
        event = self.event
        match event:
            case TaskSubmitted() | MessageReceived() | QuestionAnswered():
                return msgspec.to_builtins(event.message.parts)
            case DelegationReported(outcome=None):
                return msgspec.to_builtins(event.blob)
            case DelegationReported(outcome=outcome):
                assert outcome is not None  # as was looked for
                said = outcome.message.parts if outcome.message else ()
                pieces = [each.parts for each in outcome.artifacts]
                return msgspec.to_builtins((outcome.state, said, pieces))
            case StepCompleted():
                return msgspec.to_builtins(event.blob) if event.blob else event.result
            case StepFailed():
                return msgspec.to_builtins(event.failure)
            case ValueRecorded():
                return event.value

    def line(self) -> str:
        """Return what it is, on a line."""
        event = self.event
        if isinstance(event, TaskSubmitted | MessageReceived | QuestionAnswered):
            return repr(text_of(event.message.parts)[:80])
        return msgspec.json.encode(self.content).decode()[:80]


class Swap(NamedTuple):
    """An input that two tasks have otherwise."""

    good: Input
    bad: Input

    def fields(self) -> list[Change]:
        """Return what differs, from the bad one to the good one."""
        return changes({"content": self.bad.content}, {"content": self.good.content})


def inputs(session: Session, task: str) -> dict[str, Input]:
    """Return what came to a task, by what it is, in order.

    Raises:
        TaskNotFound: the session has no such task.
        InvalidInput: this is not the id of a task.
    """
    context_id = context_of(task)
    for agent, id_ in session.contexts:
        if id_ == context_id:
            found = {each.what: each for each in _inputs(session.commits(agent, id_), task)}
            if found:
                return found
    raise TaskNotFound(f"no task {task[:80]!r} is recorded")


def _inputs(records: Iterable[Record], task: str) -> Iterator[Input]:
    turn = messages = 0
    for record in records:
        commit = decode_commit(record.data)
        for place, event in enumerate(commit.data.events):
            if not isinstance(event, TaskEvent) or event.task_id != task:
                continue
            if isinstance(event, TurnStarted):
                turn = event.turn
            if not _came(event):
                continue
            if isinstance(event, TaskSubmitted | MessageReceived):
                messages += 1
                what = f"message {messages}"
            else:
                what = f"turn {turn} {getattr(event, 'key', '')}"
            came = cast("_Came", event)
            yield Input(what, record.sequence, place, commit.data.command, came)


def _came(event: AnyEvent) -> bool:
    match event:
        case TaskSubmitted() | MessageReceived() | QuestionAnswered() | StepCompleted():
            return True
        case StepFailed():
            return not event.again_at
        case DelegationReported():
            return not event.late
        case ValueRecorded():
            return not event.key.startswith(_OURS)
        case _:
            return False


def differing(good: dict[str, Input], bad: dict[str, Input]) -> list[Swap]:
    """Return what both tasks were given, and otherwise, in the order of the bad one."""
    both = (Swap(good[what], each) for what, each in bad.items() if what in good)
    return [swap for swap in both if swap.good.content != swap.bad.content]


def swapped(session: Session, other: Session, swaps: Iterable[Swap]) -> Session:
    """Return the session of the bad task as if it had been given what the good one was.

    It is no record any more: its commits do not chain. It is there to play a trial from.
    """
    events: dict[int, dict[int, AnyEvent]] = {}
    said: dict[int, Any] = {}
    for good, bad in swaps:
        event = _as(good.event, bad.event)
        events.setdefault(bad.sequence, {})[bad.place] = event
        if isinstance(event, TaskSubmitted | MessageReceived | QuestionAnswered) and bad.command:
            said[bad.command] = event.message.parts
    records: list[Record] = []
    for record in session.records:
        data = record.data
        if record.sequence in events:
            commit, mine = decode_commit(data), events[record.sequence]
            new = tuple(mine.get(at, each) for at, each in enumerate(commit.data.events))
            data = encode(replace(commit, data=replace(commit.data, events=new)))
        elif record.sequence in said:
            command = decode_command(data)
            assert isinstance(command, SendMessage)  # what else says something
            message = replace(command.data.message, parts=said[record.sequence])
            data = encode(replace(command, data=replace(command.data, message=message)))
        records.append(record._replace(data=data))
    return Session(records, {**other.blobs, **session.blobs}, session.vault)


def _as(good: _Came, bad: _Came) -> AnyEvent:
    """Return the event of the good task in the place of the bad one's."""
    if isinstance(bad, TaskSubmitted | MessageReceived | QuestionAnswered):
        assert isinstance(good, TaskSubmitted | MessageReceived | QuestionAnswered)
        return replace(bad, message=replace(bad.message, parts=good.message.parts))
    if isinstance(bad, DelegationReported) and isinstance(good, DelegationReported):
        return replace(bad, outcome=good.outcome, blob=good.blob, failure=good.failure)
    return replace(good, task_id=bad.task_id)
