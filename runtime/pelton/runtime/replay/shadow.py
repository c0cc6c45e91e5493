"""Shadow regression: recorded tasks once more with a new version of their agent, and what changes.

Each task has up to three lanes: what is recorded, the code of then once more (which measures noise:
what differs there says nothing of the new version), and the new version. All are played from the
record (`trial`), so that nothing has an effect unless steps are to run.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from pelton.events.a2a import TaskState, text_of
from pelton.events.context import Context, TaskFold, fold
from pelton.events.errors import InvalidInput, TaskNotFound
from pelton.events.events import (
    UNIT,
    AttemptEnded,
    StepCompleted,
    StepFailed,
    TaskEvent,
    TurnEnded,
    TurnStarted,
    UsageReported,
)
from pelton.events.ids import context_of
from pelton.events.states import INTERRUPTED
from pelton.events.upcast import decode_commit
from pelton.runtime.replay.diff import Difference, diff
from pelton.runtime.replay.session import Session
from pelton.runtime.replay.trial import NotAtRest, Ran

_WORTH: Final = {TaskState.COMPLETED: 2, TaskState.INPUT_REQUIRED: 1, TaskState.AUTH_REQUIRED: 1}
"""How good it is that a task comes to rest in a state: 0 in all others."""


class Judged(enum.StrEnum):
    """What the new version does to a task."""

    IDENTICAL = "identical"
    """What it did before, apart from what differs without it, too."""
    CHANGED = "changed"
    """Something else, which ends as well."""
    WORSE = "worse"
    """It ends worse than before, or the check that it passed fails."""
    UNCLEAR = "unclear"
    """It ends worse, and has made calls that the record does not have: nobody knows."""


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """How one lane came out: its `state` (none if it did not come to rest), and what it took.

    `worked` is how many seconds its attempts lasted, without what it was suspended for; `cost` is
    in the unit of currency that the operator counts in. `missed` are the calls that it made and the
    record does not have, by their keys. `good` is what the check says, None if it cannot tell.
    """

    state: str
    said: str
    turns: int = 0
    steps: int = 0
    tokens: int = 0
    cost: float = 0.0
    worked: float = 0.0
    missed: tuple[str, ...] = ()
    good: bool | None = None

    @property
    def worth(self) -> int:
        """How good its end is: more is better."""
        return _WORTH.get(TaskState(self.state), 0) if self.state else -1


class Shadowed(msgspec.Struct, frozen=True, kw_only=True):
    """A task with its lanes. `alike` counts the events that the new version has met.

    `differences` are from the record to the new version, the first one first, without the `noise`
    places where the code of then differs from the record, too.
    """

    task: str
    agent: str
    judged: Judged
    recorded: Lane
    again: Lane | None
    new: Lane
    alike: int
    noise: int
    differences: tuple[Difference, ...]


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A task that cannot be shadowed, and why."""

    task: str
    why: str


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane took over all tasks; `median` and `slowest` are of the seconds of each."""

    tasks: int
    tokens: int
    cost: float
    worked: float
    median: float
    slowest: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a new version does to a cohort of tasks."""

    agent: str
    tasks: tuple[Shadowed, ...]
    skipped: tuple[Skipped, ...] = ()

    def count(self, judged: Judged) -> int:
        """Return to how many tasks it does that."""
        return sum(each.judged is judged for each in self.tasks)

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks are judged how."""
        return {each.value: self.count(each) for each in Judged}

    @property
    def lanes(self) -> dict[str, Took]:
        """What each lane took, over all tasks that have it."""
        again = [each.again for each in self.tasks if each.again is not None]
        found = {
            "recorded": [each.recorded for each in self.tasks],
            "again": again,
            "new": [each.new for each in self.tasks],
        }
        return {name: took(lanes) for name, lanes in found.items() if lanes}


def took(lanes: Sequence[Lane]) -> Took:
    """Return what lanes, of which there is one at least, took together."""
    times = sorted(each.worked for each in lanes)
    return Took(
        tasks=len(lanes),
        tokens=sum(each.tokens for each in lanes),
        cost=round(sum(each.cost for each in lanes), 9),
        worked=round(sum(times), 3),
        median=times[len(times) // 2],
        slowest=times[-1],
    )


class Played(NamedTuple):
    """What came of a trial, and the calls that the record does not have."""

    ran: Ran
    missed: Sequence[str]


Play = Callable[[], Played]
Check = Callable[[TaskFold], bool | None]


def shadow(
    session: Session, task: str, new: Play, again: Play | None = None, check: Check | None = None
) -> Shadowed:
    """Return what a new version does to a task; `again` plays the code of then.

    Raises:
        TaskNotFound: the session has no such task.
        InvalidInput: it has no end to compare with: it goes on, or was cancelled.
    """
    agent, fold_ = _recorded(session, task)
    recorded = _lane(session, fold_, (), check)
    noise: set[str] = set()
    lane_again = None
    if again is not None:
        lane_again, differences, _ = _played(session, task, again, check)
        noise = {_what(each) for each in differences}
    lane, found, alike = _played(session, task, new, check)
    real = tuple(each for each in found if _what(each) not in noise)
    return Shadowed(
        task=task,
        agent=agent,
        judged=_judged(recorded, lane_again, lane, changed=bool(real)),
        recorded=recorded,
        again=lane_again,
        new=lane,
        alike=alike,
        noise=len(noise),
        differences=real,
    )


def _judged(recorded: Lane, again: Lane | None, new: Lane, *, changed: bool) -> Judged:
    """Judge the new lane by the others: what they do not reach themselves it need not."""
    before = [recorded] if again is None else [recorded, again]
    lower = new.worth < min(each.worth for each in before)
    fails = new.good is False and all(each.good for each in before)
    if lower or fails:
        return Judged.UNCLEAR if new.missed else Judged.WORSE
    return Judged.CHANGED if changed else Judged.IDENTICAL


def _what(difference: Difference) -> str:
    side = difference.left or difference.right
    assert side is not None  # one of them has it
    return side.what


def _recorded(session: Session, task: str) -> tuple[str, TaskFold]:
    """Return the agent of a task that is at rest, and the task."""
    context_id = context_of(task)
    for agent, id_ in session.contexts:
        if id_ != context_id:
            continue
        state = Context(agent=agent, id=context_id)
        for record in session.commits(agent, context_id):
            state = fold(state, record.sequence, record.data)
        found = state.tasks.get(task)
        if found is None:
            continue
        if not found.ended and found.status.state not in INTERRUPTED:
            raise InvalidInput("it goes on")
        if found.status.state is TaskState.CANCELED:
            raise InvalidInput("it was cancelled")
        return agent, found
    raise TaskNotFound(f"no task {task[:80]!r} is recorded")


def _played(
    session: Session, task: str, play: Play, check: Check | None
) -> tuple[Lane, tuple[Difference, ...], int]:
    """Return how a lane came out, what differs from the record, and how many events do not."""
    try:
        ran, missed = play()
    except NotAtRest as error:
        return Lane(state="", said=str(error)), (), 0
    found = diff(session, task, ran.session, task)
    return _lane(ran.session, ran.task, tuple(missed), check), found.differences, found.alike


def _lane(session: Session, task: TaskFold, missed: tuple[str, ...], check: Check | None) -> Lane:
    tokens = cost = steps = 0
    worked = began = 0.0
    for record in session.records:
        if not record.subject.startswith("evt.") or task.id.encode() not in record.data:
            continue
        for event in decode_commit(record.data).data.events:
            if not isinstance(event, TaskEvent) or event.task_id != task.id:
                continue
            match event:
                case TurnStarted():
                    began = record.received.timestamp()
                case AttemptEnded() | TurnEnded():
                    worked += record.received.timestamp() - began
                case UsageReported():
                    tokens += event.input_tokens + event.output_tokens
                    cost += event.cost
                case StepCompleted() | StepFailed():
                    steps += 1
                case _:
                    pass
    message = task.status.message
    return Lane(
        state=task.status.state,
        said=text_of(message.parts)[:400] if message is not None else "",
        turns=task.turns,
        steps=steps,
        tokens=tokens,
        cost=cost / UNIT,
        worked=round(worked, 3),
        missed=missed,
        good=check(task) if check is not None else None,
    )
