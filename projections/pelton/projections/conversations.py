"""The reading side of conversations: contexts as a person looks for them, by what was said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from pelton.events.a2a import Message, text_of
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.pages import Page, check_size

Fetch = Callable[[str, Any], Awaitable[list[Any]]]
"""Returns the rows that a statement finds."""


class ConversationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A context with the words that began it, and how its latest task stands.

    `state` and `text` are empty while nothing is decided. `by` is the agent that handed the work
    on, if one did. `updated` is the sequence of the last record, `time` that of the last commit.
    """

    agent: str
    id: str
    by: str
    state: str
    text: str
    tasks: int
    events: int
    waiting: int
    stopped: int
    updated: int
    time: str


_messages: Final = msgspec.json.Decoder(Message)

_TASKS: Final = "FROM tasks t WHERE t.context_id = x.id AND t.agent = x.agent AND t.answer IS NULL"
_SAID: Final = (
    "EXISTS (SELECT 1 FROM tasks t JOIN messages m ON m.task_id = t.id AND m.agent = t.agent,"
    " json_each(m.message, '$.parts') p WHERE t.context_id = x.id AND t.agent = x.agent"
    " AND t.answer IS NULL AND p.value ->> '$.text' LIKE :find ESCAPE '\\')"
)
_HANDED: Final = (
    "LEFT JOIN (SELECT child_agent, child_context, min(agent) AS by FROM delegations"
    " GROUP BY child_agent, child_context) h ON h.child_agent = x.agent AND h.child_context = x.id"
)
_SHOWN: Final = (
    "x.agent, x.id, coalesce(h.by, ''),"  # noqa: S608 - constants
    f" coalesce((SELECT t.state {_TASKS} ORDER BY t.timestamp DESC LIMIT 1), ''),"
    " coalesce((SELECT m.message FROM messages m WHERE (m.task_id, m.agent) = ("
    f"SELECT t.id, t.agent {_TASKS} ORDER BY t.created LIMIT 1) ORDER BY m.number LIMIT 1), ''),"
    f" (SELECT count(*) {_TASKS}), x.events, x.waiting, x.stopped, x.updated, x.time"
)


class Conversations:
    """Answers about conversations (`ReadModels.conversations`)."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def page(
        self,
        agent: str = "",
        *,
        find: str = "",
        handed_on: bool = False,
        page_size: int = 50,
        cursor: str = "",
    ) -> Page[ConversationEntry]:
        """Return the conversations with an agent or with all, latest record first.

        With `find`, those in which a message holds a text or whose id begins with it. Those that an
        agent has begun with another only with `handed_on`, or when they are looked for.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("conversations", agent, find, str(handed_on))
        escaped = find.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values: dict[str, Any] = {"agent": agent, "limit": page_size + 1, "find": f"%{escaped}%"}
        values["begins"] = f"{escaped}%"
        conditions = [
            *(["x.agent = :agent"] if agent else []),
            *([f"(x.id LIKE :begins ESCAPE '\\' OR {_SAID})"] if find else []),
            *([] if handed_on or find else ["h.by IS NULL"]),
        ]
        where = " AND ".join(conditions) or "TRUE"
        page = where
        if cursor:
            values["before"] = int(read_cursor(cursor, asked, 1)[0])
            page += " AND x.updated < :before"
        source = f"FROM contexts x {_HANDED}"
        rows = await self._fetch(
            f"SELECT c.total, p.* FROM (SELECT count(*) AS total {source} WHERE {where}) c"  # noqa: S608 - constants
            f" LEFT JOIN (SELECT {_SHOWN} {source} WHERE {page}"
            " ORDER BY x.updated DESC LIMIT :limit) p",
            values,
        )
        listed = [_entry(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((str(listed[page_size - 1].updated),), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])


def _entry(row: Any) -> ConversationEntry:
    named = dict(zip(ConversationEntry.__struct_fields__, row, strict=True))
    message = named.pop("text")
    return ConversationEntry(
        **named, text=text_of(_messages.decode(message).parts) if message else ""
    )
