"""A turn as its events make it: what the next attempt of it needs of those before it.

A turn outlives the attempts at it. Between two attempts it may be *suspended*: it waits for an
answer, a time or another task, and no process holds it. `due` and `ready` say when it goes on.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import BlobRef, Message
from pelton.events.commit import Commit
from pelton.events.delegation import TaskOutcome
from pelton.events.errors import IllegalTransition
from pelton.events.events import (
    AttemptEnd,
    AttemptEnded,
    DelegationAccepted,
    DelegationReported,
    Failure,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskDelegated,
    TaskEvent,
    TimerFired,
    TimerSet,
    TurnStarted,
    UsageReported,
    ValueRecorded,
)
from pelton.events.ruling import CallRuled

W = TypeVar("W", "Timer", "Question", "Delegated")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step as recorded. Without `done` there is an intent and no result (law 7).

    `attempt` is the one that began it last. With `again_at` it has failed `failures` times and runs
    again from then on.
    """

    name: str
    attempt: int
    idempotent: bool
    idempotency_key: str
    call: str = ""
    done: bool = False
    result: Any = None
    blob: BlobRef | None = None
    failure: Failure | None = None
    failures: int = 0
    again_at: str = ""


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """A turn sleeps until `due`."""

    due: str
    done: bool = False


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a person. It is done once it has an `answer`, or has expired without."""

    message: Message
    approvers: tuple[str, ...] = ()
    expires: str = ""
    done: bool = False
    answer: Message | None = None
    by: str = ""


class Delegated(msgspec.Struct, frozen=True, kw_only=True):
    """A task in the hands of another agent. It is done once that has reported.

    `agent` is its name, or its URL if it is elsewhere; `accepted` says that it has taken the task.
    """

    agent: str
    context_id: str
    child: str
    command_id: str
    accepted: bool = False
    done: bool = False
    outcome: TaskOutcome | None = None
    blob: BlobRef | None = None
    failure: Failure | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that has begun and not ended.

    `progress` are the status messages it has written, in order, but for its questions; `artifacts`
    the ids it has written; `received` the messages it has taken while it ran, by the ids of their
    commands. `over` tells how the last attempt ended, None while it runs, as far as the log knows;
    `news` that something has come since that a turn may wait for. `failures` counts the attempts in
    a row that failed or died without progress. `used` are the keys under which it has reported
    usage; `rulings` what was decided, by what it is about: `<point>:<key>`.
    """

    number: int
    attempt: int
    message_id: str
    executor: str
    cause: Commit
    """The commit that started the first attempt: whose request this is."""
    deadline: str = ""
    steps: dict[str, Step] = {}
    values: dict[str, Any] = {}
    timers: dict[str, Timer] = {}
    questions: dict[str, Question] = {}
    delegations: dict[str, Delegated] = {}
    progress: tuple[Message, ...] = ()
    artifacts: tuple[str, ...] = ()
    received: dict[str, Message] = {}
    over: AttemptEnded | None = None
    news: bool = False
    failures: int = 0
    used: frozenset[str] = frozenset()
    rulings: dict[str, tuple[CallRuled, ...]] = {}

    @property
    def asked(self) -> dict[str, Question]:
        """The questions that are open, in the order in which they were asked."""
        return {key: each for key, each in self.questions.items() if not each.done}

    @property
    def delegated(self) -> dict[str, Delegated]:
        """The delegations that are open."""
        return {key: each for key, each in self.delegations.items() if not each.done}

    @property
    def suspended(self) -> bool:
        """Whether it waits without a process."""
        return self.over is not None and self.over.end is AttemptEnd.SUSPENDED

    @property
    def due(self) -> str:
        """The time (RFC 3339) at which something is to be done of itself, or empty if none is."""
        if self.over is not None and self.over.end is AttemptEnd.FAILED:
            return min(time for time in (self.over.again_at, self.deadline) if time)
        times = [timer.due for timer in self.timers.values() if not timer.done]
        times += [each.expires for each in self.questions.values() if not each.done]
        times += [step.again_at for step in self.steps.values() if not step.done]
        times.append(self.deadline)
        return min((time for time in times if time), default="")

    def ready(self, now: str) -> bool:
        """Whether the next attempt may begin, at a time (RFC 3339)."""
        if self.over is None or self.over.end is AttemptEnd.HANDED_BACK:
            return True
        if self.over.end is AttemptEnd.FAILED and not self.deadline_passed(now):
            return now >= self.over.again_at
        return self.news or bool(self.due and now >= self.due)

    def deadline_passed(self, now: str) -> bool:
        """Whether it has not ended in time."""
        return bool(self.deadline) and now >= self.deadline


def started(turn: Turn | None, turns: int, event: TurnStarted, commit: Commit) -> Turn:
    """Return the turn with its next attempt, or a new one after `turns` others.

    Raises:
        IllegalTransition: turns and attempts are counted otherwise.
    """
    if turn is None:
        if event.turn != turns + 1 or event.attempt != 1:
            raise IllegalTransition("turns and their attempts are counted from 1 without gaps")
        return Turn(
            number=event.turn,
            attempt=1,
            message_id=event.message_id,
            executor=event.executor,
            cause=commit,
            deadline=event.deadline,
        )
    if (event.turn, event.attempt) != (turn.number, turn.attempt + 1):
        raise IllegalTransition("an attempt that does not follow the one before it")
    died = turn.over is None
    return replace(
        turn,
        attempt=event.attempt,
        executor=event.executor,
        over=None,
        news=False,
        failures=turn.failures + died,
    )


