"""Who did what: where in the log principals have asked for something, or done it without asking.

A row is one commit. It tells where to look and no more, since nearly every task has one: the record
that lies there has the rest, and the command that it decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from pelton.events import subjects
from pelton.events.access import (
    ContentErased,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    TokensGranted,
    TokensRevoked,
)
from pelton.events.commit import Commit
from pelton.events.events import AgentRegistered, AgentStatusChanged, AnyEvent, CommandRejected
from pelton.events.presence import AgentStatus
from pelton.events.push import PushConfigured, PushRemoved
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.pages import Page, check_size
from pelton.projections.rows import Cells

Fetch = Callable[[str, Any], Awaitable[list[Any]]]
"""Returns the rows that a statement finds."""

_UNASKED: Final = (
    *(KeyCreated, KeyRotated, KeyRevoked, TokensGranted, TokensRevoked, ContentErased),
    *(PushConfigured, PushRemoved, AgentRegistered),
)
"""What is done without a command; of how an agent stands, that somebody has removed it."""


class Act(msgspec.Struct, frozen=True):
    """That a principal has done something, by the commit at `sequence`; `agent` may be empty."""

    sequence: int
    principal: str
    agent: str
    refused: bool


def acts_of(sequence: int, agent: str, commit: Commit) -> list[Cells]:
    """Return the row of a commit beside the contexts; none if it tells of nothing that one did.

    Those of contexts are told of where they are folded.
    """
    events = commit.data.events
    if not commit.data.command and not any(map(_unasked, events)):
        return []
    refused = commit.data.command and any(isinstance(each, CommandRejected) for each in events)
    return [(sequence, commit.actor, "" if agent == subjects.ACCESS else agent, int(bool(refused)))]


def _unasked(event: AnyEvent) -> bool:
    if isinstance(event, AgentStatusChanged):
        return event.status is AgentStatus.REMOVED
    return isinstance(event, _UNASKED)


class Audit:
    """Answers about who did what (`ReadModels.audit`)."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def page(
        self,
        agent: str = "",
        *,
        principal: str = "",
        refused: bool = False,
        after: int = 0,
        page_size: int = 50,
        cursor: str = "",
    ) -> Page[Act]:
        """Return what was done above a sequence, in the order of the log.

        Of an agent, by a principal, and what was refused alone, as asked.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("audit", agent, principal, str(refused))
        conditions = [
            "sequence > :after",
            *(["agent = :agent"] if agent else []),
            *(["principal = :principal"] if principal else []),
            *(["refused"] if refused else []),
        ]
        where = " AND ".join(conditions)
        values: dict[str, Any] = {"agent": agent, "principal": principal, "after": after}
        values |= {"place": after, "limit": page_size + 1}
        if cursor:
            values["place"] = int(read_cursor(cursor, asked, 1)[0])
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM audit WHERE {where}) c"  # noqa: S608 - constants
            " LEFT JOIN (SELECT sequence, principal, agent, refused FROM audit"
            f" WHERE {where} AND sequence > :place ORDER BY sequence LIMIT :limit) p",
            values,
        )
        listed = [
            Act(sequence, by, of, refused=bool(no))
            for _, sequence, by, of, no in rows
            if sequence is not None
        ]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((str(listed[page_size - 1].sequence),), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])
