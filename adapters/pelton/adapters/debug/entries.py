"""The lines of a timeline: each command, and each event of each commit, in the order of the log."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import msgspec

from pelton.adapters.cli.timeline import describe, describe_command
from pelton.events.commands import CancelTask, Command, ReportTask, SendMessage
from pelton.events.errors import PeltonError
from pelton.events.events import (
    AnyEvent,
    AttemptEnd,
    AttemptEnded,
    CommandRejected,
    Outcome,
    StepFailed,
    TaskDeadLettered,
    TaskEvent,
    TaskStatusUpdated,
    TurnEnded,
    name_of,
)
from pelton.events.ids import task_id
from pelton.events.memories import unsaid
from pelton.events.subjects import Subject, parse
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.log import Record


class Kind(enum.StrEnum):
    """What an entry is about: a letter each, for there are many."""

    COMMAND = "c"
    MESSAGE = "m"
    TURN = "t"
    STEP = "p"
    WAIT = "w"
    DELEGATION = "d"
    STATUS = "s"
    ARTIFACT = "a"
    DAMAGE = "x"


_KINDS: Final = {
    **dict.fromkeys(("TaskSubmitted", "MessageReceived", "MessageAnswered"), Kind.MESSAGE),
    **dict.fromkeys(("TurnStarted", "AttemptEnded", "TurnEnded"), Kind.TURN),
    **dict.fromkeys(("StepStarted", "StepCompleted", "StepFailed", "ValueRecorded"), Kind.STEP),
    **dict.fromkeys(("UsageReported", "CallRuled"), Kind.STEP),
    **dict.fromkeys(("TimerSet", "TimerFired"), Kind.WAIT),
    **dict.fromkeys(("QuestionAsked", "QuestionAnswered", "QuestionExpired"), Kind.WAIT),
    **dict.fromkeys(("TaskDelegated", "DelegationAccepted", "DelegationReported"), Kind.DELEGATION),
    **dict.fromkeys(("TaskArtifactUpdated", "TaskArtifactWithdrawn"), Kind.ARTIFACT),
}
_BAD: Final = frozenset({"TASK_STATE_FAILED", "TASK_STATE_REJECTED"})


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One line: an event of a commit, by its place in it from 1, or a command, whose place is 0.

    `time` is when the log took it, in milliseconds since 1970; `words` say it in short, and `bad`
    that something went wrong.
    """

    sequence: int
    place: int
    time: int
    agent: str
    context: str
    task: str
    kind: Kind
    name: str
    words: str
    bad: bool = False

    @property
    def letter(self) -> str:
        """Its kind, in capitals if something went wrong."""
        return self.kind.upper() if self.bad else self.kind.value


def entries_of(record: Record) -> Iterator[Entry]:
    """Yield the entries of a record; one that cannot be read is an entry too."""
    subject = parse(record.subject)
    is_command = subject.kind == "cmd"
    try:
        if is_command:
            command = decode_command(record.data)
            name, words = describe_command(command)
            task = _about(subject.context, command)
            yield _entry(record, subject, 0, Kind.COMMAND, name=name, words=words, task=task)
            return
        for place, event in enumerate(unsaid(decode_commit(record.data)).data.events, 1):
            name = name_of(event)
            yield _entry(
                record,
                subject,
                place,
                _KINDS.get(name, Kind.STATUS),
                name=name,
                words=describe(event),
                task=event.task_id if isinstance(event, TaskEvent | CommandRejected) else "",
                bad=_bad(event),
            )
    except PeltonError as error:
        place = 0 if is_command else 1
        yield _entry(
            record, subject, place, Kind.DAMAGE, name="damaged", words=str(error), bad=True
        )


def _entry(
    record: Record,
    subject: Subject,
    place: int,
    kind: Kind,
    *,
    name: str,
    words: str,
    task: str = "",
    bad: bool = False,
) -> Entry:
    return Entry(
        sequence=record.sequence,
        place=place,
        time=record.received_ns // 1_000_000,
        agent=subject.agent,
        context=subject.context,
        task=task,
        kind=kind,
        name=name,
        words=words,
        bad=bad,
    )


def _about(context_id: str, command: Command) -> str:
    """Return the task that a command names, or opens if it names none."""
    match command:
        case SendMessage():
            return command.data.message.task_id or task_id(context_id, command.id)
        case CancelTask():
            return command.data.task_id
        case ReportTask():
            return command.data.delegation.task_id


def _bad(event: AnyEvent) -> bool:
    match event:
        case StepFailed() | CommandRejected() | TaskDeadLettered():
            return True
        case TurnEnded():
            return event.outcome in (Outcome.FAILED, Outcome.REJECTED)
        case AttemptEnded():
            return event.end is AttemptEnd.FAILED
        case TaskStatusUpdated():
            return event.status.state in _BAD
        case _:
            return False
