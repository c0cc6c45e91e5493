"""Records of the log in words: one line an event, as `show`, `tail` and `demo` print them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from pelton.adapters.cli.output import words
from pelton.events.a2a import Message, Part, text_of
from pelton.events.access import (
    AccessEvent,
    ContentErased,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    TokensGranted,
    TokensRevoked,
)
from pelton.events.commands import (
    CancelTask,
    Command,
    RemoveSchedule,
    ReportTask,
    ScheduleCommand,
    SendMessage,
    SetSchedule,
)
from pelton.events.commit import Commit, RecordedEvent, recorded
from pelton.events.errors import PeltonError
from pelton.events.events import (
    AgentPrompted,
    AgentRegistered,
    AgentStatusChanged,
    AgentTeamChanged,
    AnyEvent,
    AttemptEnded,
    CommandRejected,
    DelegationAccepted,
    DelegationReported,
    DomainEvent,
    Failure,
    KeyClaimed,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    QuestionAsked,
    QuestionExpired,
    ScheduleFired,
    ScheduleMissed,
    ScheduleRemoved,
    ScheduleSet,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskDeadLettered,
    TaskDelegated,
    TaskEvent,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TimerFired,
    TimerSet,
    TurnEnded,
    TurnStarted,
    UsageReported,
    ValueRecorded,
    name_of,
)
from pelton.events.memories import unsaid
from pelton.events.memory import AnyMemoryEvent, MemoryEvent, MemoryForgotten
from pelton.events.push import (
    AnyPushEvent,
    PushConfigured,
    PushDelivered,
    PushEnded,
    PushEvent,
    PushFailed,
    PushRemoved,
)
from pelton.events.ruling import CallRuled
from pelton.events.session import (
    AnySessionEvent,
    SessionInvalidated,
    SessionOpened,
    SessionStored,
)
from pelton.events.start import AgentStageReached, AnyStartEvent
from pelton.events.subjects import parse
from pelton.events.upcast import decode_command, decode_commit, decode_schedule_command
from pelton.runtime.log import Record

_SHORT: Final = 72


def decode(record: Record) -> Command | ScheduleCommand | Commit:
    """Return what a record holds, for somebody to look at: what is sealed is told to be.

    Raises:
        DamagedRecord: it holds nothing of this contract.
    """
    subject = parse(record.subject)
    if subject.kind == "evt":
        return unsaid(decode_commit(record.data))
    return decode_schedule_command(record.data) if subject.beside else decode_command(record.data)


def record_value(record: Record) -> dict[str, Any]:
    """Return a record as JSON shows it; what cannot be read is there as it stands."""
    try:
        data = msgspec.json.decode(record.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        data = record.data.decode(errors="replace")
    return {
        "sequence": record.sequence,
        "subject": record.subject,
        "received": record.received.isoformat(),
        "record": data,
    }


def record_line(record: Record) -> list[str]:
    """Return a record as lines: the command, or each event of the commit."""
    try:
        found = decode(record)
        subject = parse(record.subject)
    except PeltonError as error:
        return [_line(record, record.subject, "?", str(error))]
    where = f"{subject.agent}/{subject.context}".rstrip("/")
    if not isinstance(found, Commit):
        return [_line(record, where, *describe_command(found))]
    return [_line(record, where, name_of(event), describe(event)) for event in found.data.events]


def _line(record: Record, where: str, name: str, words: str) -> str:
    return f"{record.sequence:>7}  {record.received:%H:%M:%S.%f}"[:-3] + (
        f"  {where}  {name}  {words}".rstrip()
    )


def describe_command(command: Command | ScheduleCommand) -> tuple[str, str]:
    """Return a command's name and what it asks, in a few words."""
    match command:
        case SendMessage():
            return "SendMessage", _quote(command.data.message)
        case CancelTask():
            return "CancelTask", command.data.task_id
        case SetSchedule():
            return "SetSchedule", command.data.schedule.name
        case RemoveSchedule():
            return "RemoveSchedule", command.data.name
        case ReportTask():
            return "ReportTask", f"{command.data.delegation.task_id} {command.data.delegation.key}"


def describe(event: AnyEvent) -> str:
    """Return what an event says, in a few words."""
    if isinstance(event, PushEvent):
        return _push(event)
    if isinstance(event, MemoryEvent):
        return _memory(event)
    if isinstance(event, AnySessionEvent):
        return _session(event)
    if isinstance(event, AnyStartEvent):
        return _start(event)
    if isinstance(event, CallRuled):
        return _ruled(event)
    return _access(event) if isinstance(event, AccessEvent) else _told(event)


