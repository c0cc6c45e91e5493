"""The reading side of what tasks leave to others; see `ledger`."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from pelton.events.a2a import Message
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.pages import Page, check_size

Fetch = Callable[[str, Any], Awaitable[list[Any]]]
"""Returns the rows that a statement finds."""


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question that a task waits with, asked by the commit at `sequence`.

    With an empty `key` the turn ended with it, and the next message to the task answers it. Without
    `approvers` the owner of the task may answer. `expires` and `time` are RFC 3339.
    """

    agent: str
    context_id: str
    task_id: str
    key: str
    turn: int
    message: Message | None
    approvers: tuple[str, ...]
    expires: str
    sequence: int
    time: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A task that failed for good without its agent's wish.

    `kind` is the class of the failure, `command_id` names the command that nobody could do, and
    `redriven_as` the task that does it again, if one does.
    """

    agent: str
    context_id: str
    task_id: str
    turn: int
    command_id: str
    kind: str
    message: str
    exception: str
    attempts: int
    redriven_as: str
    sequence: int
    time: str


class DelegationState(enum.StrEnum):
    """How a delegation stands."""

    OPEN = "open"
    """The turn waits for it."""
    REPORTED = "reported"
    LATE = "late"
    """A report came that nobody waited for any more."""
    DROPPED = "dropped"
    """Its turn ended before a report came."""


class DelegationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Work that a turn of a task has handed on, to the task `child` of another agent."""

    agent: str
    context_id: str
    task_id: str
    turn: int
    key: str
    child_agent: str
    child_context: str
    child: str
    state: DelegationState
    sequence: int
    time: str


