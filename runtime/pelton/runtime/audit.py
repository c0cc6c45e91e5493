"""Who did what: what principals have asked for, and what was decided.

The read models tell where in the log it is, and the log tells the rest. What was refused at the
door, before it came to the log, is not here; the bridge's own records tell of it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.errors import DamagedRecord
from pelton.events.events import CommandRejected, TaskEvent, name_of
from pelton.events.ids import check_agent
from pelton.events.upcast import decode_command, decode_commit, decode_schedule_command
from pelton.projections.audit import Act
from pelton.projections.pages import Page
from pelton.projections.read import ReadModels
from pelton.projections.store import open_private
from pelton.runtime.log import LogRegressed, Record
from pelton.runtime.projector import verify
from pelton.runtime.replay.session import Reader, Session


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


async def audit(
    models: ReadModels,
    reader: Reader,
    wanted: Wanted,
    *,
    after: int = 0,
    size: int = 50,
    cursor: str = "",
) -> Page[AuditEntry]:
    """Return entries above a sequence, in the order of the log that the read models are of.

    Raises:
        InvalidInput: what is wanted is of no agent, the cursor of another list, or the size is not
            within 1 to 100.
        LogRegressed: the log is not the one that the read models were made from.
        LogUnavailable: the log did not answer in time.
    """
    page = await models.audit.page(
        check_agent(wanted.agent) if wanted.agent else "",
        principal=wanted.principal,
        refused=wanted.refused,
        after=after,
        page_size=size,
        cursor=cursor,
    )
    await verify(reader, await models.position())
    entries = await asyncio.gather(*[_entry(reader, each) for each in page.items])
    return Page(items=tuple(entries), next=page.next, total=page.total)


@asynccontextmanager
async def models_of(session: Session) -> AsyncGenerator[ReadModels]:
    """Give the read models of a session, while the context lasts."""
    async with open_private(in_memory=True) as (store, database):
        await store.take(session.records)
        yield ReadModels(database)


async def _entry(reader: Reader, act: Act) -> AuditEntry:
    record = await reader.at(act.sequence)
    if record is None:
        raise LogRegressed(f"the log has lost its record {act.sequence}, of which the audit tells")
    commit = decode_commit(record.data)
    subject, events = subjects.parse(record.subject), commit.data.events
    refusals = (each for each in events if isinstance(each, CommandRejected))
    refusal = next(refusals, None) if act.refused else None
    tasks = (each.task_id for each in events if isinstance(each, TaskEvent | CommandRejected))
    decision = Decision.REFUSED if act.refused else Decision.ACCEPTED
    command = ""
    if commit.data.command:
        asked = await reader.at(commit.data.command)
        command = _command(asked) if asked is not None else ""
        decision = decision if events else Decision.REPEATED
    return AuditEntry(
        sequence=record.sequence,
        time=commit.time,
        principal=act.principal,
        source=commit.source,
        agent=act.agent,
        context_id=subject.context if act.agent else "",
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
