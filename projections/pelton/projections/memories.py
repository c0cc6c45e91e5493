"""The reading side of memories: recall, by words or by age, and what is known of each one.

A recall is one statement. Words from outside never reach the full-text index as its query language,
but each as a quoted string (`match`); whoever asks for words that no memory has gets an empty page.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from pelton.events.errors import InvalidInput
from pelton.events.memories import Member
from pelton.events.memory import MemoryCause, MemoryRef, MemoryScope
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.ledgers import Fetch
from pelton.projections.pages import Page, check_size

MOST: Final = 50
"""The most memories that a page has."""

LONGEST_QUERY: Final = 4096
"""Characters of a query that are looked at, and of the words in them the first `_WORDS`."""

_WORDS: Final = 64
_WORD: Final = re.compile(r"[^\W_]+")
_SCALE: Final = 1_000_000


class Order(enum.StrEnum):
    """In which order memories are recalled."""

    BEST = "best"
    """Those that fit the query best, by BM25; of equal ones the newest."""
    NEWEST = "newest"
    """Those that have changed last."""


class MemoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recalled, at the time `now` (RFC 3339, by the log's clock).

    `member` is the agent that asks, None for a person, who may read everything; `owner` is then the
    agent or team whose memories are meant. An empty query means all, and then the newest come
    first. `hidden` ones are those that are forgotten, expired, or replaced by others.
    """

    now: str
    text: str = ""
    member: Member | None = None
    scopes: tuple[MemoryScope, ...] = tuple(MemoryScope)
    owner: str | None = None
    namespace: str | None = None
    key: str | None = None
    order: Order = Order.BEST
    hidden: bool = False
    limit: int = 10
    cursor: str = ""


class MemoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as the read models have it, by its last version; see `MemoryRow`.

    `score` says how well it fits what was asked for: the higher the better, 0 if no words were.
    With `keyid`, what it says is sealed with the key of that name.
    """

    id: str
    scope: MemoryScope
    owner: str
    life: int
    author: str
    namespace: str
    key: str
    consolidates: bool
    version: int
    content: str
    media_type: str
    expires: str
    writer: str
    forgotten: bool
    replaced_by: str
    created: int
    updated: int
    time: str
    keyid: str = ""
    score: float = 0.0


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a memory, and what led to it; see `pelton.events.memories.Version`."""

    memory_id: str
    version: int
    content: str
    media_type: str
    expires: str
    forgotten: bool
    reason: str
    reverts: int
    cause: MemoryCause
    sources: tuple[MemoryRef, ...]
    sequence: int
    time: str
    actor: str
    commit_id: str
    correlation: str
    keyid: str


class MemoryRead(msgspec.Struct, frozen=True, kw_only=True):
    """A turn was given a version of a memory by its step `key`; `sequence` is the commit's."""

    memory_id: str
    version: int
    task_id: str
    agent: str
    turn: int
    key: str
    context_id: str
    sequence: int
    time: str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """What a version of a memory came from.

    `sources` are the versions that it was made of, and those that these were made of. `given` is
    what the turn that made it had been given of memory by then: it may have come from there, too.
    """

    version: VersionEntry
    sources: tuple[VersionEntry, ...]
    given: tuple[MemoryRead, ...]


_DEEP: Final = 16
_WIDE: Final = 200

_causes: Final = msgspec.json.Decoder(MemoryCause)
_sources: Final = msgspec.json.Decoder(tuple[MemoryRef, ...])

_MEMORY: Final = (
    "m.id, m.scope, m.owner, m.life, m.author, m.namespace, m.key, m.consolidates, m.version,"
    " m.content, m.media_type, m.expires, m.writer, m.forgotten, m.replaced_by, m.number,"
    " m.updated, m.time, m.keyid"
)
_VERSIONS: Final = (
    "SELECT memory_id, version, content, media_type, expires, forgotten, reason, reverts, cause,"
    " sources, sequence, time, actor, commit_id, correlation, keyid FROM memory_versions"
)
_READS: Final = (
    "SELECT memory_id, version, task_id, agent, turn, key, context_id, sequence, time"
    " FROM memory_reads"
)
_LAST: Final = "SELECT max(version) FROM memory_versions WHERE memory_id = ?"
_NAMED: Final = (
    f"{_VERSIONS} WHERE (memory_id, version) IN (SELECT json_extract(value, '$.memoryId'),"  # noqa: S608 - constants
    " json_extract(value, '$.version') FROM json_each(?))"
)
_GIVEN: Final = (
    f"{_READS} WHERE task_id = ? AND agent = ? AND turn = ? AND sequence <= ?"
    f" ORDER BY sequence, key, memory_id, version LIMIT {_WIDE}"
)
_READABLE: Final = (
    "((m.scope = 'own' AND m.owner = :agent AND m.life = :life)"
    " OR (m.scope = 'team' AND m.owner = :team AND :team <> '') OR m.scope = 'global')"
)
"""As `pelton.events.memories.readable`, which a test holds it to."""

