"""Forks: a conversation as it was at a sequence, gone on with otherwise, on a log of its own.

A sequence is a cut through all agents and contexts at once, so everybody who took part forks
together. What was recorded up to there stands and is not done again; what follows is done anew, or
comes from what the original did later, as the policy of its steps says. The original is only read.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.commands import SendMessage
from pelton.events.envelope import digest, encode
from pelton.events.errors import DamagedRecord, InvalidInput, TaskNotFound
from pelton.events.events import (
    AnyEvent,
    FailureClass,
    QuestionAsked,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskDelegated,
    TaskSubmitted,
    TurnEnded,
    TurnStarted,
    UsageReported,
    ValueRecorded,
)
from pelton.events.memory import STEPS
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.clock import rfc3339
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.log import Log, Record
from pelton.runtime.options import KEY, blob_of
from pelton.runtime.recorder import Recorder
from pelton.runtime.replay.session import Session, check_keys
from pelton.runtime.steps import Steps, call_of

DEADLINE: Final = "deadline:"
"""How the keys of values begin that are deadlines of what a turn hands on."""


class Tools(enum.StrEnum):
    """What becomes of a step that a fork begins."""

    LIVE = "live"
    """It runs, with all its effects."""
    RECORDED = "recorded"
    """It has the result that the original had of the same call after the fork, or fails."""
    ASK = "ask"
    """Somebody is asked for its result."""
    REFUSED = "refused"
    """It fails."""


def opening(session: Session, task_id: str) -> int:
    """Return the sequence of the command that has opened a task: all before its first turn.

    Raises:
        TaskNotFound: the session has no such task.
    """
    for record in session.records:
        if record.subject.startswith("evt.") and task_id.encode() in record.data:
            commit = decode_commit(record.data)
            if any(
                isinstance(e, TaskSubmitted) and e.task_id == task_id for e in commit.data.events
            ):
                return commit.data.command
    raise TaskNotFound(f"no task {task_id[:80]!r} is recorded")


def prefix(
    session: Session,
    upto: int,
    *,
    now: datetime,
    events: int | None = None,
    task_id: str = "",
    results: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    memories: bool = False,
) -> list[tuple[str, bytes]]:
    """Return the subjects and bytes of a session's records up to a sequence, for an empty log.

    With `events`, only so many events of the commit there.

    The commits name commands by where those will be there, and chain anew. Deadlines are as far off
    at `now` as they were at the last record; timers are not: what was waited for is over. `results`
    replaces what the steps of a task have returned, by their keys, and `options` those that its
    open turn has recorded. With `memories`, all that memories say later is there, too: recorded
    results of steps name versions of them.

    Raises:
        InvalidInput: there is nothing up to there, no such event, or no such step of the task has a
            result.
        ContentSealed: what was said is sealed, and its keys are not here.
    """
    check_keys(session)
    records = [each for each in session.records if each.sequence <= upto]
    if not records:
        raise InvalidInput(f"nothing of this conversation is recorded up to {upto}")
    if events is not None:
        _check_event(records[-1], upto, events)
    later, wanted = now - records[-1].received, dict(results or {})
    ended = _ended(records, task_id)
    if memories:
        records += [each for each in session.records if each.sequence > upto and _remembers(each)]

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
        if options and record.sequence > ended:
            kept = tuple(_optioned(each, task_id, options, session.blobs) for each in kept)
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


def _check_event(last: Record, upto: int, events: int) -> None:
    """Refuse the place after an event that is none.

    Raises:
        InvalidInput: what is at the sequence `upto` has not so many events.
    """
    commit = last.sequence == upto and last.subject.startswith("evt.")
    there = len(decode_commit(last.data).data.events) if commit else 0
    if there < events:
        raise InvalidInput(f"there is no event {events} at {upto}, which has {there}")


def _remembers(record: Record) -> bool:
    """Whether a record is of a memory."""
    return subjects.parse(record.subject).agent == subjects.MEMORY


def _ended(records: Sequence[Record], task_id: str) -> int:
    """Return the sequence at which the last turn of a task that has ended did so, or 0."""
    found = 0
    for record in records if task_id else ():
        if record.subject.startswith("evt.") and b"TurnEnded" in record.data:
            events = decode_commit(record.data).data.events
            if any(isinstance(e, TurnEnded) and e.task_id == task_id for e in events):
                found = record.sequence
    return found


def _optioned(
    event: AnyEvent, task_id: str, options: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> AnyEvent:
    """Return an event with the options that a turn is to have had."""
    if not isinstance(event, ValueRecorded) or (event.task_id, event.key) != (task_id, KEY):
        return event
    name = blob_of(event.value)
    known = msgspec.json.decode(blobs[name]) if name else event.value
    return replace(event, value={**known, **options})


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


class Had(NamedTuple):
    """What a call of the original came to, how many seconds it took, and what it said it took."""

    event: StepCompleted | StepFailed
    seconds: float
    used: tuple[UsageReported, ...]


class Later:
    """What the original has of its steps and values after a sequence, by what was called, in order.

    Calls that it has not are looked for in the `other` session, if there is one. `missed` are the
    calls that were asked for and are not there.
    """

    def __init__(self, session: Session, after: int, other: Session | None = None) -> None:
        self._found: dict[tuple[str, str], deque[Had]] = {}
        self._values: dict[tuple[str, int, str], Any] = {}
        self._other = Later(other, 0) if other is not None else None
        self.missed: list[str] = []
        begun: dict[tuple[str, str, str], tuple[StepStarted, datetime]] = {}
        used: dict[str, list[UsageReported]] = {}
        turns: dict[str, int] = {}
        for record in session.records:
            subject = subjects.parse(record.subject)
            if subject.kind != "evt" or not subject.context:
                continue
            for event in decode_commit(record.data).data.events:
                if isinstance(event, TurnStarted):
                    turns[event.task_id] = event.turn
                elif isinstance(event, StepStarted):
                    begun[record.subject, event.task_id, event.key] = event, record.received
                elif isinstance(event, UsageReported):
                    used.setdefault(event.key, []).append(event)
                elif record.sequence <= after:
                    continue
                elif isinstance(event, StepCompleted | StepFailed):
                    step, at = begun[record.subject, event.task_id, event.key]
                    said = tuple(used.pop(f"usage:{step.idempotency_key}", ()))
                    had = Had(event, (record.received - at).total_seconds(), said)
                    self._found.setdefault((_name(event.key), step.call), deque()).append(had)
                elif isinstance(event, ValueRecorded):
                    self._values[event.task_id, turns[event.task_id], event.key] = event.value

    def take(self, key: str, args: tuple[object, ...]) -> Had | None:
        """Return the next result of a call; the last one stands for all that follow."""
        found = self._found.get((_name(key), call_of(args)))
        if not found:
            had = self._other.take(key, args) if self._other is not None else None
            if had is None:
                self.missed.append(key)
            return had
        return found.popleft() if len(found) > 1 else found[0]

    def value(self, task: str, turn: int, key: str, draw: Callable[[], Any]) -> Any:
        """Return a value that a turn of the original had; one that it had not is drawn."""
        known = (task, turn, key)
        return self._values[known] if known in self._values else draw()


def _name(key: str) -> str:
    """Return the name of a step without its occurrence, which a fork may count otherwise."""
    name, _, occurrence = key.rpartition("#")
    return name if name and occurrence.isdecimal() else key


class Policy(NamedTuple):
    """What becomes of the steps that a fork begins, by their names, or of one call by its key.

    `tools` holds for all that are not named in `named`; what is in `stubs` has that result. `ask`
    is asked for the result of a step by its key and its arguments. With `values`, values that the
    original has are given again. With `costs`, what comes from the record takes what it has taken
    there: tokens and cost, and unless steps run in real time, time. With `memory`, memories are the
    fork's own, as its log is: the steps that use them run there.
    """

    tools: Tools = Tools.RECORDED
    named: Mapping[str, Tools] = {}
    stubs: Mapping[str, Any] = {}
    ask: Callable[[str, tuple[object, ...]], Any] | None = None
    values: bool = False
    costs: bool = False
    memory: bool = False

    def of(self, key: str) -> Tools:
        """Return what becomes of the call with that key."""
        if self.memory and key.startswith(STEPS):
            return Tools.LIVE
        return self.named.get(key, self.named.get(_name(key), self.tools))

    @property
    def live(self) -> bool:
        """Whether steps may run."""
        return Tools.LIVE in (self.tools, *self.named.values())

    @property
    def remembers(self) -> bool:
        """Whether what turns are given of memories comes from the record, and not from what is."""
        own = [tools for name, tools in self.named.items() if name.startswith(STEPS)]
        return not self.memory and self.tools is not Tools.LIVE and Tools.LIVE not in own


class Chosen(Steps):
    """Steps that run, have the original's results or others, or fail, as a policy says."""

    def __init__(self, policy: Policy, later: Later, recorder: Recorder, **options: Any) -> None:
        super().__init__(recorder, **options)
        self._policy, self._later = policy, later

    def _drawn(self, key: str, draw: Callable[[], Any]) -> Any:
        if not self._policy.values or key.startswith(DEADLINE) or key == KEY:
            return draw()
        return self._later.value(self._recorder.task_id, self._number, key, draw)

    async def _called(self, key: str, fn: Callable[..., Any], args: tuple[object, ...]) -> Any:
        name, policy = _name(key), self._policy
        for each in (key, name):
            if each in policy.stubs:
                return policy.stubs[each]
        tools = policy.of(key)
        if tools is Tools.LIVE:
            return await super()._called(key, fn, args)
        if tools is Tools.ASK and policy.ask is not None:
            return await asyncio.to_thread(policy.ask, key, args)
        had = self._later.take(key, args) if tools is Tools.RECORDED else None
        if had is None:
            why = "the original has no such call" if tools is Tools.RECORDED else "it is refused"
            raise AgentError(f"The step {name!r} did not run: {why}.", kind=FailureClass.POLICY)
        if policy.costs:
            await self._take_as_much(key, had)
        event = had.event
        if isinstance(event, StepFailed):
            raise StepError(event.failure)
        if event.blob is not None:
            return msgspec.json.decode(await self._blobs.get(event.blob))
        return event.result

    async def _take_as_much(self, key: str, had: Had) -> None:
        """Take the time that a call of the original has taken, and say what that said."""
        if not self._policy.live:
            await asyncio.sleep(had.seconds)
        for each in had.used:
            mine = replace(each, task_id=self._recorder.task_id, key=f"usage:{self._unique(key)}")
            self._recorder.emit(mine)
