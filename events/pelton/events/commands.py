"""Commands: what somebody asks of a context. Each is one record on `cmd.<agent>.<context>`.

Those about the schedules of an agent are on `cmd.<agent>._schedules`.

A command is decided by `decide.decide` into events; what it asks may be refused, and then an event
says so. The same command (the same `id`) is decided once, however often it is published.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

import msgspec

from pelton.events.a2a import A2A, BlobRef, Count, JsonObject, Message
from pelton.events.delegation import Delegation, TaskOutcome
from pelton.events.envelope import Envelope
from pelton.events.events import Failure
from pelton.events.schedule import Schedule


class WhenBusy(enum.StrEnum):
    """What becomes of a message that comes while a turn of its context is open."""

    ENQUEUE = "enqueue"
    """It waits until that turn is over."""
    REJECT = "reject"
    """It is refused."""
    INTERRUPT = "interrupt"
    """That turn is canceled, and then it has its own."""
    STEER = "steer"
    """The running agent may take it (`Turn.received`); if it does not, it has its own turn."""


class SendMessageData(A2A, frozen=True, kw_only=True):
    """What `SendMessage` asks: hand `message` to the agent.

    With `message.task_id` it goes on with that task; without, it opens the task
    `ids.task_id(context, command id)`. `message.context_id` may be left out: the subject names it.
    `answers` is the key of the question it answers; without, a message to a task that has asked
    answers the question that was asked first. `when_busy` overrides what its agent does with a
    message that comes while a turn runs; `deadline`, `delegation` and `redrives` are as in
    `TaskSubmitted`.
    """

    message: Message
    accepted_output_modes: tuple[str, ...] = ()
    metadata: JsonObject | None = None
    answers: str = ""
    when_busy: WhenBusy | None = None
    deadline: str = ""
    delegation: Delegation | None = None
    redrives: str = ""


class CancelTaskData(A2A, frozen=True, kw_only=True):
    """What `CancelTask` asks: end the task as canceled, whether or not a turn of it runs.

    With `turn`, only if that turn of it is open; 0 is any (AS-33).
    """

    task_id: str
    turn: Count = 0
    metadata: JsonObject | None = None


class ReportTaskData(A2A, frozen=True, kw_only=True):
    """What `ReportTask` tells: a task that `delegation` waits for has come to rest.

    `blob` refers to the outcome, if that is large; `failure` is as in `DelegationReported`.
    """

    delegation: Delegation
    outcome: TaskOutcome | None = None
    blob: BlobRef | None = None
    failure: Failure | None = None


class SetScheduleData(A2A, frozen=True, kw_only=True):
    """What `SetSchedule` asks: have this schedule, in the place of its namesake if there is one.

    With `declared`, because the agent's code asks for it: executors alone say so.
    """

    schedule: Schedule
    declared: bool = False


class RemoveScheduleData(A2A, frozen=True, kw_only=True):
    """What `RemoveSchedule` asks: have the schedule of that name no longer.

    With `declared`, because the agent's code asks for it no longer.
    """

    name: str
    declared: bool = False


class CommandEnvelope(Envelope, frozen=True, kw_only=True):
    """The attributes of a command. `opens`: it was appended as the first record of its context.

    `reach` is whose contexts it may touch: `tenant` is everybody's; without it, those that nobody
    or its actor has opened. `decides`: it may answer what a task asks others by name, too
    (`pelton.events.reach`).
    """

    opens: bool = False
    reach: Literal["tenant"] | msgspec.UnsetType = msgspec.UNSET
    decides: bool = False


class SendMessage(CommandEnvelope, frozen=True, kw_only=True, tag="pelton.SendMessage.v1"):
    """Hand a message to an agent (A2A `SendMessage`, `SendStreamingMessage`)."""

    data: SendMessageData
    dataschema: str = "pelton:SendMessage.v1"


class CancelTask(CommandEnvelope, frozen=True, kw_only=True, tag="pelton.CancelTask.v1"):
    """Cancel a task (A2A `CancelTask`)."""

    data: CancelTaskData
    dataschema: str = "pelton:CancelTask.v1"


class ReportTask(CommandEnvelope, frozen=True, kw_only=True, tag="pelton.ReportTask.v1"):
    """Tell a task that one it has delegated has come to rest; executors send it to each other."""

    data: ReportTaskData
    dataschema: str = "pelton:ReportTask.v1"


class SetSchedule(CommandEnvelope, frozen=True, kw_only=True, tag="pelton.SetSchedule.v1"):
    """Set a schedule of an agent. Goes to `cmd.<agent>._schedules`."""

    data: SetScheduleData
    dataschema: str = "pelton:SetSchedule.v1"


class RemoveSchedule(CommandEnvelope, frozen=True, kw_only=True, tag="pelton.RemoveSchedule.v1"):
    """Remove a schedule of an agent. Goes to `cmd.<agent>._schedules`."""

    data: RemoveScheduleData
    dataschema: str = "pelton:RemoveSchedule.v1"


Command = SendMessage | CancelTask | ReportTask
"""What is asked of a context."""

ScheduleCommand = SetSchedule | RemoveSchedule
"""What is asked of the schedules of an agent."""

COMMANDS: Final[tuple[type[Command | ScheduleCommand], ...]] = (
    *(SendMessage, CancelTask, ReportTask),
    *(SetSchedule, RemoveSchedule),
)
"""All commands, in the order of the documentation."""
