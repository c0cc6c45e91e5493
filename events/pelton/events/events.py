"""Events: what happened. They travel in commits, and state is their fold and nothing else.

Names are past tense; members are spelled as in A2A. A released type never changes its meaning or
its shape: a change is a new version with an upcaster (`upcast.py`).
"""

from __future__ import annotations

import enum
from typing import Any, Final

from pelton.events.a2a import Artifact, BlobRef, Count, JsonObject, Message, TaskStatus
from pelton.events.access import AccessEvent
from pelton.events.card import AgentProfile
from pelton.events.delegation import Delegation, TaskOutcome
from pelton.events.equipment import Equipment
from pelton.events.event import Event
from pelton.events.event import TaskEvent as TaskEvent  # noqa: PLC0414  it is one of these
from pelton.events.failure import Failure as Failure  # noqa: PLC0414  they belong to these
from pelton.events.failure import FailureClass as FailureClass  # noqa: PLC0414
from pelton.events.memory import AnyMemoryEvent
from pelton.events.presence import AgentStatus, Fact
from pelton.events.push import AnyPushEvent
from pelton.events.ruling import CallRuled
from pelton.events.schedule import Schedule
from pelton.events.session import AnySessionEvent
from pelton.events.start import AnyStartEvent
from pelton.events.step import StepKind


class Outcome(enum.StrEnum):
    """How a turn ended."""

    COMPLETED = "completed"
    INPUT_REQUIRED = "input-required"
    AUTH_REQUIRED = "auth-required"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"


class AttemptEnd(enum.StrEnum):
    """How an attempt ended whose turn goes on."""

    SUSPENDED = "suspended"
    """It waits for an answer, a time or another task; no process need be alive meanwhile."""
    HANDED_BACK = "handed-back"
    """Its executor stops; another one goes on."""
    FAILED = "failed"
    """It failed in a way that may pass; the next attempt begins at `again_at`."""


class TaskSubmitted(TaskEvent, frozen=True, kw_only=True, tag="TaskSubmitted.v1"):
    """A message opened a task.

    `deadline` (RFC 3339) is when it fails unless it has ended; `delegation` who waits for it, if
    another task does; `redrives` the failed task that it does again.
    """

    message: Message
    metadata: JsonObject | None = None
    deadline: str = ""
    delegation: Delegation | None = None
    redrives: str = ""


class TaskRedriven(TaskEvent, frozen=True, kw_only=True, tag="TaskRedriven.v1"):
    """A task that had failed is done again as the task `by`."""

    by: str


class MessageReceived(TaskEvent, frozen=True, kw_only=True, tag="MessageReceived.v1"):
    """A further message came for a task that is open; `delegation` as in `TaskSubmitted`."""

    message: Message
    delegation: Delegation | None = None


class CommandRejected(Event, frozen=True, kw_only=True, tag="CommandRejected.v1"):
    """A command was refused, with the `code` of an error; nothing else came of it."""

    command_id: str
    code: str
    reason: str
    task_id: str = ""


class TurnStarted(TaskEvent, frozen=True, kw_only=True, tag="TurnStarted.v2"):
    """An executor took a message in hand. `attempt` counts from 1 within the turn.

    From here on the appends of whoever had the attempt before are refused (laws 3, 5). `deadline`
    (RFC 3339) is when the turn fails unless it has ended; the first attempt sets it. `equipment` is
    what this attempt goes by, to its end.
    """

    turn: Count
    attempt: Count
    message_id: str
    executor: str
    deadline: str = ""
    equipment: tuple[Equipment, ...] = ()


class AttemptEnded(TaskEvent, frozen=True, kw_only=True, tag="AttemptEnded.v1"):
    """An attempt is over and its turn is not: another one goes on, not before `again_at`.

    One that is suspended goes on when something comes under one of the keys in `waits`.
    """

    turn: Count
    attempt: Count
    end: AttemptEnd
    waits: tuple[str, ...] = ()
    failure: Failure | None = None
    again_at: str = ""


class StepStarted(TaskEvent, frozen=True, kw_only=True, tag="StepStarted.v2"):
    """A step is about to have its effect (law 7). `key` is `<name>#<occurrence in the turn>`.

    `kind` is what it calls. `attempt` is the attempt that starts it; a later attempt that runs it
    again says so with the same `key` and the same `idempotency_key`. `call` is the SHA-256 of the
    arguments' canonical JSON, by which a later attempt sees that it asks for something else; empty
    if they have none.
    """

    key: str
    name: str
    attempt: Count
    idempotent: bool
    idempotency_key: str
    call: str = ""
    kind: StepKind = StepKind.CODE


class StepCompleted(TaskEvent, frozen=True, kw_only=True, tag="StepCompleted.v1"):
    """A step had its effect; `result` is its JSON value, or `blob` refers to it."""

    key: str
    result: Any = None
    blob: BlobRef | None = None


