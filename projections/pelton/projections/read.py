"""The reading side of the read models: tasks, contexts, agents, and lists of them, page by page.

Each question is one statement: it sees one moment of the log, and its cost in statements does not
depend on how many rows there are (AS-65). Any number of processes may read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite
import msgspec

from pelton.events.a2a import Artifact, JsonObject, Message, Task, TaskState, TaskStatus
from pelton.events.card import AgentProfile
from pelton.events.context import join
from pelton.projections.audit import Audit
from pelton.projections.conversations import Conversations
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.database import connect, translated
from pelton.projections.ledgers import Ledgers
from pelton.projections.memories import Memories
from pelton.projections.pages import Page, check_size
from pelton.projections.rows import Cells
from pelton.projections.write import Position


class TaskEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the read models have it.

    `sequence` is the number of its last event among its own, `created` and `updated` are stream
    sequences. `owner` is whose context it is in. `attempt` and `executor` are those of the turn
    that is open, if one is, which is the last of `turns`. `waits` leads from what that waits for to
    the times when it is due, empty where it is not; `pause` is how its last attempt ended
    (`AttemptEnd`), empty while one runs, and `again_at` when the next one may begin at the
    earliest, where the log says so. `pending`: the message that opens the task is accepted, and not
    decided yet.
    """

    agent: str
    task: Task
    sequence: int
    turns: int
    attempt: int | None
    executor: str | None
    pending: bool
    created: int
    updated: int
    owner: str
    waits: dict[str, str] = {}
    pause: str = ""
    again_at: str = ""


class ContextEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A context.

    `waiting` counts its undecided commands; `stopped` is the sequence of a damaged commit behind
    which it stands still, 0 if there is none; `time` is that of its last commit.
    """

    agent: str
    id: str
    tasks: int
    events: int
    waiting: int
    stopped: int
    created: int
    updated: int
    time: str


class AgentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An agent; `registered` and `updated` are the sequences of its first and last profile."""

    name: str
    profile: AgentProfile
    registered: int
    updated: int


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was refused, by the commit at `sequence`."""

    agent: str
    context_id: str
    command_id: str
    task_id: str
    code: str
    reason: str
    sequence: int
    time: str


class Damaged(msgspec.Struct, frozen=True):
    """A record of the log that could not be taken in."""

    sequence: int
    subject: str
    code: str
    reason: str


class Queue(msgspec.Struct, frozen=True):
    """How many contexts of an agent have commands that wait, and how many commands these are."""

    contexts: int = 0
    commands: int = 0


_statuses: Final = msgspec.json.Decoder(TaskStatus)
_objects: Final = msgspec.json.Decoder(JsonObject)
_waits: Final = msgspec.json.Decoder(dict[str, str])
_profiles: Final = msgspec.json.Decoder(AgentProfile)
_histories: Final = msgspec.json.Decoder(list[tuple[int, Message]])
_pieces: Final = msgspec.json.Decoder(list[tuple[int, int, Artifact]])

_COLUMNS: Final = (
    "t.id, t.agent, t.context_id, t.status, t.metadata, t.sequence, t.turns, t.attempt,"
    " t.executor, t.pending, t.created, t.updated, t.owner, t.waits, t.pause, t.again_at"
)
_HISTORY: Final = (
    "(SELECT '[' || group_concat('[' || number || ',' || message || ']') || ']' FROM ("
    "SELECT number, message FROM messages WHERE task_id = t.id AND agent = t.agent"
    " ORDER BY number DESC LIMIT :history))"
)
_ARTIFACTS: Final = (
    "(SELECT '[' || group_concat('[' || position || ',' || number || ',' || artifact || ']') || ']'"
    " FROM pieces WHERE task_id = t.id AND agent = t.agent AND :artifacts)"
)
_TASK: Final = (
    f"SELECT {_COLUMNS}, {_HISTORY}, {_ARTIFACTS} FROM tasks t"  # noqa: S608 - constants
    " WHERE t.id = :id AND t.answer IS NULL"
)
_AGENTS: Final = "SELECT name, profile, registered, updated FROM agents ORDER BY name"
_ACTIVE: Final = "SELECT agent, count(*) FROM tasks WHERE attempt IS NOT NULL GROUP BY agent"
_TURNS: Final = (
    "SELECT agent, pause, count(*) FROM tasks WHERE attempt IS NOT NULL GROUP BY agent, pause"
)
_QUEUES: Final = (
    "SELECT c.agent, count(DISTINCT p.key), count(*) FROM pending p"
    " JOIN contexts c ON c.key = p.key GROUP BY c.agent"
)
_AGENT: Final = "SELECT name, profile, registered, updated FROM agents WHERE name = ?"
_REJECTED: Final = (
    "SELECT agent, context_id, command_id, task_id, code, reason, sequence, time FROM rejected"
)
_UNLIMITED: Final = -1


class ReadModels:
    """Answers from the read models (`open_read_models`)."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database
        self.ledgers: Final = Ledgers(self._fetch)
        """What tasks leave to others: questions, delegations, dead letters, counts."""
        self.memories: Final = Memories(self._fetch)
        """What agents remember."""
        self.audit: Final = Audit(self._fetch)
        """Who did what."""
        self.conversations: Final = Conversations(self._fetch)
        """Contexts as a person looks for them."""

    async def position(self) -> Position:
        """Return how far the read models are."""
        [[sequence, hash_]] = await self._fetch("SELECT sequence, hash FROM position", {})
        return Position(sequence, hash_)

    async def task(
        self,
        task_id: str,
        *,
        agent: str | None = None,
        owner: str | None = None,
        history: int | None = None,
        artifacts: bool = True,
    ) -> TaskEntry | None:
        """Return a task with at most the `history` latest messages, or None if there is none.

        With `agent` or `owner`, one that is not of both is none.

        A task that was answered by a bare message is none (A2A §3.1.1).
        """
        query, values = _TASK, {"id": task_id, **_detail(history, artifacts=artifacts)}
        if agent is not None:
            query, values = query + " AND t.agent = :agent", {**values, "agent": agent}
        if owner is not None:
            query, values = query + " AND t.owner = :owner", {**values, "owner": owner}
        for row in await self._fetch(query + " LIMIT 1", values):
            return _task(row)
        return None

    async def tasks(
        self,
        agent: str | None = None,
        *,
        owner: str | None = None,
        context_id: str | None = None,
        state: TaskState | None = None,
        updated_after: str | None = None,
        page_size: int = 50,
        cursor: str = "",
        history: int | None = 0,
        artifacts: bool = False,
    ) -> Page[TaskEntry]:
        """Return tasks of an agent or of all, newest status first, then by id (A2A §3.1.4).

        With `owner`, only of contexts that it has opened (S4): whoever lists for somebody names it.

        `updated_after` is the earliest status timestamp to be listed, as RFC 3339 in UTC with
        milliseconds. A task whose status changes while somebody turns pages may come twice or not.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        filters = {
            "agent": ("t.agent = :agent", agent),
            "owner": ("t.owner = :owner", owner),
            "context": ("t.context_id = :context", context_id),
            "state": ("t.state = :state", None if state is None else state.value),
            "since": ("t.timestamp >= :since", updated_after),
        }
        used = {name: value for name, (_, value) in filters.items() if value is not None}
        where = " AND ".join(["t.answer IS NULL", *(filters[name][0] for name in used)])
        asked = tuple(text for pair in used.items() for text in pair)
        values: dict[str, Any] = {**used, **_detail(history, artifacts=artifacts)}
        values["limit"] = page_size + 1
        page = where
        if cursor:
            place = read_cursor(cursor, asked, 3)
            values |= zip(("timestamp", "id", "by"), place, strict=True)
            page += " AND (t.timestamp, t.id, t.agent) < (:timestamp, :id, :by)"
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM tasks t WHERE {where}) c"  # noqa: S608 - constants
            f" LEFT JOIN (SELECT {_COLUMNS}, {_HISTORY}, {_ARTIFACTS} FROM tasks t WHERE {page}"
            " ORDER BY t.timestamp DESC, t.id DESC, t.agent DESC LIMIT :limit) p",
            values,
        )
        listed = [_task(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            last = listed[page_size - 1]
            place = (last.task.status.timestamp, last.task.id, last.agent)
            following = write_cursor(place, asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def contexts(
        self, agent: str | None = None, *, page_size: int = 50, cursor: str = ""
    ) -> Page[ContextEntry]:
        """Return the contexts of an agent or of all, latest record first.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        where, asked = ("agent = :agent", ("agent", agent)) if agent else ("TRUE", ())
        values: dict[str, Any] = {"agent": agent, "limit": page_size + 1}
        page = where
        if cursor:
            (before,) = read_cursor(cursor, asked, 1)
            values["before"] = int(before)
            page += " AND updated < :before"
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total FROM contexts WHERE {where}) c"  # noqa: S608 - constants
            " LEFT JOIN (SELECT agent, id, (SELECT count(*) FROM tasks t WHERE t.agent = x.agent"
            " AND t.context_id = x.id AND t.answer IS NULL) AS tasks, events, waiting, stopped,"
            f" created, updated, time FROM contexts x WHERE {page}"
            " ORDER BY updated DESC LIMIT :limit) p",
            values,
        )
        listed = [_context(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((str(listed[page_size - 1].updated),), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def agents(self) -> tuple[AgentEntry, ...]:
        """Return all agents by name."""
        return tuple(_agent(row) for row in await self._fetch(_AGENTS, {}))

    async def agent(self, name: str) -> AgentEntry | None:
        """Return an agent, if it has registered."""
        for row in await self._fetch(_AGENT, (name,)):
            return _agent(row)
        return None

    async def active(self) -> dict[str, int]:
        """Return how many turns of each agent have begun and not ended (AS-48)."""
        return {agent: int(count) for agent, count in await self._fetch(_ACTIVE, {})}

    async def turns(self) -> dict[str, dict[str, int]]:
        """Return how many turns of each agent are open, by how the last attempt left them.

        With an empty name those that are in hand, else as `AttemptEnd` names it.
        """
        found: dict[str, dict[str, int]] = {}
        for agent, pause, count in await self._fetch(_TURNS, {}):
            found.setdefault(agent, {})[pause] = int(count)
        return found

    async def queues(self) -> dict[str, Queue]:
        """Return what waits to be decided, for each agent for which anything does."""
        rows = await self._fetch(_QUEUES, {})
        return {agent: Queue(int(contexts), int(count)) for agent, contexts, count in rows}

    async def rejection(self, agent: str, task_id: str) -> Rejection | None:
        """Return the last refusal of a command about a task."""
        query = " WHERE task_id = ? AND agent = ? ORDER BY sequence DESC LIMIT 1"
        for row in await self._fetch(_REJECTED + query, (task_id, agent)):
            return _rejection(row)
        return None

    async def rejections(self, agent: str, *, limit: int = 50) -> tuple[Rejection, ...]:
        """Return the latest refusals of an agent's commands, the last one first."""
        query = " WHERE agent = ? ORDER BY sequence DESC LIMIT ?"
        rows = await self._fetch(_REJECTED + query, (agent, limit))
        return tuple(_rejection(row) for row in rows)

    async def damage(self, *, page_size: int = 50, cursor: str = "") -> Page[Damaged]:
        """Return the records of the log that could not be taken in, in their order.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("damaged",)
        after = int(read_cursor(cursor, asked, 1)[0]) if cursor else 0
        rows = await self._fetch(
            "SELECT c.total, d.* FROM (SELECT count(*) AS total FROM damaged) c"
            " LEFT JOIN (SELECT sequence, subject, code, reason FROM damaged WHERE sequence > ?"
            " ORDER BY sequence LIMIT ?) d",
            (after, page_size + 1),
        )
        listed = [Damaged(*row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((str(listed[page_size - 1].sequence),), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def damaged(self) -> int:
        """Return how many records of the log could not be taken in."""
        [[count]] = await self._fetch("SELECT count(*) FROM damaged", {})
        return int(count)

    async def _fetch(self, query: str, values: Any) -> list[Any]:
        with translated():
            return list(await self._database.execute_fetchall(query, values))


@asynccontextmanager
async def open_read_models(path: Path) -> AsyncGenerator[ReadModels]:
    """Open the read models for reading, with a connection of its own; see `connect`."""
    async with connect(path, write=False) as database:
        yield ReadModels(database)


def _detail(history: int | None, *, artifacts: bool) -> dict[str, int]:
    return {"history": _UNLIMITED if history is None else max(0, history), "artifacts": artifacts}


def _task(row: Cells) -> TaskEntry:
    id_, agent, context_id, status, metadata = row[:5]
    sequence, turns, attempt, executor, pending, created, updated, owner = row[5:13]
    waits, pause, again_at, history, pieces = row[13:18]
    messages = sorted(_histories.decode(history), key=_number) if history else []
    task = Task(
        id=id_,
        context_id=context_id,
        status=_statuses.decode(status),
        metadata=None if metadata is None else _objects.decode(metadata),
        history=tuple(message for _, message in messages),
        artifacts=_artifacts(_pieces.decode(pieces)) if pieces else (),
    )
    return TaskEntry(
        agent=agent,
        task=task,
        sequence=sequence,
        turns=turns,
        attempt=attempt,
        executor=executor,
        pending=bool(pending),
        created=created,
        updated=updated,
        owner=owner,
        waits=_waits.decode(waits),
        pause=pause,
        again_at=again_at,
    )


def _number(entry: tuple[int, Message]) -> int:
    return entry[0]


def _artifacts(pieces: Iterable[tuple[int, int, Artifact]]) -> tuple[Artifact, ...]:
    """Return artifacts, each made whole of its pieces; one of a single piece stays as it is."""
    grouped: dict[int, list[Artifact]] = {}
    for position, _, piece in sorted(pieces, key=lambda each: each[:2]):
        grouped.setdefault(position, []).append(piece)
    return tuple(
        first
        if not more
        else msgspec.structs.replace(
            first, parts=join(tuple(part for piece in (first, *more) for part in piece.parts))
        )
        for first, *more in grouped.values()
    )


def _context(row: Cells) -> ContextEntry:
    names = ContextEntry.__struct_fields__
    return ContextEntry(**dict(zip(names, row, strict=True)))


def _rejection(row: Cells) -> Rejection:
    return Rejection(**dict(zip(Rejection.__struct_fields__, row, strict=True)))


def _agent(row: Cells) -> AgentEntry:
    name, profile, registered, updated = row
    return AgentEntry(
        name=name, profile=_profiles.decode(profile), registered=registered, updated=updated
    )