def _push(event: AnyPushEvent) -> str:
    config = f"{event.config_id} of {event.task_id}"
    match event:
        case PushConfigured():
            return f"{config} to {event.origin}"
        case PushRemoved():
            return config
        case PushDelivered():
            return f"{config}: event {event.sequence}"
        case PushFailed():
            tried = f"event {event.sequence}, attempt {event.attempt}: {event.reason}"
            return f"{config}: {tried}, again at {event.retry}"
        case PushEnded():
            return f"{config}: {event.end}" + (f", {event.reason}" if event.reason else "")


def _start(event: AnyStartEvent) -> str:
    if isinstance(event, AgentStageReached):
        return event.stage
    return f"{event.stage}: {event.kind}: {_cut(event.detail)}"


def _memory(event: AnyMemoryEvent) -> str:
    which = f"{event.memory_id} version {event.version}"
    if isinstance(event, MemoryForgotten):
        return f"{which} {event.reason}".rstrip()
    return f"{which}: {_cut(repr(event.content))}"


def _told(event: DomainEvent) -> str:
    match event:
        case TaskSubmitted() | MessageReceived() | MessageAnswered():
            return _quote(event.message)
        case TaskStatusUpdated():
            said = _quote(event.status.message) if event.status.message else ""
            return f"{words(event.status.state)} {said}".rstrip()
        case TaskArtifactUpdated():
            verb = "goes on" if event.append else "begins"
            name = event.artifact.name or event.artifact.artifact_id
            return f"{name} {verb}: {_cut(quoted(event.artifact.parts))}"
        case TaskArtifactWithdrawn():
            return event.artifact_id
        case CommandRejected():
            return f"{event.code}: {_cut(event.reason)}"
        case TaskDeadLettered():
            return f"after {event.attempts}: {_failure(event.failure)}"
        case TaskRedriven() | KeyClaimed():
            return f"as {event.by}" if isinstance(event, TaskRedriven) else event.command_id
        case AgentRegistered() | AgentStatusChanged() | AgentPrompted() | AgentTeamChanged():
            return _agent(event)
        case ScheduleSet() | ScheduleRemoved() | ScheduleFired() | ScheduleMissed():
            return _schedule(event)
        case TurnStarted() | AttemptEnded() | TurnEnded():
            return _turn(event)
        case StepStarted() | StepCompleted() | StepFailed() | ValueRecorded() | UsageReported():
            return _step(event)
        case _:
            return _wait(event)


def _turn(event: TurnStarted | AttemptEnded | TurnEnded) -> str:
    which = f"turn {event.turn}, attempt {event.attempt}"
    if isinstance(event, TurnStarted):
        return f"{which}, executor {event.executor}"
    failure = f": {_cut(event.failure.message)}" if event.failure else ""
    if isinstance(event, TurnEnded):
        return f"{which}: {event.outcome}{failure}"
    waits = f", waits for {', '.join(event.waits)}" if event.waits else ""
    again = f", again at {event.again_at}" if event.again_at else ""
    return f"{which}: {event.end}{waits}{failure}{again}"


def _step(event: StepStarted | StepCompleted | StepFailed | ValueRecorded | UsageReported) -> str:
    match event:
        case StepStarted():
            return event.key if event.attempt == 1 else f"{event.key} (attempt {event.attempt})"
        case StepCompleted():
            result = "in a blob" if event.blob else msgspec.json.encode(event.result).decode()
            return f"{event.key} = {_cut(result)}"
        case StepFailed():
            again = f", again at {event.again_at}" if event.again_at else ""
            return f"{event.key}: {_failure(event.failure)}{again}"
        case ValueRecorded():
            return f"{event.key} = {_cut(msgspec.json.encode(event.value).decode())}"
        case UsageReported():
            return _usage(event)


def _ruled(event: CallRuled) -> str:
    said = f"{event.ruling}, changed" if event.changed else str(event.ruling)
    why = f": {_cut(event.reason)}" if event.reason else ""
    return f"{event.point} {event.key} by {event.by}: {said}{why}"


def _usage(event: UsageReported) -> str:
    tokens = f"{event.input_tokens} + {event.output_tokens} tokens"
    cost = f", cost {event.cost / 1e9:g}" if event.cost else ""
    return f"{event.model or event.key}: {tokens}{cost}"


def _session(event: AnySessionEvent) -> str:
    match event:
        case SessionOpened():
            return f"{event.number}: {event.start}, {event.reason} ({event.adapter})"
        case SessionInvalidated():
            return f"{event.number}: {event.reason}"
        case SessionStored():
            return f"{event.number}: {_cut(', '.join(each.key for each in event.entries))}"


