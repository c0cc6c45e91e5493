"""Who did what: what principals have asked for, and what was decided, as the log has it.

A projection that needs no tables: each entry is one commit. What was refused at the door, before it
came to the log, is not here; the bridge's own records tell of it.
"""

from __future__ import annotations

import enum
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.commit import Commit
from pelton.events.errors import DamagedRecord
from pelton.events.events import (
    AgentStatusChanged,
    AnyEvent,
    CommandRejected,
    TaskEvent,
    name_of,
)
from pelton.events.ids import check_agent
from pelton.events.presence import AgentStatus
from pelton.events.upcast import decode_command, decode_commit, decode_schedule_command
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Reader

MOST: Final = 10_000
"""So many commits are looked at for one page: a page may have fewer entries, or none."""


class Decision(enum.StrEnum):
    """What became of what was asked."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    REPEATED = "repeated"
    """It had been decided before: nothing came of it."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal did, by the commit at `sequence`; `source` wrote it, at `time` (RFC 3339).

    `command` is what was asked (as in `SendMessage`), empty for what needs no command: keys, tokens
    and push configs. `events` are the names of those that came of it. A refusal has the `code` and
    the `reason` of an error.
    """

    sequence: int
    time: str
    principal: str
    source: str
    agent: str
    context_id: str
    task_id: str
    command: str
    command_id: str
    decision: Decision
    code: str
    reason: str
    events: tuple[str, ...]


class Wanted(NamedTuple):
    """Which entries: of a principal, of an agent, refused ones alone."""

    principal: str = ""
    agent: str = ""
    refused: bool = False


_BESIDE: Final = frozenset(
    {
        *("KeyCreated", "KeyRotated", "KeyRevoked", "TokensGranted", "TokensRevoked"),
        *("PushConfigured", "PushRemoved", "AgentRegistered"),
    }
)
"""What is done without a command; of how an agent stands, that somebody has removed it."""


async def audit(
    reader: Reader, wanted: Wanted, *, after: int, size: int
) -> tuple[list[AuditEntry], int]:
    """Return entries above a sequence, in the order of the log, and where the next page begins.

    That is the sequence to go on after, 0 at the end.

    Raises:
        InvalidInput: what is wanted is of no agent.
        LogUnavailable: the log did not answer in time.
    """
    pattern = f"evt.{check_agent(wanted.agent)}.>" if wanted.agent else "evt.>"
    found: list[AuditEntry] = []
    seen, last = 0, after
    async with aclosing(reader.scan(after=after, pattern=pattern)) as batches:
        async for batch in batches:
            for record in batch:
                if len(found) == size or seen == MOST:
                    return found, last
                seen, last = seen + 1, record.sequence
                if (commit := _asked(record)) is not None and _fits(record, commit, wanted):
                    found.append(await _entry(reader, record, commit))
    return found, 0


def _asked(record: Record) -> Commit | None:
    """Return the commit of a record, if it tells what somebody did."""
    try:
        commit = decode_commit(record.data)
    except DamagedRecord:  # `ReadModels.damage` lists it
        return None
    if commit.data.command or any(_beside(event) for event in commit.data.events):
        return commit
    return None


def _beside(event: AnyEvent) -> bool:
    if isinstance(event, AgentStatusChanged):
        return event.status is AgentStatus.REMOVED
    return name_of(event) in _BESIDE


def _fits(record: Record, commit: Commit, wanted: Wanted) -> bool:
    if wanted.agent and subjects.parse(record.subject).agent != wanted.agent:
        return False
    if wanted.principal and commit.actor != wanted.principal:
        return False
    return not wanted.refused or _refusal(commit) is not None


def _refusal(commit: Commit) -> CommandRejected | None:
    found = (each for each in commit.data.events if isinstance(each, CommandRejected))
    return next(found, None) if commit.data.command else None


async def _entry(reader: Reader, record: Record, commit: Commit) -> AuditEntry:
    subject, events, refusal = subjects.parse(record.subject), commit.data.events, _refusal(commit)
    decision = Decision.REFUSED if refusal else Decision.ACCEPTED
    tasks = (each.task_id for each in events if isinstance(each, TaskEvent | CommandRejected))
    command = ""
    if commit.data.command:
        asked = await reader.at(commit.data.command)
        command = _command(asked) if asked is not None else ""
        decision = decision if events else Decision.REPEATED
    return AuditEntry(
        sequence=record.sequence,
        time=commit.time,
        principal=commit.actor,
        source=commit.source,
        agent="" if subject.agent == subjects.ACCESS else subject.agent,
        context_id="" if subject.agent == subjects.ACCESS else subject.context,
        task_id=next(tasks, ""),
        command=command,
        command_id=commit.causationid if commit.data.command else "",
        decision=decision,
        code=refusal.code if refusal else "",
        reason=refusal.reason if refusal else "",
        events=tuple(name_of(each) for each in events),
    )


def _command(record: Record) -> str:
    """Return what a command asks, as in `SendMessage`; nothing if it cannot be read."""
    beside = subjects.parse(record.subject).beside
    try:
        command = (decode_schedule_command if beside else decode_command)(record.data)
    except DamagedRecord:
        return ""
    return type(command).__name__
