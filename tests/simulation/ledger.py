"""What the log has of one turn, taken in event by event: everything once, nothing too early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pelton.events.a2a import Message, TaskState
from pelton.events.commit import Commit
from pelton.events.delegation import TaskOutcome
from pelton.events.events import (
    MessageReceived,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskEvent,
    TaskStatusUpdated,
    TimerFired,
    TimerSet,
    ValueRecorded,
)


class Violation(AssertionError):
    """A guarantee does not hold."""


def require(holds: bool, what: str, why: object) -> None:
    """Raise a violation unless something holds."""
    if not holds:
        raise Violation(f"{what}: {why}")


@dataclass
class Ledger:
    """The records of one turn by their keys; `owner` is whose task it is.

    An answer is None if its question expired, a timer is the time at which it is due, or empty once
    it has fired. `intents` counts how often a step was begun, `again` how often it failed and was
    to run again.
    """

    agent: str
    owner: str
    chain: tuple[str, ...]
    counts: Counter[str]
    steps: dict[str, StepCompleted | StepFailed] = field(default_factory=dict)
    intents: Counter[str] = field(default_factory=Counter[str])
    idempotent: dict[str, bool] = field(default_factory=dict[str, bool])
    again: Counter[str] = field(default_factory=Counter[str])
    values: dict[str, Any] = field(default_factory=dict)
    timers: dict[str, str] = field(default_factory=dict)
    questions: dict[str, QuestionAsked] = field(default_factory=dict)
    answers: dict[str, tuple[Message, str] | None] = field(default_factory=dict)
    reports: dict[str, TaskOutcome | None] = field(default_factory=dict)
    received: dict[str, Message] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter[str])

    def take(self, event: TaskEvent, commit: Commit, at: str) -> None:
        """Take in an event of the turn; `at` is when the server got it.

        Raises:
            Violation: it must not happen.
        """
        match event:
            case StepStarted() | StepCompleted() | StepFailed():
                self._step(event)
            case TimerSet() | TimerFired():
                self._timer(event, at)
            case QuestionAsked() | QuestionAnswered() | QuestionExpired():
                self._question(event, commit, at)
            case MessageReceived():
                self._message(event, commit)
            case ValueRecorded(key=key):
                require(key not in self.values, "values: recorded twice", event)
                self.values[key] = event.value
            case TaskStatusUpdated() if event.status.message is not None:
                text = str(event.status.message.parts[0].text)
                self.said[text] += 1
                progress = event.status.state is TaskState.WORKING
                require(not progress or self.said[text] == 1, "G2: said twice", event)
            case _:
                pass

    def _step(self, event: StepStarted | StepCompleted | StepFailed) -> None:
        key = event.key
        require(key not in self.steps, "G5: run again, or ended twice, its result known", event)
        if isinstance(event, StepStarted):
            self.intents[key] += 1
            self.idempotent[key] = event.idempotent
            return
        require(self.intents[key] > 0, "G5: a result without an intent", event)
        if isinstance(event, StepFailed) and event.again_at:
            self.again[key] += 1
            self.counts["step again"] += 1
        else:
            self.steps[key] = event
            self.counts["steps"] += 1

    def _timer(self, event: TimerSet | TimerFired, at: str) -> None:
        if isinstance(event, TimerSet):
            require(event.key not in self.timers, "timers: set twice", event)
            self.timers[event.key] = event.due
            self.counts["timers"] += 1
            return
        due, self.timers[event.key] = self.timers.get(event.key, ""), ""
        require(bool(due) and at >= due, "timers: too early, or twice", event)

    def _question(
        self, event: QuestionAsked | QuestionAnswered | QuestionExpired, commit: Commit, at: str
    ) -> None:
        key = event.key
        require(key not in self.answers, "AS-57: answered, expired or asked twice", event)
        if isinstance(event, QuestionAsked):
            require(key not in self.questions, "AS-57: asked twice", event)
            self.questions[key] = event
            self.counts["asked"] += 1
            return
        asked = self.questions[key]
        if isinstance(event, QuestionExpired):
            in_time = bool(asked.expires) and at >= asked.expires
            require(in_time, "AS-57: expired too early", event)
            self.answers[key] = None
            self.counts["expired"] += 1
            return
        require(commit.actor == event.by, "AS-57: in another's name", event)
        allowed = asked.approvers or (self.owner,)
        require(event.by in allowed, "AS-57: answered by a stranger", event)
        self.answers[key] = event.message, event.by
        self.counts["answered"] += 1

    def _message(self, event: MessageReceived, commit: Commit) -> None:
        command = commit.causationid
        require(command not in self.received, "G2: received twice", event)
        taken = [e.value for e in commit.data.events if isinstance(e, ValueRecorded)]
        require(command in taken, "G2: taken by nobody", event)
        self.received[command] = event.message
        self.counts["steered"] += 1