def _wait(
    event: TimerSet
    | TimerFired
    | QuestionAsked
    | QuestionAnswered
    | QuestionExpired
    | TaskDelegated
    | DelegationAccepted
    | DelegationReported,
) -> str:
    match event:
        case TimerSet():
            return f"{event.key} until {event.due}"
        case QuestionAsked():
            until = f" (until {event.expires})" if event.expires else ""
            return f"{event.key}: {_quote(event.message)}{until}"
        case QuestionAnswered():
            return f"{event.key} by {event.by}: {_quote(event.message)}"
        case TaskDelegated():
            known = f" as {event.child}" if event.child else ""
            return f"{event.key} to {event.agent}{known}: {_quote(event.message)}"
        case DelegationAccepted():
            return f"{event.key} as {event.child}"
        case DelegationReported():
            came = words(event.outcome.state) if event.outcome else "in a blob"
            return f"{event.key}: {came}{' (late)' if event.late else ''}"
        case TimerFired() | QuestionExpired():
            return event.key


def _agent(
    event: AgentRegistered | AgentStatusChanged | AgentPrompted | AgentTeamChanged,
) -> str:
    match event:
        case AgentRegistered():
            return f"{event.profile.name} {event.profile.version}"
        case AgentStatusChanged():
            return f"{event.status} (it is {event.fact})"
        case AgentPrompted():
            return f"in life {event.life}: {_cut(repr(event.text))}"
        case AgentTeamChanged():
            return f"to {event.team}" if event.team else "to no team"


def _schedule(event: ScheduleSet | ScheduleRemoved | ScheduleFired | ScheduleMissed) -> str:
    match event:
        case ScheduleSet(schedule=schedule):
            times = schedule.cron or schedule.at
            off = "" if schedule.enabled else " (off)"
            return f"{schedule.name} {times} {schedule.zone}{off}: {_cut(repr(schedule.text))}"
        case ScheduleRemoved():
            return event.name
        case ScheduleFired():
            return f"{event.name} of {event.slot} in {event.context_id}"
        case ScheduleMissed():
            return f"{event.name}: {event.count} from {event.first} to {event.last}"


def _failure(failure: Failure) -> str:
    return f"{failure.kind}: {_cut(failure.message)}"


def _access(event: AccessEvent) -> str:
    if isinstance(event, ContentErased):
        return f"{event.context_id} of {event.agent}"
    name = event.key_id if isinstance(event, KeyCreated | KeyRotated | KeyRevoked) else event.family
    if isinstance(event, KeyCreated | TokensGranted):
        return f"{name} of {event.principal}: {', '.join(event.roles)}"
    return f"{name} {event.reason}" if isinstance(event, TokensRevoked) else name


def of_task(records: Sequence[Record], task_id: str) -> Iterator[tuple[Record, RecordedEvent]]:
    """Yield the events that are about a task, each with the record that holds it."""
    for record in records:
        for each in recorded(decode_commit(record.data)):
            event = each.event
            if isinstance(event, TaskEvent | CommandRejected) and event.task_id == task_id:
                yield record, each


def lines(events: Sequence[tuple[Record, RecordedEvent]]) -> list[str]:
    """Return a task's events as lines: sequence, seconds since the first, name, words."""
    if not events:
        return []
    began = events[0][0].received
    return [
        f"{record.sequence:>7}  {(record.received - began).total_seconds():>8.3f} s"
        f"  {name_of(each.event):<20}  {describe(each.event)}".rstrip()
        for record, each in events
    ]


def value(record: Record, each: RecordedEvent) -> dict[str, Any]:
    """Return an event of a task as JSON shows it."""
    return {
        "sequence": record.sequence,
        "received": record.received.isoformat(),
        "id": each.id,
        "event": msgspec.to_builtins(each.event),
    }


def quoted(parts: Sequence[Part]) -> str:
    """Return on a line what parts say: the text of them, and what of them is something else."""
    text = text_of(tuple(parts))
    others = [_part(part) for part in parts if not isinstance(part.text, str)]
    return " ".join([repr(text), *others] if text or not others else others)


def _part(part: Part) -> str:
    """Return in a few words what a part is that is no text here."""
    if part.blob is not None:
        return f"[{part.blob.size} bytes, {'sealed' if part.blob.key else 'beside the log'}]"
    if isinstance(part.url, str):
        return f"[{part.url}]"
    if isinstance(part.raw, str):
        return f"[{part.filename or part.media_type or 'a file'}]"
    return msgspec.json.encode(part.data).decode()


def _quote(message: Message) -> str:
    return _cut(quoted(message.parts))


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
