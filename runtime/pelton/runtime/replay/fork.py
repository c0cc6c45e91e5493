"""Forks: a conversation as it was at a sequence, gone on with otherwise, on a log of its own.

A sequence is a cut through all agents and contexts at once, so everybody who took part forks
together. What was recorded up to there stands and is not done again; what follows is done anew, or
comes from what the original did later, as the policy of its steps says. The original is only read.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.commands import SendMessage
from pelton.events.envelope import digest, encode
from pelton.events.errors import DamagedRecord, InvalidInput
from pelton.events.events import (
    AnyEvent,
    FailureClass,
    QuestionAsked,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskDelegated,
    TaskSubmitted,
    TurnStarted,
    ValueRecorded,
)
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.clock import rfc3339
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.log import Log
from pelton.runtime.recorder import Recorder
from pelton.runtime.replay.session import Session
from pelton.runtime.steps import Steps, call_of

DEADLINE: Final = "deadline:"
"""How the keys of values begin that are deadlines of what a turn hands on."""


class Tools(enum.StrEnum):
    """What becomes of a step that a fork begins."""

    LIVE = "live"
    """It runs, with all its effects."""
    RECORDED = "recorded"
    """It has the result that the original had of the same call after the fork, or fails."""
    REFUSED = "refused"
    """It fails."""


def prefix(
    session: Session,
    upto: int,
    *,
    now: datetime,
    events: int | None = None,
    task_id: str = "",
    results: Mapping[str, Any] | None = None,
) -> list[tuple[str, bytes]]:
    """Return the subjects and bytes of a session's records up to a sequence, for an empty log.

    With `events`, only so many events of the commit there.

    The commits name commands by where those will be there, and chain anew. Deadlines are as far off
    at `now` as they were at the last record; timers are not: what was waited for is over. `results`
    replaces what the steps of a task have returned, by their keys.

    Raises:
        InvalidInput: there is nothing up to there, or no such step of the task has a result.
    """
    records = [each for each in session.records if each.sequence <= upto]
    if not records:
        raise InvalidInput(f"nothing of this conversation is recorded up to {upto}")
    later, wanted = now - records[-1].received, dict(results or {})

    def shifted(time: str) -> str:
        return rfc3339(datetime.fromisoformat(time) + later) if time else ""

    places, heads = {0: 0}, dict[str, str]()
    found: list[tuple[str, bytes]] = []
    for record in records:
        places[record.sequence] = len(found) + 1
        if not record.subject.startswith("evt."):
            found.append((record.subject, _command(record.data, shifted)))
            continue
        commit = decode_commit(record.data)
        kept = commit.data.events[: events if record.sequence == upto else None]
        decided = replace(
            commit.data,
            events=tuple(_event(_resulting(each, task_id, wanted), shifted) for each in kept),
            command=places.get(commit.data.command, 0),
            handled=places.get(commit.data.handled, 0),
        )
        data = encode(replace(commit, prevhash=heads.get(record.subject, ""), data=decided))
        heads[record.subject] = digest(data)
        found.append((record.subject, data))
    if wanted:
        raise InvalidInput(f"up to there, no step {', '.join(sorted(wanted))} has a result")
    return found


def _command(data: bytes, shifted: Callable[[str], str]) -> bytes:
    try:
        command = decode_command(data)
    except DamagedRecord:  # it is refused there as it was here
        return data
    if not isinstance(command, SendMessage) or not command.data.deadline:
        return data
    later = replace(command.data, deadline=shifted(command.data.deadline))
    return encode(replace(command, data=later))


def _resulting(event: AnyEvent, task_id: str, results: dict[str, Any]) -> AnyEvent:
    """Return an event with the result that a step is to have had."""
    if not isinstance(event, StepCompleted | StepFailed) or event.task_id != task_id:
        return event
    if event.key not in results or (isinstance(event, StepFailed) and event.again_at):
        return event
    return StepCompleted(task_id=task_id, key=event.key, result=results.pop(event.key))


def _event(event: AnyEvent, shifted: Callable[[str], str]) -> AnyEvent:
    """Return an event whose deadlines are as far off as they were."""
    match event:
        case TaskSubmitted() | TurnStarted() | TaskDelegated():
            return replace(event, deadline=shifted(event.deadline))
        case QuestionAsked():
            return replace(event, expires=shifted(event.expires))
        case ValueRecorded() if event.key.startswith(DEADLINE):
            return replace(event, value=shifted(str(event.value)))
        case _:
            return event


async def plant(log: Log, session: Session, records: Sequence[tuple[str, bytes]]) -> None:
    """Write a prefix, and the blobs of its session, to an empty log.

    Raises:
        LogError: the log refuses it.
    """
    for data in session.blobs.values():
        await log.put_blob(data)
    for number, (subject, data) in enumerate(records):
        await log.append(subject, data, id=f"prefix-{number}")


class Later:
    """What the original has of its steps after a sequence, by what was called, in order."""

    def __init__(self, session: Session, after: int) -> None:
        self._found: dict[tuple[str, str], deque[StepCompleted | StepFailed]] = {}
        begun: dict[tuple[str, str, str], str] = {}
        for record in session.records:
            subject = subjects.parse(record.subject)
            if subject.kind != "evt" or not subject.context:
                continue
            for event in decode_commit(record.data).data.events:
                if isinstance(event, StepStarted):
                    begun[record.subject, event.task_id, event.key] = event.call
                elif isinstance(event, StepCompleted | StepFailed) and record.sequence > after:
                    call = begun[record.subject, event.task_id, event.key]
                    self._found.setdefault((_name(event.key), call), deque()).append(event)

    def take(self, key: str, args: tuple[object, ...]) -> StepCompleted | StepFailed | None:
        """Return the next result of a call; the last one stands for all that follow."""
        found = self._found.get((_name(key), call_of(args)))
        if not found:
            return None
        return found.popleft() if len(found) > 1 else found[0]


def _name(key: str) -> str:
    """Return the name of a step without its occurrence, which a fork may count otherwise."""
    name, _, occurrence = key.rpartition("#")
    return name if name and occurrence.isdecimal() else key


class Chosen(Steps):
    """Steps that run, have the original's results, or fail: as `choose` says by their names."""

    def __init__(
        self, choose: Callable[[str], Tools], later: Later, recorder: Recorder, **options: Any
    ) -> None:
        super().__init__(recorder, **options)
        self._choose, self._later = choose, later

    async def _called(self, key: str, fn: Callable[..., Any], args: tuple[object, ...]) -> Any:
        name = _name(key)
        tools = self._choose(name)
        if tools is Tools.LIVE:
            return await super()._called(key, fn, args)
        event = self._later.take(key, args) if tools is Tools.RECORDED else None
        if event is None:
            why = "it is refused" if tools is Tools.REFUSED else "the original has no such call"
            raise AgentError(f"The step {name!r} did not run: {why}.", kind=FailureClass.POLICY)
        if isinstance(event, StepFailed):
            raise StepError(event.failure)
        if event.blob is not None:
            return msgspec.json.decode(await self._blobs.get_blob(event.blob.sha256))
        return event.result