def advance(turn: Turn, event: TaskEvent) -> Turn:
    """Return the turn after an event that happened in it.

    Raises:
        IllegalTransition: the event does not fit.
    """
    match event:
        case AttemptEnded():
            return _attempt_ended(turn, event)
        case StepStarted() | StepCompleted() | StepFailed():
            return _step(turn, event)
        case ValueRecorded():
            return replace(turn, values={**turn.values, event.key: event.value})
        case UsageReported():
            return replace(turn, used=turn.used | {event.key})
        case TimerSet() | CallRuled():
            return _set(turn, event)
        case TimerFired():
            timer = replace(_of(turn.timers, event.key), done=True)
            turn = replace(turn, timers={**turn.timers, event.key: timer})
            return _moved(turn)
        case QuestionAsked():
            question = Question(
                message=event.message, approvers=event.approvers, expires=event.expires
            )
            said = tuple(each for each in turn.progress if each != event.message)
            return replace(turn, questions={**turn.questions, event.key: question}, progress=said)
        case QuestionAnswered() | QuestionExpired():
            return _question_done(turn, event)
        case TaskDelegated():
            delegated = Delegated(
                agent=event.agent,
                context_id=event.context_id,
                child=event.child,
                command_id=event.command_id,
            )
            return replace(turn, delegations={**turn.delegations, event.key: delegated})
        case DelegationAccepted():
            taken = replace(_of(turn.delegations, event.key), child=event.child, accepted=True)
            return replace(turn, delegations={**turn.delegations, event.key: taken})
        case DelegationReported():
            done = replace(
                _of(turn.delegations, event.key),
                done=True,
                outcome=event.outcome,
                blob=event.blob,
                failure=event.failure,
            )
            turn = replace(turn, delegations={**turn.delegations, event.key: done})
            return _moved(turn)
        case _:
            raise IllegalTransition(f"{type(event).__name__} means nothing to a turn")


def _set(turn: Turn, event: TimerSet | CallRuled) -> Turn:
    if isinstance(event, TimerSet):
        return replace(turn, timers={**turn.timers, event.key: Timer(due=event.due)})
    about = f"{event.point}:{event.key}"
    ruled = (*turn.rulings.get(about, ()), event)
    return replace(turn, rulings={**turn.rulings, about: ruled})


def _moved(turn: Turn) -> Turn:
    """Return the turn once something it waited for has come: it has made progress."""
    return replace(turn, news=turn.over is not None, failures=0)


def _done(turn: Turn, key: str) -> bool:
    waits = (turn.timers.get(key), turn.questions.get(key), turn.delegations.get(key))
    return any(wait is not None and wait.done for wait in waits)


def _attempt_ended(turn: Turn, event: AttemptEnded) -> Turn:
    if (event.turn, event.attempt) != (turn.number, turn.attempt) or turn.over is not None:
        raise IllegalTransition("another attempt ended than the one that runs")
    failed = event.end is AttemptEnd.FAILED
    news = any(_done(turn, key) for key in event.waits)
    return replace(turn, over=event, news=news, failures=turn.failures + failed)


def _question_done(turn: Turn, event: QuestionAnswered | QuestionExpired) -> Turn:
    question = _of(turn.questions, event.key)
    if isinstance(event, QuestionAnswered):
        question = replace(question, answer=event.message, by=event.by)
    question = replace(question, done=True)
    return _moved(replace(turn, questions={**turn.questions, event.key: question}))


def _step(turn: Turn, event: StepStarted | StepCompleted | StepFailed) -> Turn:
    known = turn.steps.get(event.key)
    if known is not None and known.done:
        raise IllegalTransition(f"the step {event.key!r} has its result already")
    if isinstance(event, StepStarted):
        step = Step(
            name=event.name,
            attempt=event.attempt,
            idempotent=event.idempotent,
            idempotency_key=event.idempotency_key,
            call=event.call,
            failures=known.failures if known else 0,
        )
        return replace(turn, steps={**turn.steps, event.key: step})
    if known is None:
        raise IllegalTransition(f"the step {event.key!r} has a result and no intent")
    if isinstance(event, StepCompleted):
        step = replace(
            known, done=True, failure=None, again_at="", result=event.result, blob=event.blob
        )
        return replace(turn, steps={**turn.steps, event.key: step}, failures=0)
    step = replace(
        known,
        done=not event.again_at,
        failure=event.failure,
        failures=known.failures + 1,
        again_at=event.again_at,
    )
    return replace(turn, steps={**turn.steps, event.key: step})


def _of(waits: dict[str, W], key: str) -> W:
    found = waits.get(key)
    if found is None:
        raise IllegalTransition(f"nothing waits under the key {key!r}")
    if found.done:
        raise IllegalTransition(f"the wait {key!r} is over already")
    return found
