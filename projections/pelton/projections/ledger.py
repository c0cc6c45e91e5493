"""What tasks leave to others: questions to people, work handed on, dead letters; and counts.

`note` is the part of the projection that tells of these. Rows of what is open are dropped when it
is over; all others are only ever added, so that an event costs the same however much there is.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pelton.events.a2a import Message
from pelton.events.commit import Commit
from pelton.events.event import Event
from pelton.events.events import (
    AttemptEnd,
    AttemptEnded,
    DelegationReported,
    Outcome,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskDeadLettered,
    TaskDelegated,
    TaskRedriven,
    TaskStatusUpdated,
    TimerFired,
    TimerSet,
    TurnEnded,
    TurnStarted,
    UsageReported,
)
from pelton.events.memory import given
from pelton.events.states import TERMINAL
from pelton.events.turns import Question
from pelton.projections import schema
from pelton.projections.database import put
from pelton.projections.rows import SOMETHING, Cells, TaskRow, text
from pelton.projections.usage import Spending

AT_REST: Final = ""
"""The key of what a turn asked that has ended with it: the next message to the task answers it."""

_ASKS: Final = frozenset({Outcome.INPUT_REQUIRED, Outcome.AUTH_REQUIRED})

COMMANDS: Final = "commands"
"""Counts commands that were decided."""
DUPLICATES: Final = "duplicates"
"""Counts those among them that had been decided before: they changed nothing."""
REFUSALS: Final = "refusals"
"""Counts those that were refused."""
TURNS: Final = "turns"
"""Counts turns that began."""
TAKEOVERS: Final = "takeovers"
"""Counts attempts that took over from an executor that had died or stopped."""
RETRIES: Final = "retries"
"""Counts turns and steps that failed and were to be tried again."""
DEAD: Final = "dead-letters"
"""Counts tasks that failed for good without their agent's wish."""
REDRIVEN: Final = "redriven"
"""Counts tasks that were done again after they had failed."""
LATE: Final = "late-reports"
"""Counts reports that nobody waited for any more."""

COUNTS: Final = (
    *(COMMANDS, DUPLICATES, REFUSALS, TURNS, TAKEOVERS, RETRIES, DEAD, REDRIVEN, LATE),
)
"""All names under which is counted, in the order in which they are shown."""

_FORGET = (
    "DELETE FROM questions WHERE (task_id, agent, key) IN"
    " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]') FROM json_each(?))"
)
_OPEN = (
    "SELECT task_id, agent, key, approvers, expires FROM questions"
    " WHERE task_id IN (SELECT value FROM json_each(?)) AND key <> ''"
)

_APPROVERS, _EXPIRES = (schema.QUESTIONS.columns.index(each) for each in ("approvers", "expires"))


class Ledger(msgspec.Struct):
    """What one batch changes here. A question that is None is no longer open."""

    questions: dict[tuple[str, str, str], Cells | None] = {}
    dead: list[Cells] = []
    redrives: list[Cells] = []
    delegations: list[Cells] = []
    reports: list[Cells] = []
    reads: list[Cells] = []
    counts: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    spending: Spending = msgspec.field(default_factory=Spending)

    def asked(
        self, database: sqlite3.Connection, tasks: Sequence[str]
    ) -> dict[tuple[str, str], dict[str, Question]]:
        """Return what turns of these tasks have asked and is open after the batch, by task.

        Only who may answer is told, and until when.
        """
        found = {tuple(row[:3]): row[3:] for row in database.execute(_OPEN, (text(tasks),))}
        wanted = frozenset(tasks)
        for place, cells in self.questions.items():
            if cells is None:
                found.pop(place, None)
            elif place[0] in wanted and place[2] != AT_REST:
                found[place] = [cells[_APPROVERS], cells[_EXPIRES]]
        asked: dict[tuple[str, str], dict[str, Question]] = {}
        for (task, agent, key), (approvers, expires) in found.items():
            question = Question(
                message=SOMETHING, approvers=tuple(msgspec.json.decode(approvers)), expires=expires
            )
            asked.setdefault((task, agent), {})[key] = question
        return asked

    def write(self, database: sqlite3.Connection) -> None:
        """Write it to the tables."""
        if over := [key for key, cells in self.questions.items() if cells is None]:
            database.execute(_FORGET, (text(over),))
        put(database, schema.QUESTIONS, [c for c in self.questions.values() if c])
        put(database, schema.DEAD_LETTERS, self.dead)
        put(database, schema.REDRIVES, self.redrives)
        put(database, schema.DELEGATIONS, self.delegations)
        put(database, schema.REPORTS, self.reports)
        put(database, schema.MEMORY_READS, self.reads)
        counts = [(*key, count) for key, count in self.counts.items()]
        put(database, schema.COUNTS, counts, add=True)
        self.spending.write(database)