_LATE: Final = 60
"""How little the first places count before the next ones, as in the paper on rank fusion (2009)."""

_FUSED: Final = (
    f"CAST(round({_SCALE} * (coalesce(1.0 / ({_LATE} + w.place), 0)"
    f" + coalesce(1.0 / ({_LATE} + n.place), 0))) AS INTEGER)"
)

_CURRENT: Final = (
    "m.forgotten = 0 AND m.replaced_by = '' AND (m.expires = '' OR m.expires > :now)"
    " AND m.stopped = 0"
)
_ALIVE: Final = f"{_CURRENT} AND m.content <> ''"
"""What can be recalled. Where what is sealed is in plain, what cannot be read is empty."""


def match(text: str) -> str:
    """Return the full-text query for memories with any of the words in a text; empty if none is.

    Each word stands in quotes, and has nothing in it that a word has not.
    """
    words = dict.fromkeys(_WORD.findall(text[:LONGEST_QUERY].lower()))
    return " OR ".join(f'"{word}"' for word in tuple(words)[:_WORDS])


class Memories:
    """Answers about memories (`ReadModels.memories`)."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def eligible(self, query: MemoryQuery) -> list[tuple[int, int]]:
        """Return which memories a query may find, whatever its words: numbers, and since when."""
        values, where = _conditions(query, "")
        query_ = f"SELECT m.number, m.updated FROM memories m WHERE {where} ORDER BY m.number"  # noqa: S608 - constants
        return [tuple(row) for row in await self._fetch(query_, values)]

    async def said(self, numbers: Collection[int]) -> list[tuple[int, int, str]]:
        """Return what memories say: their numbers, since when, and the texts."""
        query = (
            "SELECT number, updated, content FROM memories"
            " WHERE number IN (SELECT value FROM json_each(?))"
        )
        return [tuple(row) for row in await self._fetch(query, (_json(list(numbers)),))]

    async def sealed(self, query: MemoryQuery) -> tuple[int, int]:
        """Return how many memories that a query asks for, whatever its words, are sealed.

        And the sequence of the last record of any memory that is known here.
        """
        values, where = _conditions(query, "", alive=_CURRENT)
        rows = await self._fetch(
            "SELECT coalesce(sum(m.keyid <> ''), 0),"  # noqa: S608 - constants
            f" (SELECT coalesce(max(updated), 0) FROM memories) FROM memories m WHERE {where}",
            values,
        )
        return rows[0][0], rows[0][1]

    async def unread(self, query: MemoryQuery) -> list[tuple[str, int]]:
        """Return the keys of memories that a query asks for, and that could not be opened here.

        Whatever its words; with how many memories each has sealed.
        """
        values, where = _conditions(query, "", alive=_CURRENT)
        rows = await self._fetch(
            "SELECT m.keyid, count(*) FROM memories m"  # noqa: S608 - constants
            f" WHERE m.keyid <> '' AND m.content = '' AND {where} GROUP BY m.keyid",
            values,
        )
        return [(keyid, memories) for keyid, memories in rows]

    async def recall(
        self, query: MemoryQuery, *, near: Sequence[int] | None = None
    ) -> Page[MemoryEntry]:
        """Return a page of the memories that a query asks for.

        With `near`, the numbers of those that are near it in meaning, the nearest first, these are
        found too, and ranked together with those that have its words (reciprocal rank fusion).
        What is committed or forgotten while somebody turns pages may change how well others fit, so
        that one may come twice or not; with `Order.NEWEST`, only those that are changed do.

        Raises:
            InvalidInput: the query or its page cannot be.
        """
        check_size(query.limit, MOST)
        words = match(query.text)
        if query.text and not words and not near:
            return Page(items=(), next="", total=0)
        values, found = _found(query, words, near)
        asked = tuple(f"{name}={value}" for name, value in sorted(values.items()) if name != "now")
        asked = ("memories", query.order, *asked)
        if near is not None:
            values["near"] = _json(list(near))
            asked = (*asked, query.text)
        page = "TRUE"
        if query.cursor:
            place = read_cursor(query.cursor, asked, 3)
            values |= zip(
                ("score", "updated", "id"), (*map(_number, place[:2]), place[2]), strict=True
            )
            page = "(score, updated, id) < (:score, :updated, :id)"
        values["limit"] = query.limit + 1
        rows = await self._fetch(
            f"WITH found AS ({found})"  # noqa: S608 - constants
            " SELECT c.total, p.* FROM (SELECT count(*) AS total FROM found) c"
            f" LEFT JOIN (SELECT * FROM found WHERE {page}"
            " ORDER BY score DESC, updated DESC, id DESC LIMIT :limit) p",
            values,
        )
        listed = [_memory(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > query.limit:
            last = listed[query.limit - 1]
            place = (str(round(last.score * _SCALE)), str(last.updated), last.id)
            following = write_cursor(place, asked)
        return Page(items=tuple(listed[: query.limit]), next=following, total=rows[0][0])

    async def memory(self, memory_id: str) -> MemoryEntry | None:
        """Return a memory by its id, whether or not it can be recalled."""
        query = f"SELECT {_MEMORY}, 0 FROM memories m WHERE m.id = ?"  # noqa: S608 - constants
        for row in await self._fetch(query, (memory_id,)):
            return _memory(row)
        return None

    async def versions(
        self, memory_id: str, *, page_size: int = 50, cursor: str = ""
    ) -> Page[VersionEntry]:
        """Return the versions of a memory, the latest first.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("versions", memory_id)
        values: dict[str, Any] = {"id": memory_id, "limit": page_size + 1}
        page = "memory_id = :id"
        if cursor:
            values["before"] = _number(read_cursor(cursor, asked, 1)[0])
            page += " AND version < :before"
        rows = await self._fetch(
            "SELECT c.total, p.* FROM"  # noqa: S608 - constants
            " (SELECT count(*) AS total FROM memory_versions WHERE memory_id = :id) c"
            f" LEFT JOIN ({_VERSIONS} WHERE {page} ORDER BY version DESC LIMIT :limit) p",
            values,
        )
        listed = [_version(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            following = write_cursor((str(listed[page_size - 1].version),), asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])

    async def why(self, memory_id: str, version: int = 0) -> Why | None:
        """Return what a version of a memory came from, by default its last; None if there is none.

        What it was made of is followed `_DEEP` times.
        """
        [[last]] = await self._fetch(_LAST, (memory_id,))
        level = [MemoryRef(memory_id=memory_id, version=version or last or 0)]
        made: dict[MemoryRef, VersionEntry] = {}
        for _ in range(_DEEP):
            rows = await self._fetch(_NAMED, (_json(level),))
            found = {ref_of(entry): entry for entry in map(_version, rows)}
            made |= {ref: found[ref] for ref in level if ref in found}
            more = dict.fromkeys(ref for entry in found.values() for ref in _from(entry))
            level = [ref for ref in more if ref not in made][: _WIDE - len(made)]
            if not level:
                break
        if not made:
            return None
        entry, *sources = made.values()
        place = (entry.cause.task_id, entry.cause.agent, entry.cause.turn, entry.sequence)
        given = tuple(_read(row) for row in await self._fetch(_GIVEN, place))
        return Why(version=entry, sources=tuple(sources), given=given)

    async def readers(
        self, memory_id: str, *, page_size: int = 50, cursor: str = ""
    ) -> Page[MemoryRead]:
        """Return which turns were given a memory, the latest first.

        Raises:
            InvalidInput: the cursor is not of this list, or the page size not within 1 to 100.
        """
        check_size(page_size)
        asked = ("readers", memory_id)
        values: dict[str, Any] = {"id": memory_id, "limit": page_size + 1}
        page = "memory_id = :id"
        if cursor:
            place = read_cursor(cursor, asked, 4)
            values |= zip(
                ("sequence", "task", "key"), (_number(place[0]), *place[1:3]), strict=True
            )
            values["version"] = _number(place[3])
            page += " AND (sequence, task_id, key, version) < (:sequence, :task, :key, :version)"
        rows = await self._fetch(
            "SELECT c.total, p.* FROM"  # noqa: S608 - constants
            " (SELECT count(*) AS total FROM memory_reads WHERE memory_id = :id) c"
            f" LEFT JOIN ({_READS} WHERE {page}"
            " ORDER BY sequence DESC, task_id DESC, key DESC, version DESC LIMIT :limit) p",
            values,
        )
        listed = [_read(row[1:]) for row in rows if row[1] is not None]
        following = ""
        if len(listed) > page_size:
            last = listed[page_size - 1]
            place = (str(last.sequence), last.task_id, last.key, str(last.version))
            following = write_cursor(place, asked)
        return Page(items=tuple(listed[:page_size]), next=following, total=rows[0][0])


def _found(
    query: MemoryQuery, words: str, near: Sequence[int] | None
) -> tuple[dict[str, Any], str]:
    """Return the values and the statement of all memories that a query finds, with their scores."""
    values, where = _conditions(query, words)
    source = "memories m"
    if words:
        source = "memory_text JOIN memories m ON m.number = memory_text.rowid"
    if query.order is not Order.BEST or not query.text:
        return values, f"SELECT {_MEMORY}, 0 AS score FROM {source} WHERE {where}"  # noqa: S608 - constants
    fits = f"CAST(round(-bm25(memory_text) * {_SCALE}) AS INTEGER)"
    if near is None:
        return values, f"SELECT {_MEMORY}, {fits} AS score FROM {source} WHERE {where}"  # noqa: S608 - constants
    fitting = "SELECT 0 AS number, 0 AS place WHERE FALSE"
    if words:
        fitting = (
            "SELECT number, row_number() OVER (ORDER BY fits DESC, number DESC) AS place FROM"  # noqa: S608 - constants
            f" (SELECT m.number, {fits} AS fits FROM {source} WHERE {where} LIMIT -1)"
        )
    return values, (
        f"WITH w AS ({fitting}),"  # noqa: S608 - constants
        " n AS (SELECT value AS number, key + 1 AS place FROM json_each(:near))"
        f" SELECT {_MEMORY}, {_FUSED} AS score"
        " FROM (SELECT number FROM w UNION SELECT number FROM n) e"
        " JOIN memories m ON m.number = e.number LEFT JOIN w ON w.number = m.number"
        f" LEFT JOIN n ON n.number = m.number WHERE {_conditions(query, '')[1]}"
    )


def _conditions(
    query: MemoryQuery, words: str, *, alive: str = _ALIVE
) -> tuple[dict[str, Any], str]:
    """Return what a query asks for, as values and as the condition that names them."""
    values: dict[str, Any] = {"now": query.now}
    conditions: list[str] = [] if query.hidden else [alive]
    if words:
        values["words"] = words
        conditions.append("memory_text MATCH :words")
    if query.member is not None:
        values |= query.member._asdict()
        conditions.append(_READABLE)
    if set(query.scopes) != set(MemoryScope):
        values["scopes"] = _list(query.scopes)
        conditions.append("m.scope IN (SELECT value FROM json_each(:scopes))")
    for name in ("owner", "namespace", "key"):
        value = getattr(query, name)
        if value is not None:
            values[name] = value
            conditions.append(f"m.{name} = :{name}")
    return values, " AND ".join(conditions) or "TRUE"


def ref_of(entry: VersionEntry) -> MemoryRef:
    """Return what names a version."""
    return MemoryRef(memory_id=entry.memory_id, version=entry.version)


def _from(entry: VersionEntry) -> Iterator[MemoryRef]:
    """Yield the versions that a version was made of."""
    yield from entry.sources
    if entry.reverts:
        yield MemoryRef(memory_id=entry.memory_id, version=entry.reverts)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _list(scopes: Collection[MemoryScope]) -> str:
    return _json(sorted(scope.value for scope in scopes))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput("the page token is not one of this list", field="pageToken") from None


def _memory(row: Any) -> MemoryEntry:
    named = dict(zip(MemoryEntry.__struct_fields__, row, strict=True))
    named["scope"] = MemoryScope(named["scope"])
    for name in ("consolidates", "forgotten"):
        named[name] = bool(named[name])
    named["score"] = named["score"] / _SCALE
    return MemoryEntry(**named)


def _version(row: Any) -> VersionEntry:
    named = dict(zip(VersionEntry.__struct_fields__, row, strict=True))
    named["forgotten"] = bool(named["forgotten"])
    cause, sources = _causes.decode(named.pop("cause")), _sources.decode(named.pop("sources"))
    return VersionEntry(**named, cause=cause, sources=sources)


def _read(row: Any) -> MemoryRead:
    return MemoryRead(**dict(zip(MemoryRead.__struct_fields__, row, strict=True)))
