"""The schedules of an agent: the fold of the commits on `evt.<agent>._schedules`, and deciding.

Which slots a schedule has depends on the time zone database of the machine, so it is asked for by a
function that is passed in, and only to decide: what has been decided names its slots, and the fold
of it never computes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice, takewhile
from typing import Final

import msgspec
from msgspec.structs import replace

from pelton.events.chain import Chained, chained
from pelton.events.commands import RemoveSchedule, ScheduleCommand, SetSchedule
from pelton.events.commit import Commit
from pelton.events.decide import reject
from pelton.events.envelope import digest
from pelton.events.errors import PeltonError
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    ScheduleFired,
    ScheduleMissed,
    ScheduleRemoved,
    ScheduleSet,
)
from pelton.events.ids import derive
from pelton.events.schedule import Missed, Schedule, check_schedule
from pelton.events.upcast import decode_commit

Slots = Callable[[Schedule, str], Iterator[str]]
"""Gives the slots of a schedule after a time, in order (RFC 3339 in UTC, of one length)."""

AT_ONCE: Final = 1_000
"""How many slots one decision looks at; if more are due, another one follows."""


class ScheduleNotFound(PeltonError):
    """The agent has no schedule of that name: `pelton schedules list` tells which it has."""

    code = "schedule-not-found"


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that has fired: what is sent, on whose behalf, and the commit that says so."""

    event: ScheduleFired
    text: str
    actor: str
    cause: Commit


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What there is under one name.

    `schedule` is None once it was removed; `declared` is what the agent's code has last asked for.
    Slots count from `since` on and after `last`, the last one that has fired or was missed.
    `firings` are those of the last commit that has any: the only ones that may be unsent.
    """

    schedule: Schedule | None = None
    declared: Schedule | None = None
    actor: str = ""
    since: str = ""
    last: str = ""
    firings: tuple[Firing, ...] = ()


class Schedules(Chained, frozen=True, kw_only=True):
    """All schedules of an agent, by name; those that are no more among them.

    Commands up to the stream sequence `handled` are decided, their ids are in `commands`;
    `rejected` holds the refusals among them.
    """

    handled: int = 0
    commands: frozenset[str] = frozenset()
    rejected: dict[str, CommandRejected] = msgspec.field(default_factory=dict)
    entries: dict[str, Entry] = msgspec.field(default_factory=dict)


# The fold


def fold(state: Schedules, sequence: int, data: bytes) -> Schedules:
    """Return the state after the commit whose bytes are stored at a stream sequence.

    Raises:
        DamagedRecord: it is no commit, or does not chain to the one before it (law 13).
    """
    commit = decode_commit(data)
    state = chained(state, sequence, commit, digest(data))
    commands = state.commands
    if commit.data.command:
        commands |= {commit.causationid}
    state = replace(state, handled=max(state.handled, commit.data.handled), commands=commands)
    fired = {event.name for event in commit.data.events if isinstance(event, ScheduleFired)}
    for name in fired:
        state = _with(state, name, replace(state.entries[name], firings=()))
    for event in commit.data.events:
        state = _apply(state, event, commit)
    return state


def _apply(state: Schedules, event: AnyEvent, commit: Commit) -> Schedules:
    match event:
        case CommandRejected():
            return replace(state, rejected={**state.rejected, event.command_id: event})
        case ScheduleSet():
            name = event.schedule.name
            entry = replace(
                state.entries.get(name, Entry()),
                schedule=event.schedule,
                actor=commit.actor,
                since=event.since,
            )
            if event.declared:
                entry = replace(entry, declared=event.schedule)
            return _with(state, name, entry)
        case ScheduleRemoved():
            entry = replace(state.entries[event.name], schedule=None)
            if event.declared:
                entry = replace(entry, declared=None)
            return _with(state, event.name, entry)
        case ScheduleFired():
            entry = state.entries[event.name]
            text = entry.schedule.text if entry.schedule else ""
            firing = Firing(event=event, text=text, actor=entry.actor, cause=commit)
            entry = replace(entry, last=event.slot, firings=(*entry.firings, firing))
            return _with(state, event.name, entry)
        case ScheduleMissed():
            return _with(state, event.name, replace(state.entries[event.name], last=event.last))
        case _:
            return state


def _with(state: Schedules, name: str, entry: Entry) -> Schedules:
    return replace(state, entries={**state.entries, name: entry})


# Deciding


def decide(
    state: Schedules, command: ScheduleCommand, *, now: str, slots: Slots
) -> tuple[AnyEvent, ...]:
    """Return the events that a command leads to; none if it changes nothing (law 6).

    `now` (RFC 3339) is by the clock of the log.
    """
    if command.id in state.commands:
        return ()
    try:
        match command:
            case SetSchedule():
                return _set(state, command, now, slots)
            case RemoveSchedule():
                return _remove(state, command)
    except PeltonError as refusal:
        return (reject(command.id, refusal),)


def _set(state: Schedules, command: SetSchedule, now: str, slots: Slots) -> tuple[AnyEvent, ...]:
    schedule, declared = command.data.schedule, command.data.declared
    check_schedule(schedule)
    next(slots(schedule, now), None)  # raises if its times are no times
    entry = state.entries.get(schedule.name, Entry())
    if (entry.declared if declared else entry.schedule) == schedule:
        return ()
    return (ScheduleSet(schedule=schedule, since=now, declared=declared),)


def _remove(state: Schedules, command: RemoveSchedule) -> tuple[AnyEvent, ...]:
    name, declared = command.data.name, command.data.declared
    entry = state.entries.get(name, Entry())
    if declared and entry.declared is None:
        return ()
    if not declared and entry.schedule is None:
        raise ScheduleNotFound(f"there is no schedule {name[:80]!r}")
    return (ScheduleRemoved(name=name, declared=declared),)


def declaring(state: Schedules, declared: tuple[Schedule, ...]) -> Iterator[Schedule | str]:
    """Yield what an agent's code asks for that the log does not say it does.

    That is each schedule that is new or has changed, and the name of each that is gone. What
    somebody has changed at run time stays so until the code changes.
    """
    for schedule in declared:
        if state.entries.get(schedule.name, Entry()).declared != schedule:
            yield schedule
    names = {schedule.name for schedule in declared}
    for name, entry in state.entries.items():
        if entry.declared is not None and name not in names:
            yield name


def upcoming(entry: Entry, slots: Slots) -> Iterator[str]:
    """Yield the slots that have neither fired nor been missed, in order.

    The one time of a schedule that has only one is a slot even if it had passed when it was set.
    """
    schedule = entry.schedule
    if schedule is None or not schedule.enabled:
        return iter(())
    after = entry.last if schedule.at else max(entry.since, entry.last)
    return slots(schedule, after)


def due(state: Schedules, slots: Slots) -> str:
    """Return when the next slot of any schedule comes (RFC 3339), or nothing if none does."""
    times = (next(upcoming(entry, slots), "") for entry in state.entries.values())
    return min((time for time in times if time), default="")


def fire(state: Schedules, *, now: str, slots: Slots) -> tuple[AnyEvent, ...]:
    """Return what comes of the slots that are due at a time (RFC 3339), of all schedules."""
    return tuple(
        event
        for entry in state.entries.values()
        for event in _fire(state.agent, entry, now=now, slots=slots)
    )


def _fire(agent: str, entry: Entry, *, now: str, slots: Slots) -> Iterator[AnyEvent]:
    schedule = entry.schedule
    if schedule is None:
        return
    name = schedule.name
    come = list(islice(takewhile(lambda slot: slot <= now, upcoming(entry, slots)), AT_ONCE))
    late = [slot for slot in come if _age(slot, now) > schedule.grace]
    keep = {Missed.SKIP: 0, Missed.ONCE: 1, Missed.ALL: schedule.limit}[schedule.missed]
    missed = late[: max(0, len(late) - keep)]
    if missed:
        yield ScheduleMissed(name=name, first=missed[0], last=missed[-1], count=len(missed))
    if len(late) == AT_ONCE:
        return  # more may follow: these need not be the latest
    for slot in come[len(missed) :]:
        yield ScheduleFired(
            name=name,
            slot=slot,
            command_id=derive("schedule", agent, name, slot),
            context_id=schedule.context or derive("scheduled", agent, name, slot),
        )


def _age(slot: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(slot)).total_seconds()
