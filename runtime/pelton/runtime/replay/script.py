"""A recorded turn as a script for a re-run: what its agent did, and what came to it from outside.

What depends on the process and the hour that a turn ran in is no part of it: attempts, executors,
times. A turn that took several attempts reads as if it had taken one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import Artifact, TaskState
from pelton.events.commit import Commit, Origin, recorded
from pelton.events.context import Context, fold_commit, join
from pelton.events.decide import LATE
from pelton.events.envelope import digest
from pelton.events.events import (
    AnyEvent,
    AttemptEnded,
    DelegationAccepted,
    DelegationReported,
    Failure,
    MessageReceived,
    Outcome,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskDeadLettered,
    TaskEvent,
    TaskStatusUpdated,
    TimerFired,
    TimerSet,
    TurnEnded,
    TurnStarted,
    UsageReported,
    ValueRecorded,
    name_of,
)
from pelton.events.ruling import CallRuled
from pelton.events.session import SessionInvalidated, SessionOpened, SessionStored
from pelton.events.step import StepKind
from pelton.events.upcast import decode_commit
from pelton.runtime.assignment import CRASHED
from pelton.runtime.log import Record
from pelton.runtime.recorder import TOOL, WITHIN, aside
from pelton.runtime.steps import UNASKED

COMES: Final = (
    *(StepCompleted, StepFailed, TimerFired, QuestionAnswered, QuestionExpired),
    *(DelegationAccepted, DelegationReported),
)
"""What comes to an agent from outside; everything else it has done itself."""


class Entry(NamedTuple):
    """One event of a turn, where it is recorded, and what it is known by in every run.

    `comes` says that it came from outside; `with_` is what its decision has beside it: that the
    task works again.
    """

    event: AnyEvent
    sequence: int
    commit: Commit
    identity: tuple[str, ...]
    comes: bool
    with_: tuple[AnyEvent, ...] = ()

    @property
    def content(self) -> Any:
        """What two runs must have alike."""
        return content(self.event)


class Script(NamedTuple):
    """A recorded turn. `before` is its context before it.

    `opening` are the events that began it, at the time `began` of the log's (RFC 3339). `ending`
    tells how it ended: `agent`, as its agent wished or by what it raised; `cut`, from outside;
    `open`, not yet. `attempts` counts what it took; `received` are the messages that it took while
    it ran, by the ids of their commands. `within` are the artifacts that it wrote from within a
    step, whose function is not called again: of these, what they read in the end counts. `ruled`
    is what was decided of what the agent wanted to do.
    """

    before: Context
    records: Sequence[Record]
    task_id: str
    number: int
    began: str
    opening: tuple[AnyEvent, ...]
    cause: Commit
    deadline: str
    entries: tuple[Entry, ...]
    attempts: int
    ending: str
    artifacts: dict[str, Artifact]
    received: dict[str, tuple[MessageReceived, Origin]]
    within: frozenset[str]
    ruled: tuple[CallRuled, ...] = ()

    def rulings(self) -> dict[str, tuple[CallRuled, ...]]:
        """Return what hooks, policies and people have decided, by what it is about."""
        found: dict[str, tuple[CallRuled, ...]] = {}
        for each in self.ruled:
            about = f"{each.point}:{each.key}"
            found[about] = (*found.get(about, ()), each)
        return found

    def outcomes(self) -> dict[str, deque[StepCompleted | StepFailed]]:
        """Return what came of each step, run by run."""
        found: dict[str, deque[StepCompleted | StepFailed]] = {}
        for entry in self.entries:
            if isinstance(entry.event, StepCompleted | StepFailed):
                found.setdefault(entry.event.key, deque()).append(entry.event)
        return found

    def values(self) -> dict[str, Any]:
        """Return the values that were drawn, by their keys."""
        events = (entry.event for entry in self.entries)
        return {each.key: each.value for each in events if isinstance(each, ValueRecorded)}


def scripts(agent: str, context_id: str, records: Sequence[Record], task_id: str) -> list[Script]:
    """Return the turns of a task, from the commits of its context.

    Raises:
        DamagedRecord: the commits do not chain (law 13).
    """
    found: list[Script] = []
    state, open_ = Context(agent=agent, id=context_id), None
    for place, record in enumerate(records):
        commit = decode_commit(record.data)
        after = fold_commit(state, record.sequence, commit, digest(record.data))
        for event in commit.data.events:
            if not isinstance(event, TaskEvent) or event.task_id != task_id:
                continue
            if isinstance(event, TurnStarted) and event.attempt == 1:
                open_ = _Turn(state, records[:place], commit, event)
            if open_ is None:
                continue
            open_.events.append((event, record.sequence, commit))
            if isinstance(event, TurnEnded):
                found.append(open_.script(after))
                open_ = None
        state = after
    if open_ is not None:
        found.append(open_.script(state))
    return found


class _Turn:
    """A turn that is being read."""

    def __init__(
        self, before: Context, records: Sequence[Record], commit: Commit, started: TurnStarted
    ) -> None:
        self.before, self.records, self.commit, self.started = before, records, commit, started
        self.events: list[tuple[AnyEvent, int, Commit]] = []

    def script(self, after: Context) -> Script:
        """Return what was read; `after` is the context at the end of it."""
        decided = self.commit.data.events
        place = decided.index(self.started)
        working = next(
            at for at in range(place, len(decided)) if isinstance(decided[at], TaskStatusUpdated)
        )
        status, opening = decided[working], decided[: working + 1]
        assert isinstance(status, TaskStatusUpdated)  # as was looked for
        mine = self.events[working + 1 - place :]
        ending = _ending([event for event, _, _ in mine])
        attempts = 1 + sum(isinstance(event, TurnStarted) for event, _, _ in mine)
        within = _within([event for event, _, _ in mine])
        return Script(
            before=self.before,
            records=self.records,
            task_id=self.started.task_id,
            number=self.started.turn,
            began=status.status.timestamp,
            opening=opening,
            cause=self.commit,
            deadline=self.started.deadline,
            entries=tuple(
                _Entries(one=attempts == 1, within=within).take(
                    mine[: -_closing(mine)] if ending == "cut" else mine
                )
            ),
            attempts=attempts,
            ending=ending,
            artifacts=written(self.before, after, self.started.task_id),
            received={
                commit.causationid: (event, origin_of(commit))
                for event, _, commit in mine
                if isinstance(event, MessageReceived)
            },
            within=within,
            ruled=tuple(event for event, _, _ in mine if isinstance(event, CallRuled)),
        )


def origin_of(commit: Commit) -> Origin:
    """Return what a commit says of where it came from."""
    return Origin(
        *(commit.source, commit.tenant, commit.actor, commit.correlationid, commit.causationid),
        commit.traceparent,
    )


def written(before: Context, after: Context, task_id: str) -> dict[str, Artifact]:
    """Return what a task has of artifacts that it had not before."""
    known, found = (
        each.tasks[task_id].artifacts if task_id in each.tasks else {} for each in (before, after)
    )
    return {id_: each for id_, each in found.items() if known.get(id_) != each}


def _stalled(failure: Failure) -> bool:
    """Whether a turn failed with what its executor says of an agent that makes no progress."""
    return failure.message.startswith("It made no progress for ") and not failure.exception


def _ending(events: Sequence[AnyEvent]) -> str:
    ended = events[-1] if events else None
    if not isinstance(ended, TurnEnded):
        return "open"
    if ended.outcome is Outcome.CANCELED:
        return "cut"
    failure = ended.failure
    return "cut" if failure and (failure in (LATE, CRASHED) or _stalled(failure)) else "agent"


def _within(events: Sequence[AnyEvent]) -> frozenset[str]:
    """Return the ids of the artifacts that were written while a step ran."""
    running, found = set[str](), set[str]()
    for event in events:
        match event:
            case StepStarted():
                running.add(event.key)
            case StepCompleted() | StepFailed():
                running.discard(event.key)
            case TaskArtifactUpdated() if running:
                found.add(event.artifact.artifact_id)
            case _:
                pass
    return frozenset(found)


def piece(event: AnyEvent) -> str:
    """Return the id of the artifact that an event is about, if it is about one."""
    if isinstance(event, TaskArtifactUpdated):
        return event.artifact.artifact_id
    return event.artifact_id if isinstance(event, TaskArtifactWithdrawn) else ""


class _Entries:
    """Makes entries of a turn's events, commit by commit; with `one`, it took one attempt alone."""

    def __init__(self, *, one: bool, within: frozenset[str]) -> None:
        self._one, self._within = one, within
        self._doubts: set[str] = set()
        self._begun: set[str] = set()
        self._counts: Counter[tuple[str, ...]] = Counter()

    def take(self, events: Sequence[tuple[AnyEvent, int, Commit]]) -> Iterator[Entry]:
        """Yield the entries of the events that come next."""
        self._doubt(event for event, _, _ in events)
        said = {_progress(event): at for at, (event, _, _) in enumerate(events) if _progress(event)}
        for at, (event, sequence, commit) in enumerate(events):
            if _of_process(event, self._doubts):
                continue
            if piece(event) and (not self._one or piece(event) in self._within):
                continue
            if not self._one and _progress(event) and said[_progress(event)] != at:
                continue  # a later attempt has said something else in its place
            if isinstance(event, StepStarted):
                if event.key in self._begun:
                    continue  # a later attempt has begun it once more
                self._begun.add(event.key)
            if isinstance(event, StepFailed):
                self._begun.discard(event.key)
            beside = tuple(e for e, _, c in events[at + 1 : at + 2] if c is commit and _resumes(e))
            yield _entry(event, sequence, commit, self._counts, beside)

    def _doubt(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, QuestionAsked) and event.key.startswith(UNASKED):
                self._doubts.add(event.message.message_id)
            if isinstance(event, ValueRecorded) and event.key.startswith(f"say:{TOOL}"):
                self._doubts.add(event.value)


