"""What events change in the read models: the projection itself, a pure function.

It tells in rows what `pelton.events.context` tells in values, at a cost per event that does not
grow with the context, and without checking what deciders have checked. Property tests hold the two
together: a task as served from here equals the task as folded there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import Message, TaskState, TaskStatus
from pelton.events.commit import Commit
from pelton.events.context import REDRIVEN
from pelton.events.errors import DamagedRecord, IllegalTransition, PeltonError
from pelton.events.event import Event
from pelton.events.events import (
    AttemptEnded,
    CommandRejected,
    DelegationAccepted,
    DelegationReported,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskDeadLettered,
    TaskDelegated,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TimerFired,
    TimerSet,
    TurnEnded,
    TurnStarted,
    UsageReported,
    ValueRecorded,
)
from pelton.events.session import SessionInvalidated, SessionOpened, SessionStored
from pelton.projections.ledger import REFUSALS, TELLS, Ledger, Noted, note_decision
from pelton.projections.rows import Cells, ContextRow, TaskRow, message_cells, text


class Changes(msgspec.Struct):
    """What one batch changes, each row once. `dropped` goes before everything that is added."""

    contexts: dict[str, ContextRow] = {}
    tasks: list[Cells] = []
    open: list[TaskRow] = []
    """Those of contexts in which commands wait, which have yet to show."""
    messages: list[Cells] = []
    pieces: list[Cells] = []
    rejected: list[Cells] = []
    taken: list[Cells] = []
    acts: list[Cells] = []
    """Which commits decide what somebody has asked for (`audit`)."""
    dropped: list[tuple[str, str, int]] = []
    """Artifacts whose pieces so far are no longer: task, agent, position."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)


class Stopped(Exception):
    """A commit that does not fit. `place` is its index among those given."""

    def __init__(self, place: int, sequence: int, reason: PeltonError) -> None:
        super().__init__(str(reason))
        self.place, self.sequence, self.reason = place, sequence, reason


def fold(
    changes: Changes,
    context: ContextRow,
    tasks: dict[str, TaskRow],
    commits: Sequence[tuple[int, Commit]],
) -> None:
    """Take the commits of one context, in order with their stream sequences, into its rows.

    `context` and `tasks`, which holds all tasks that the commits go on with, are changed in place,
    and new tasks are added to these; what is new besides is added to `changes`.

    Raises:
        Stopped: a commit is not the next one, or is about a task that there is not. What was
            changed until then is of no use.
    """
    for place, (sequence, commit) in enumerate(commits):
        work = _Work(changes.ledger, _NO_TASK, sequence, commit, changes, context, tasks)
        try:
            _commit(work, commit)
        except PeltonError as reason:
            raise Stopped(place, sequence, reason) from reason


_NO_TASK: Final = TaskRow(
    id="", agent="", context_id="", command_id="", status=TaskStatus(state=TaskState.SUBMITTED)
)


class _Work(Noted, gc=False):
    """The rows of one context while a commit is taken in."""

    changes: Changes
    context: ContextRow
    tasks: dict[str, TaskRow]

    def turn_to(self, id_: str) -> TaskRow:
        """Return the task that the next events are about."""
        task = self.tasks.get(id_)
        if task is None:
            raise IllegalTransition("an event for a task that was never submitted")
        task.updated = self.sequence
        self.task = task
        return task

    def say(self, message: Message, command: str = "") -> None:
        """Add a message to the task's history."""
        task = self.task
        task.history += 1
        cells = message_cells(task, task.history, self.sequence, command, message)
        self.changes.messages.append(cells)

    def drop(self, position: int) -> None:
        """Drop the pieces of an artifact of the task, in the tables and among the changes."""
        changes = self.changes
        place = (*self.place, position)
        changes.dropped.append(place)
        changes.pieces = [cells for cells in changes.pieces if cells[:3] != place]


def _commit(work: _Work, commit: Commit) -> None:
    context, data, sequence = work.context, commit.data, work.sequence
    if commit.sequence != context.events + 1:
        raise DamagedRecord(
            f"the commit at {sequence} does not follow the one at {context.head}:"
            " a record is missing"
        )
    task: TaskRow | None = None
    refused = 0
    for event in data.events:
        takes = _TAKES.get(type(event))
        if takes is not None:
            if task is None or event.task_id != task.id:  # type: ignore[union-attr]
                task = work.turn_to(event.task_id)  # type: ignore[union-attr]
            task.sequence += 1
            for take in takes:
                take(work, event)
        elif isinstance(event, TaskSubmitted):
            task = _submitted(work, event)
        elif isinstance(event, CommandRejected):
            _rejected(work, event)
            refused = 1
    if data.command:
        note_decision(work.ledger, context.agent, commit)
        work.changes.acts.append((sequence, commit.actor, context.agent, refused))
    context.head = sequence
    context.events += len(data.events)
    context.time = commit.time
    context.decide(data.command, data.handled)