class StepFailed(TaskEvent, frozen=True, kw_only=True, tag="StepFailed.v1"):
    """A step raised. With `again_at` it runs again from then on (RFC 3339).

    Without, the failure is its result, and is raised again on later attempts.
    """

    key: str
    failure: Failure
    again_at: str = ""


class ValueRecorded(TaskEvent, frozen=True, kw_only=True, tag="ValueRecorded.v1"):
    """A turn asked for a value that another attempt would get otherwise: the time, chance, an id.

    `key` is `<name>#<occurrence in the turn>`, as for steps.
    """

    key: str
    value: Any


UNIT: Final = 1_000_000_000
"""So many of what costs are counted in are one unit of currency."""


class UsageReported(TaskEvent, frozen=True, kw_only=True, tag="UsageReported.v1"):
    """A turn says what something took, mostly a call to a `model`.

    Of `input_tokens`, the `cached_tokens` were read from a cache. `cost` is in billionths of the
    unit of currency that the operator counts in, `duration` in milliseconds. `key` is
    `usage#<occurrence in the turn>`, or within a step `usage:<its idempotency key>`, which each run
    of it says again, for each has taken something.
    """

    key: str
    model: str = ""
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_tokens: Count = 0
    cost: Count = 0
    duration: Count = 0


class TimerSet(TaskEvent, frozen=True, kw_only=True, tag="TimerSet.v1"):
    """A turn sleeps until `due` (RFC 3339)."""

    key: str
    due: str


class TimerFired(TaskEvent, frozen=True, kw_only=True, tag="TimerFired.v1"):
    """The time of a timer has come."""

    key: str


class QuestionAsked(TaskEvent, frozen=True, kw_only=True, tag="QuestionAsked.v1"):
    """A turn needs an answer from a person, and waits for it at most until `expires` (RFC 3339).

    The owner of the task may answer, or if there are `approvers`, these and nobody else.
    """

    key: str
    message: Message
    approvers: tuple[str, ...] = ()
    expires: str = ""


class QuestionAnswered(TaskEvent, frozen=True, kw_only=True, tag="QuestionAnswered.v1"):
    """Somebody who may has answered a question; `delegation` as in `TaskSubmitted`."""

    key: str
    message: Message
    by: str
    delegation: Delegation | None = None


class QuestionExpired(TaskEvent, frozen=True, kw_only=True, tag="QuestionExpired.v1"):
    """Nobody has answered a question in time."""

    key: str


class TaskDelegated(TaskEvent, frozen=True, kw_only=True, tag="TaskDelegated.v1"):
    """A turn hands a message to another agent and waits for the outcome.

    The command `command_id` follows from this event, whoever sends it and however often, and so
    does the task `child` that it opens or goes on with. If `agent` is the URL of an agent
    elsewhere, `command_id` is the message's id there, and `child` is empty until
    `DelegationAccepted` names it, unless the message goes on with a task.
    """

    key: str
    agent: str
    context_id: str
    command_id: str
    child: str
    message: Message
    chain: tuple[str, ...]
    deadline: str = ""


class DelegationAccepted(TaskEvent, frozen=True, kw_only=True, tag="DelegationAccepted.v1"):
    """An agent elsewhere has taken what was delegated to it, as its task `child`."""

    key: str
    child: str


class DelegationReported(TaskEvent, frozen=True, kw_only=True, tag="DelegationReported.v1"):
    """A task that was delegated has come to rest. `blob` holds its outcome, if that is large.

    `failure` says why an agent elsewhere could not be asked, or not be heard to the end. With
    `late`, nobody waits for it any more: it is kept and changes nothing.
    """

    turn: Count
    key: str
    outcome: TaskOutcome | None = None
    blob: BlobRef | None = None
    failure: Failure | None = None
    late: bool = False


class TaskStatusUpdated(TaskEvent, frozen=True, kw_only=True, tag="TaskStatusUpdated.v1"):
    """The task's status changed, or its agent reported progress."""

    status: TaskStatus


class TaskArtifactUpdated(TaskEvent, frozen=True, kw_only=True, tag="TaskArtifactUpdated.v1"):
    """An artifact was written, or with `append` went on; without, it replaces its namesake."""

    artifact: Artifact
    append: bool = False
    last_chunk: bool = False


class TaskArtifactWithdrawn(TaskEvent, frozen=True, kw_only=True, tag="TaskArtifactWithdrawn.v1"):
    """An artifact that a superseded attempt had begun is no part of the task."""

    artifact_id: str


class MessageAnswered(TaskEvent, frozen=True, kw_only=True, tag="MessageAnswered.v1"):
    """The agent answered with a bare message: towards clients there is no task (A2A §3.1.1)."""

    message: Message


class TurnEnded(TaskEvent, frozen=True, kw_only=True, tag="TurnEnded.v1"):
    """A turn is over. Every first `TurnStarted` is followed by exactly one of these in the end.

    `empty` says that it completed and its agent has said nothing at all (AS-47).
    """

    turn: Count
    attempt: Count
    outcome: Outcome
    failure: Failure | None = None
    empty: bool = False


