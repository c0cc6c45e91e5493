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
    AnyEvent,
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
    tasks: list[TaskRow] = []
    messages: list[Cells] = []
    pieces: list[Cells] = []
    rejected: list[Cells] = []
    taken: list[Cells] = []
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

    `context` and `tasks`, which holds all tasks that the commits go on with, are changed in place;
    what is new besides is added to `changes`.

    Raises:
        Stopped: a commit is not the next one, or is about a task that there is not. What was
            changed until then is of no use.
    """
    work = _Work(changes, context, tasks)
    for place, (sequence, commit) in enumerate(commits):
        try:
            _commit(work, sequence, commit)
        except PeltonError as reason:
            raise Stopped(place, sequence, reason) from reason
    changes.tasks += tasks.values()


class _Work(msgspec.Struct, gc=False):
    """The rows of one context while its commits of a batch are taken in."""

    changes: Changes
    context: ContextRow
    tasks: dict[str, TaskRow]
    sequence: int = 0

    def say(self, task: TaskRow, message: Message, command: str = "") -> None:
        """Add a message to a task's history."""
        task.history += 1
        cells = message_cells(task, task.history, self.sequence, command, message)
        self.changes.messages.append(cells)

    def drop(self, task: TaskRow, position: int) -> None:
        """Drop the pieces of an artifact, in the tables and among the changes."""
        changes = self.changes
        changes.dropped.append((task.id, task.agent, position))
        place = (task.id, task.agent, position)
        changes.pieces = [cells for cells in changes.pieces if cells[:3] != place]


def _commit(work: _Work, sequence: int, commit: Commit) -> None:
    context, data = work.context, commit.data
    if commit.sequence != context.events + 1:
        raise DamagedRecord(
            f"the commit at {sequence} does not follow the one at {context.head}:"
            " a record is missing"
        )
    work.sequence = sequence
    tasks, noted = work.tasks, None
    for event in data.events:
        kind = type(event)
        take = _OF_TASKS.get(kind)
        if take is not None:
            task = tasks.get(event.task_id)  # type: ignore[union-attr]
            if task is None:
                raise IllegalTransition("an event for a task that was never submitted")
            task.sequence += 1
            task.updated = sequence
            take(work, task, event, commit)
            tell = TELLS.get(kind)
            if tell is not None:
                if noted is None or noted.task is not task:
                    noted = Noted(work.changes.ledger, task, sequence, commit)
                tell(noted, event)
        elif isinstance(event, TaskSubmitted):
            _submitted(work, event, commit)
        elif isinstance(event, CommandRejected):
            _rejected(work, event, commit)
    note_decision(work.changes.ledger, context.agent, commit)
    context.head = sequence
    context.events += len(data.events)
    context.time = commit.time
    context.decide(data.command, data.handled)


def _submitted(work: _Work, event: TaskSubmitted, commit: Commit) -> None:
    if event.task_id in work.tasks:
        raise IllegalTransition("a task was submitted twice")
    context = work.context
    context.owner = context.owner or commit.actor
    task = work.tasks[event.task_id] = TaskRow(
        id=event.task_id,
        agent=context.agent,
        context_id=context.id,
        command_id=commit.causationid,
        status=TaskStatus(state=TaskState.SUBMITTED, timestamp=commit.time),
        metadata=event.metadata,
        created=commit.data.command or work.sequence,
        updated=work.sequence,
        owner=context.owner,
    )
    work.say(task, event.message, commit.causationid)


def _rejected(work: _Work, event: CommandRejected, commit: Commit) -> None:
    context = work.context
    work.changes.ledger.count(context.agent, REFUSALS)
    work.changes.rejected.append(
        (
            *(context.key, event.command_id, work.sequence, context.agent, context.id),
            *(event.task_id, event.code, event.reason, commit.time),
        )
    )


def _received(
    work: _Work, task: TaskRow, event: MessageReceived | QuestionAnswered, commit: Commit
) -> None:
    if task.status.message is not None:  # what was asked stands before what is answered
        work.say(task, task.status.message)
        task.status = replace(task.status, message=None)
    work.say(task, event.message, commit.causationid)


def _message(work: _Work, task: TaskRow, event: MessageReceived, commit: Commit) -> None:
    if task.attempt is not None:  # its turn runs and took it, whichever task it was for
        work.changes.taken.append((work.context.key, commit.causationid))
    _received(work, task, event, commit)


def _answered(_: _Work, task: TaskRow, event: MessageAnswered, __: Commit) -> None:
    task.answer = text(event.message)


def _turn_started(_: _Work, task: TaskRow, event: TurnStarted, __: Commit) -> None:
    task.turns, task.attempt, task.executor = event.turn, event.attempt, event.executor


def _turn_ended(_: _Work, task: TaskRow, __: TurnEnded, ___: Commit) -> None:
    task.attempt = task.executor = None


def _status(work: _Work, task: TaskRow, event: TaskStatusUpdated, _: Commit) -> None:
    if task.status.message is not None:  # superseded: it becomes history
        work.say(task, task.status.message)
    task.status = event.status


def _artifact(work: _Work, task: TaskRow, event: TaskArtifactUpdated, _: Commit) -> None:
    artifact, number = event.artifact, task.sequence
    position = task.artifacts.get(artifact.artifact_id)
    if position is None:
        if event.append:
            raise IllegalTransition("an artifact goes on that never began")
        position = number
        task.artifacts = {**task.artifacts, artifact.artifact_id: position}
    elif not event.append:
        work.drop(task, position)
    work.changes.pieces.append((task.id, task.agent, position, number, text(artifact)))


def _withdrawn(work: _Work, task: TaskRow, event: TaskArtifactWithdrawn, _: Commit) -> None:
    position = task.artifacts.get(event.artifact_id)
    if position is not None:
        work.drop(task, position)
        left = {id_: at for id_, at in task.artifacts.items() if id_ != event.artifact_id}
        task.artifacts = left


def _redriven(_: _Work, task: TaskRow, event: TaskRedriven, __: Commit) -> None:
    task.metadata = {**(task.metadata or {}), REDRIVEN: event.by}


def _counted(_: _Work, __: TaskRow, ___: AnyEvent, ____: Commit) -> None:
    """What is for whoever runs the turn only counts among the task's events."""


_OF_TASKS: Final[Mapping[type[Event], Callable[[_Work, TaskRow, Any, Commit], None]]] = {
    MessageReceived: _message,
    MessageAnswered: _answered,
    TurnStarted: _turn_started,
    TurnEnded: _turn_ended,
    TaskStatusUpdated: _status,
    TaskArtifactUpdated: _artifact,
    TaskArtifactWithdrawn: _withdrawn,
    QuestionAnswered: _received,
    TaskRedriven: _redriven,
    AttemptEnded: _counted,
    StepStarted: _counted,
    StepCompleted: _counted,
    StepFailed: _counted,
    ValueRecorded: _counted,
    UsageReported: _counted,
    TimerSet: _counted,
    TimerFired: _counted,
    QuestionAsked: _counted,
    QuestionExpired: _counted,
    TaskDelegated: _counted,
    DelegationAccepted: _counted,
    DelegationReported: _counted,
    TaskDeadLettered: _counted,
    SessionOpened: _counted,
    SessionInvalidated: _counted,
    SessionStored: _counted,
}
"""What takes in each type of event of a task that is there."""