def _submitted(work: _Work, event: TaskSubmitted) -> TaskRow:
    if event.task_id in work.tasks:
        raise IllegalTransition("a task was submitted twice")
    context, commit, sequence = work.context, work.commit, work.sequence
    context.owner = context.owner or commit.actor
    task = work.task = work.tasks[event.task_id] = TaskRow(
        id=event.task_id,
        agent=context.agent,
        context_id=context.id,
        command_id=commit.causationid,
        status=TaskStatus(state=TaskState.SUBMITTED, timestamp=commit.time),
        metadata=event.metadata,
        created=commit.data.command or sequence,
        updated=sequence,
        owner=context.owner,
    )
    work.say(event.message, commit.causationid)
    return task


def _rejected(work: _Work, event: CommandRejected) -> None:
    context = work.context
    work.ledger.counts[context.agent, REFUSALS] += 1
    work.changes.rejected.append(
        (
            *(context.key, event.command_id, work.sequence, context.agent, context.id),
            *(event.task_id, event.code, event.reason, work.commit.time),
        )
    )


def _received(work: _Work, event: MessageReceived | QuestionAnswered) -> None:
    task = work.task
    if task.status.message is not None:  # what was asked stands before what is answered
        work.say(task.status.message)
        task.status = replace(task.status, message=None)
    work.say(event.message, work.commit.causationid)


def _message(work: _Work, event: MessageReceived) -> None:
    if work.task.attempt is not None:  # its turn runs and took it, whichever task it was for
        work.changes.taken.append((work.context.key, work.commit.causationid))
    _received(work, event)


def _answered(work: _Work, event: MessageAnswered) -> None:
    work.task.answer = text(event.message)


def _turn_started(work: _Work, event: TurnStarted) -> None:
    task = work.task
    task.turns, task.attempt, task.executor = event.turn, event.attempt, event.executor


def _turn_ended(work: _Work, _: TurnEnded) -> None:
    task = work.task
    task.attempt = task.executor = None


def _status(work: _Work, event: TaskStatusUpdated) -> None:
    task = work.task
    if task.status.message is not None:  # superseded: it becomes history
        work.say(task.status.message)
    task.status = event.status


def _artifact(work: _Work, event: TaskArtifactUpdated) -> None:
    task, artifact = work.task, event.artifact
    number = task.sequence
    position = task.artifacts.get(artifact.artifact_id)
    if position is None:
        if event.append:
            raise IllegalTransition("an artifact goes on that never began")
        position = number
        task.artifacts = {**task.artifacts, artifact.artifact_id: position}
    elif not event.append:
        work.drop(position)
    work.changes.pieces.append((*work.place, position, number, text(artifact)))


def _withdrawn(work: _Work, event: TaskArtifactWithdrawn) -> None:
    task = work.task
    position = task.artifacts.get(event.artifact_id)
    if position is not None:
        work.drop(position)
        left = {id_: at for id_, at in task.artifacts.items() if id_ != event.artifact_id}
        task.artifacts = left


def _redriven(work: _Work, event: TaskRedriven) -> None:
    task = work.task
    task.metadata = {**(task.metadata or {}), REDRIVEN: event.by}


_OF_TASKS: Final[Mapping[type[Event], Callable[[_Work, Any], None] | None]] = {
    MessageReceived: _message,
    MessageAnswered: _answered,
    TurnStarted: _turn_started,
    TurnEnded: _turn_ended,
    TaskStatusUpdated: _status,
    TaskArtifactUpdated: _artifact,
    TaskArtifactWithdrawn: _withdrawn,
    QuestionAnswered: _received,
    TaskRedriven: _redriven,
    AttemptEnded: None,
    StepStarted: None,
    StepCompleted: None,
    StepFailed: None,
    ValueRecorded: None,
    UsageReported: None,
    TimerSet: None,
    TimerFired: None,
    QuestionAsked: None,
    QuestionExpired: None,
    TaskDelegated: None,
    DelegationAccepted: None,
    DelegationReported: None,
    TaskDeadLettered: None,
    SessionOpened: None,
    SessionInvalidated: None,
    SessionStored: None,
}
"""What takes in each type of event of a task that is there; where nothing does, it only counts."""

_TAKES: Final[Mapping[type[Event], tuple[Callable[[_Work, Any], None], ...]]] = {
    kind: tuple(each for each in (take, TELLS.get(kind)) if each is not None)
    for kind, take in _OF_TASKS.items()
}
"""And what tells others of it."""