class TaskDeadLettered(TaskEvent, frozen=True, kw_only=True, tag="TaskDeadLettered.v1"):
    """A turn failed for good without its agent's wish: somebody should look, and may redrive it.

    `attempts` is how often it was tried; `command_id` names the command that nobody could do.
    """

    command_id: str
    failure: Failure
    attempts: Count


class AgentRegistered(Event, frozen=True, kw_only=True, tag="AgentRegistered.v1"):
    """An agent is served, or is served with another profile. Lives on `evt.<agent>._agent`.

    The first one begins a life of the agent, and so does the first after it was removed.
    """

    profile: AgentProfile


class AgentStatusChanged(Event, frozen=True, kw_only=True, tag="AgentStatusChanged.v1"):
    """An agent stands otherwise than before, since somebody has seen `fact` of it.

    Lives on `evt.<agent>._agent`. Nothing else tells how an agent stands but heartbeats, which are
    not in the log.
    """

    status: AgentStatus
    fact: Fact


class AgentPrompted(Event, frozen=True, kw_only=True, tag="AgentPrompted.v1"):
    """An agent gets its initial prompt, once in each `life`. Lives on `evt.<agent>._agent`.

    The command `command_id` follows from this event, whoever sends it and however often.
    """

    life: Count
    command_id: str
    context_id: str
    text: str


class AgentTeamChanged(Event, frozen=True, kw_only=True, tag="AgentTeamChanged.v1"):
    """An agent is in another team, or in none. Lives on `evt.<agent>._agent`.

    With `declared`, the agent's code asks for it. A new life of an agent begins in no team.
    """

    team: str
    declared: bool = False


class ScheduleSet(Event, frozen=True, kw_only=True, tag="ScheduleSet.v1"):
    """A schedule is there, or in the place of its namesake. Lives on `evt.<agent>._schedules`.

    Its slots count from `since` (RFC 3339) on. With `declared`, the agent's code asks for it.
    """

    schedule: Schedule
    since: str
    declared: bool = False


class ScheduleRemoved(Event, frozen=True, kw_only=True, tag="ScheduleRemoved.v1"):
    """A schedule is no more; with `declared`, since the agent's code asks for it no longer."""

    name: str
    declared: bool = False


class ScheduleFired(Event, frozen=True, kw_only=True, tag="ScheduleFired.v1"):
    """A slot of a schedule (RFC 3339) has come, and its message is sent.

    The command `command_id` follows from this event, whoever sends it and however often.
    """

    name: str
    slot: str
    command_id: str
    context_id: str


class ScheduleMissed(Event, frozen=True, kw_only=True, tag="ScheduleMissed.v1"):
    """So many slots of a schedule, from `first` to `last` (RFC 3339), never fire: it was too late.

    What its schedule says of missed slots has decided that.
    """

    name: str
    first: str
    last: str
    count: Count


class KeyClaimed(Event, frozen=True, kw_only=True, tag="KeyClaimed.v1"):
    """A principal's idempotency key stands for one request, for ever (law 6).

    Lives alone on `evt.<agent>._key.<key>`. `command_id` is the command that the key leads to, and
    `digest` the SHA-256 of what was asked: with another digest the key is refused.
    """

    command_id: str
    digest: str


DomainEvent = (
    TaskSubmitted
    | MessageReceived
    | CommandRejected
    | TurnStarted
    | AttemptEnded
    | StepStarted
    | StepCompleted
    | StepFailed
    | ValueRecorded
    | UsageReported
    | TimerSet
    | TimerFired
    | QuestionAsked
    | QuestionAnswered
    | QuestionExpired
    | TaskDelegated
    | DelegationAccepted
    | DelegationReported
    | TaskStatusUpdated
    | TaskArtifactUpdated
    | TaskArtifactWithdrawn
    | MessageAnswered
    | TurnEnded
    | TaskDeadLettered
    | TaskRedriven
    | AgentRegistered
    | AgentStatusChanged
    | AgentPrompted
    | AgentTeamChanged
    | ScheduleSet
    | ScheduleRemoved
    | ScheduleFired
    | ScheduleMissed
    | KeyClaimed
)
"""The events of contexts and agents."""

AnyEvent = (
    DomainEvent
    | AnyStartEvent
    | CallRuled
    | AccessEvent
    | AnyPushEvent
    | AnyMemoryEvent
    | AnySessionEvent
)

EVENTS: Final[tuple[type[AnyEvent], ...]] = AnyEvent.__args__
"""All events, in the order of the documentation."""


def type_of(event: AnyEvent) -> str:
    """Return an event's type with its version, as in `TaskSubmitted.v1`."""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)  # every event has a tag: see the classes above
    return tag


def name_of(event: AnyEvent) -> str:
    """Return an event's type without its version."""
    return type_of(event).partition(".")[0]