class Noted(msgspec.Struct, gc=False):
    """Where the events of the commit at `sequence` that are about a task are told of."""

    ledger: Ledger
    task: TaskRow
    sequence: int
    commit: Commit

    @property
    def place(self) -> tuple[str, str]:
        """The key of the task's row."""
        return self.task.id, self.task.agent

    def over(self, key: str) -> None:
        """Say that the task does not wait for something any more."""
        self.task.waits.pop(key, None)

    def settled(self, key: str) -> None:
        """Say that a question is open no more, if it was."""
        if self.task.waits.pop(key, None) is not None:
            self.ledger.questions[(*self.place, key)] = None

    def close(self) -> None:
        """Say that the task waits for nothing any more."""
        task = self.task
        for key in tuple(task.waits) if task.waits else ():
            self.settled(key)
        task.pause = task.again_at = ""

    def ask(self, key: str, message: Message | None, approvers: Sequence[str], until: str) -> None:
        """Say that the task waits for a person."""
        self.task.waits[key] = until
        self.ledger.questions[(*self.place, key)] = (
            *(*self.place, key, self.task.context_id, self.task.turns, self.sequence),
            *("" if message is None else text(message), text(list(approvers)), until),
            self.commit.time,
        )

    def count(self, name: str) -> None:
        """Count something that happened to the agent."""
        self.ledger.counts[self.task.agent, name] += 1


def note_decision(ledger: Ledger, agent: str, commit: Commit) -> None:
    """Count the command that a commit decides; one that was decided before comes to nothing."""
    ledger.counts[agent, COMMANDS] += 1
    if not commit.data.events:
        ledger.counts[agent, DUPLICATES] += 1


def _turn_started(noted: Noted, event: TurnStarted) -> None:
    task = noted.task
    noted.settled(AT_REST)
    if event.attempt == 1:
        noted.count(TURNS)
    elif task.pause in ("", AttemptEnd.HANDED_BACK):
        noted.count(TAKEOVERS)
    task.pause = task.again_at = ""
    task.began = noted.commit.time if event.attempt > 1 else ""


def _attempt_ended(noted: Noted, event: AttemptEnded) -> None:
    noted.ledger.spending.worked(noted.task, noted.commit, noted.commit.time, over=False)
    noted.task.pause, noted.task.again_at = event.end.value, event.again_at
    if event.end is AttemptEnd.FAILED:
        noted.count(RETRIES)


def _turn_ended(noted: Noted, event: TurnEnded) -> None:
    noted.close()
    task = noted.task
    noted.ledger.spending.worked(task, noted.commit, task.status.timestamp, over=True)
    if event.outcome in _ASKS:
        noted.ask(AT_REST, task.status.message, (), "")


def _status(noted: Noted, event: TaskStatusUpdated) -> None:
    if not noted.task.pause:
        noted.task.began = noted.task.began or event.status.timestamp
    if event.status.state in TERMINAL:
        noted.close()


def _asked(noted: Noted, event: QuestionAsked) -> None:
    noted.ask(event.key, event.message, event.approvers, event.expires)


def _answered(noted: Noted, event: QuestionAnswered | QuestionExpired) -> None:
    noted.settled(event.key)


def _timer(noted: Noted, event: TimerSet) -> None:
    noted.task.waits[event.key] = event.due


def _step_failed(noted: Noted, event: StepFailed) -> None:
    noted.over(event.key)
    if event.again_at:
        noted.task.waits[event.key] = event.again_at
        noted.count(RETRIES)


def _usage(noted: Noted, event: UsageReported) -> None:
    noted.ledger.spending.called(noted.task, noted.commit, event)


def _over(noted: Noted, event: TimerFired | StepStarted) -> None:
    noted.over(event.key)


def _completed(noted: Noted, event: StepCompleted) -> None:
    noted.over(event.key)
    task = noted.task
    for ref in given(event.key, event.result):
        noted.ledger.reads.append(
            (
                *(ref.memory_id, ref.version, *noted.place, task.turns, event.key),
                *(task.context_id, noted.sequence, noted.commit.time),
            )
        )


def _delegated(noted: Noted, event: TaskDelegated) -> None:
    task = noted.task
    task.waits[event.key] = ""
    noted.ledger.delegations.append(
        (
            *(*noted.place, task.turns, event.key, task.context_id),
            *(event.agent, event.context_id, event.child, event.command_id),
            *(noted.sequence, noted.commit.time),
        )
    )


def _reported(noted: Noted, event: DelegationReported) -> None:
    if event.late:
        noted.count(LATE)
    else:
        noted.over(event.key)
    noted.ledger.reports.append(
        (
            *(*noted.place, event.turn, event.key, noted.sequence),
            *(int(event.late), noted.commit.time),
        )
    )


def _dead(noted: Noted, event: TaskDeadLettered) -> None:
    task, failure = noted.task, event.failure
    noted.count(DEAD)
    noted.ledger.dead.append(
        (
            *(*noted.place, task.context_id, task.turns, event.command_id),
            *(failure.kind.value, failure.message, failure.exception, event.attempts),
            *(noted.sequence, noted.commit.time),
        )
    )


def _redriven(noted: Noted, event: TaskRedriven) -> None:
    noted.count(REDRIVEN)
    noted.ledger.redrives.append((*noted.place, event.by, noted.sequence, noted.commit.time))


TELLS: Final[Mapping[type[Event], Callable[[Noted, Any], None]]] = {
    TurnStarted: _turn_started,
    AttemptEnded: _attempt_ended,
    TurnEnded: _turn_ended,
    TaskStatusUpdated: _status,
    QuestionAsked: _asked,
    QuestionAnswered: _answered,
    QuestionExpired: _answered,
    TimerSet: _timer,
    TimerFired: _over,
    StepStarted: _over,
    StepCompleted: _completed,
    StepFailed: _step_failed,
    UsageReported: _usage,
    TaskDelegated: _delegated,
    DelegationReported: _reported,
    TaskDeadLettered: _dead,
    TaskRedriven: _redriven,
}
"""What tells of each type of event that leaves something to others."""
"""What tells of each type of event that leaves something to others; its row has it already."""