def _of_process(event: AnyEvent, doubts: set[str]) -> bool:
    """Whether an event is of the process that ran the turn, or what that took: not its agent's.

    Nor is what was done aside, while a step ran whose function is not called again.
    """
    if aside(getattr(event, "key", "")):
        return True
    match event:
        case TurnStarted() | AttemptEnded() | MessageReceived() | UsageReported() | CallRuled():
            return True
        case SessionOpened() | SessionInvalidated():
            return True
        case SessionStored():
            return any(entry.key.startswith(WITHIN[1:]) for entry in event.entries)
        case QuestionAsked() | QuestionAnswered() | QuestionExpired():
            return event.key.startswith(UNASKED)
        case TaskStatusUpdated():
            return _resumes(event) or _progress(event) in doubts
        case _:
            return False


def _resumes(event: AnyEvent) -> bool:
    """Whether an event says that a task works again, since what it had asked is over."""
    if not isinstance(event, TaskStatusUpdated):
        return False
    return event.status.state is TaskState.WORKING and event.status.message is None


def _progress(event: AnyEvent) -> str:
    """Return the id of the message that a status carries, if it does."""
    if isinstance(event, TaskStatusUpdated) and event.status.message is not None:
        return event.status.message.message_id
    return ""


def _closing(events: Sequence[tuple[AnyEvent, int, Commit]]) -> int:
    """Return how many events at the end of a turn say that it was cut."""
    return 3 if len(events) > 2 and isinstance(events[-3][0], TaskDeadLettered) else 2