class By(enum.StrEnum):
    """What usage is added up by."""

    TOTAL = "total"
    AGENT = "agent"
    CONTEXT = "context"
    MODEL = "model"
    PRINCIPAL = "principal"
    DAY = "day"


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken by what has a name, such as an agent or a model.

    `turns` have ended, and were worked on for `busy` milliseconds in all. `calls` were reported,
    with their tokens; of the input's, `cached_tokens` came from a cache. `cost` is in billionths of
    the unit of currency that the operator counts in, `duration` in milliseconds.
    """

    name: str
    turns: int
    busy: int
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: int
    duration: int


_messages: Final = msgspec.json.Decoder(Message)
_names: Final = msgspec.json.Decoder(tuple[str, ...])

_QUESTION: Final = (
    "agent, context_id, task_id, key, turn, message, approvers, expires, sequence, time"
)
_ASKED: Final = (
    "CASE q.approvers WHEN '[]' THEN EXISTS (SELECT 1 FROM tasks t WHERE t.id = q.task_id"
    " AND t.agent = q.agent AND t.owner = :person)"
    " ELSE EXISTS (SELECT 1 FROM json_each(q.approvers) WHERE value = :person) END"
)
_DEAD: Final = (
    "d.agent, d.context_id, d.task_id, d.turn, d.command_id, d.kind, d.message, d.exception,"
    " d.attempts, coalesce((SELECT r.redriven_as FROM redrives r WHERE r.task_id = d.task_id"
    " AND r.agent = d.agent), '') AS redriven_as, d.sequence, d.time"
)
_LETTERS: Final = "dead_letters d"
_WAITING: Final = (
    "NOT EXISTS (SELECT 1 FROM redrives r WHERE r.task_id = d.task_id AND r.agent = d.agent)"
)
_DELEGATIONS: Final = (
    "SELECT d.agent, d.context_id, d.task_id, d.turn, d.key, d.child_agent, d.child_context,"
    " d.child, (SELECT r.late FROM reports r WHERE r.task_id = d.task_id AND r.agent = d.agent"
    " AND r.turn = d.turn AND r.key = d.key ORDER BY r.sequence DESC LIMIT 1),"
    " t.turns = d.turn AND t.attempt IS NOT NULL, d.sequence, d.time"
    " FROM delegations d JOIN tasks t ON t.id = d.task_id AND t.agent = d.agent"
    " WHERE d.task_id = ? ORDER BY d.agent, d.turn, d.key"
)


_GROUPS: Final = {
    By.TOTAL: "'total'",
    By.AGENT: "agent",
    By.CONTEXT: "context_id",
    By.MODEL: "model",
    By.PRINCIPAL: "owner",
    By.DAY: "day",
}
_SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in UsageEntry.__struct_fields__[1:])


class Ledgers:
    """Answers about questions, dead letters, delegations and counts (`ReadModels.ledgers`)."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def inbox(
        self,
        agent: str | None = None,
        *,
        person: str | None = None,
        page_size: int = 50,
        cursor: str = "",
    ) -> Page[OpenQuestion]:
        """Return the open questions of an agent's tasks or of all, the oldest first.

        With `person`, only those that this one is asked: by name, or as the owner of a task whose
        question names nobody.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("inbox", agent or "", person or "")
        conditions = [*(["agent = :agent"] if agent else []), *([_ASKED] if person else [])]
        where = " AND ".join(conditions) or "TRUE"
        values: dict[str, Any] = {"agent": agent, "person": person, "limit": page_size + 1}
        page = where
        if cursor:
            place = read_cursor(cursor, asked, 4)
            values |= {"sequence": int(place[0]), "task": place[1], "by": place[2], "key": place[3]}
            page += " AND (sequence, task_id, agent, key) > (:sequence, :task, :by, :key)"
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM questions q WHERE {where}) c"  # noqa: S608 - constants
            f" LEFT JOIN (SELECT {_QUESTION} FROM questions q WHERE {page}"
            " ORDER BY sequence, task_id, agent, key LIMIT :limit) p",
            values,
        )
        listed = [_question(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            last = listed[page_size - 1]
            place = (str(last.sequence), last.task_id, last.agent, last.key)
            following = write_cursor(place, asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def dead_letters(
        self,
        agent: str | None = None,
        *,
        redriven: bool = False,
        page_size: int = 50,
        cursor: str = "",
    ) -> Page[DeadLetter]:
        """Return the dead letters of an agent or of all, the latest first.

        Those that were redriven only with `redriven`.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("dead-letters", agent or "", str(redriven))
        conditions = [*(["d.agent = :agent"] if agent else []), *([] if redriven else [_WAITING])]
        where = " AND ".join(conditions) or "TRUE"
        values: dict[str, Any] = {"agent": agent, "limit": page_size + 1}
        page = where
        if cursor:
            sequence, task, by = read_cursor(cursor, asked, 3)
            values |= {"sequence": int(sequence), "task": task, "by": by}
            page += " AND (d.sequence, d.task_id, d.agent) < (:sequence, :task, :by)"
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM dead_letters d WHERE {where}) c"  # noqa: S608, E501 - constants
            f" LEFT JOIN (SELECT {_DEAD} FROM {_LETTERS} WHERE {page}"
            " ORDER BY d.sequence DESC, d.task_id DESC, d.agent DESC LIMIT :limit) p",
            values,
        )
        listed = [_dead(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            last = listed[page_size - 1]
            following = write_cursor((str(last.sequence), last.task_id, last.agent), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def dead_letter(self, task_id: str) -> DeadLetter | None:
        """Return the dead letter of a task, if it is one."""
        query = f"SELECT {_DEAD} FROM dead_letters d WHERE d.task_id = ? LIMIT 1"  # noqa: S608 - constants
        for row in await self._fetch(query, (task_id,)):
            return _dead(row)
        return None

    async def delegations(self, task_id: str) -> tuple[DelegationEntry, ...]:
        """Return what a task has handed on, turn by turn."""
        return tuple(_delegation(row) for row in await self._fetch(_DELEGATIONS, (task_id,)))

    async def usage(
        self,
        by: By = By.AGENT,
        *,
        agent: str | None = None,
        owner: str | None = None,
        since: str = "",
        page_size: int = 50,
        cursor: str = "",
    ) -> Page[UsageEntry]:
        """Return what was taken, added up by what `by` says, in the order of its names.

        With `agent`, by its turns alone; with `owner`, in contexts that it has opened; with `since`
        on that day (as in 2026-11-27, UTC) and later.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("usage", by.value, agent or "", owner or "", since)
        group = _GROUPS[by]
        conditions = ["day >= :since", *(["agent = :agent"] if agent else [])]
        where = " AND ".join([*conditions, *(["owner = :owner"] if owner is not None else [])])
        values = {"since": since, "agent": agent, "owner": owner, "limit": page_size + 1}
        having = "TRUE"
        if cursor:
            (values["after"],) = read_cursor(cursor, asked, 1)
            having = "name > :after"
        rows = await self._fetch(
            f"WITH g AS (SELECT {group} AS name, {_SUMS} FROM usage WHERE {where} GROUP BY 1)"  # noqa: S608 - constants
            " SELECT c.total, p.* FROM (SELECT count(*) AS total FROM g) c"
            f" LEFT JOIN (SELECT * FROM g WHERE {having} ORDER BY name LIMIT :limit) p",
            values,
        )
        fields = UsageEntry.__struct_fields__
        listed = [
            UsageEntry(**dict(zip(fields, row[1:], strict=True)))
            for row in rows
            if row[1] is not None
        ]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((listed[page_size - 1].name,), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return what was counted for each agent, by the names in `ledger.COUNTS`."""
        found: dict[str, dict[str, int]] = {}
        for agent, name, count in await self._fetch(
            "SELECT agent, name, count FROM counts ORDER BY agent, name", ()
        ):
            found.setdefault(agent, {})[name] = count
        return found


def _question(row: Any) -> OpenQuestion:
    named = dict(zip(OpenQuestion.__struct_fields__, row, strict=True))
    message, approvers = named.pop("message"), named.pop("approvers")
    return OpenQuestion(
        **named,
        message=_messages.decode(message) if message else None,
        approvers=_names.decode(approvers),
    )


def _dead(row: Any) -> DeadLetter:
    return DeadLetter(**dict(zip(DeadLetter.__struct_fields__, row, strict=True)))


def _delegation(row: Any) -> DelegationEntry:
    *named, late, waits, sequence, time = row
    states = {0: DelegationState.REPORTED, 1: DelegationState.LATE}
    otherwise = DelegationState.OPEN if waits else DelegationState.DROPPED
    found = dict(zip(DelegationEntry.__struct_fields__, named, strict=False))
    state = otherwise if late is None else states[late]
    return DelegationEntry(**found, state=state, sequence=sequence, time=time)