class Written:
    """What a re-run of a script has written so far, as entries."""

    def __init__(self, script: Script) -> None:
        self.entries: list[Entry] = []
        self._opening = len(script.opening)
        self._of = _Entries(one=script.attempts == 1, within=script.within)

    def take(self, records: Iterable[Record]) -> Sequence[Entry]:
        """Take in the commits that came next, and return their entries."""
        commits = [(each.sequence, decode_commit(each.data)) for each in records]
        events = [
            (each.event, sequence, commit)
            for sequence, commit in commits
            for each in recorded(commit)
        ]
        opening = min(self._opening, len(events))
        self._opening -= opening
        found = list(self._of.take(events[opening:]))
        self.entries += found
        return found


def _entry(
    event: AnyEvent,
    sequence: int,
    commit: Commit,
    counts: Counter[tuple[str, ...]],
    with_: tuple[AnyEvent, ...],
) -> Entry:
    match event:
        case TaskStatusUpdated(status=status):
            label = _progress(event) or str(status.state)
        case TaskArtifactUpdated(artifact=artifact):
            label = artifact.artifact_id
        case SessionStored(entries=entries):
            label = entries[0].key if entries else ""
        case _:
            label = str(getattr(event, "key", ""))
    name = (name_of(event), label)
    counts[name] += 1
    identity = (*name, str(counts[name]))
    return Entry(event, sequence, commit, identity, isinstance(event, COMES), with_)


def content(event: AnyEvent) -> Any:
    """Return what of an event two runs must have alike: all but attempts and times."""
    match event:
        case StepStarted():  # its kind says nothing of what it does; once none was recorded
            event = replace(event, attempt=1, kind=StepKind.CODE)
        case StepFailed(again_at=again) if again:
            event = replace(event, again_at="later")
        case TimerSet():
            event = replace(event, due="")
        case QuestionAsked(expires=expires) if expires:
            event = replace(event, expires="in time")
        case TurnEnded():
            event = replace(event, attempt=1)
        case TaskDeadLettered():
            event = replace(event, attempts=1)
        case TaskStatusUpdated(status=status):
            event = replace(event, status=replace(status, timestamp=""))
        case _:
            pass
    return msgspec.to_builtins(event)


def texts(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """Return artifacts as they read in the end, however they were written."""
    joined = {id_: replace(each, parts=join(each.parts)) for id_, each in artifacts.items()}
    return {id_: msgspec.to_builtins(each) for id_, each in sorted(joined.items())}
