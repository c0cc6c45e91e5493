"""Memories as the projection keeps them: one row for each, and one for each version.

What is said by a memory that can be recalled lies in a full-text index beside. Which versions a
turn was given is told by the ledger: that is in the turn's own context.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import msgspec

from pelton.events.commit import Commit
from pelton.events.errors import IllegalTransition, PeltonError
from pelton.events.memory import (
    MemoryBegun,
    MemoryConsolidated,
    MemoryContent,
    MemoryEvent,
    MemoryForgotten,
    MemoryRevised,
)
from pelton.projections import schema
from pelton.projections.batch import Damage, Told
from pelton.projections.database import put
from pelton.projections.rows import Cells, text

_KNOWN: Final = (
    f"SELECT {', '.join(schema.MEMORIES.columns)} FROM memories"  # noqa: S608 - constants
    " WHERE id IN (SELECT value FROM json_each(?))"
)
_UNSAY: Final = "DELETE FROM memory_text WHERE rowid IN (SELECT value FROM json_each(?))"
_SAY: Final = "INSERT INTO memory_text (rowid, content) VALUES (?, ?)"


class MemoryRow(msgspec.Struct, gc=False):
    """A memory. `number` is the stream sequence of its first commit, by which the index knows it.

    `version` is the number of the last version, which says `content` and is by the agent `writer`,
    or by a person; `replaced_by` the memory that
    stands for it, if one does; `stopped` the sequence of a damaged commit behind which it stands
    still. With `keyid`, what it says is sealed with the key of that name.
    """

    number: int
    id: str
    scope: str
    owner: str
    life: int
    author: str
    namespace: str
    key: str
    consolidates: int
    version: int = 0
    content: str = ""
    media_type: str = ""
    expires: str = ""
    writer: str = ""
    forgotten: int = 0
    replaced_by: str = ""
    updated: int = 0
    time: str = ""
    stopped: int = 0
    keyid: str = ""

    def cells(self) -> Cells:
        """Return what SQLite keeps."""
        return msgspec.structs.astuple(self)

    @classmethod
    def begun(cls, event: MemoryBegun, sequence: int) -> Self:
        """Return the row of a memory before its first version is taken in."""
        return cls(
            number=sequence,
            id=event.memory_id,
            scope=event.scope.value,
            owner=event.owner,
            life=event.life,
            author=event.author,
            namespace=event.namespace,
            key=event.key,
            consolidates=int(isinstance(event, MemoryConsolidated)),
        )


class Remembered(msgspec.Struct):
    """What one batch changes of memories; `opened` says that what is sealed is in plain here."""

    opened: bool = False

    rows: list[MemoryRow] = []
    versions: list[Cells] = []
    damaged: list[Damage] = []

    def write(self, database: sqlite3.Connection) -> None:
        """Write it to the tables."""
        if not self.rows:
            return
        put(database, schema.MEMORIES, [row.cells() for row in self.rows])
        put(database, schema.MEMORY_VERSIONS, self.versions)
        database.execute(_UNSAY, (text([row.number for row in self.rows]),))
        said = [
            (row.number, row.content)
            for row in self.rows
            if not (row.forgotten or row.replaced_by) and (self.opened or not row.keyid)
        ]
        database.executemany(_SAY, said)


def remember(
    database: sqlite3.Connection, told: Sequence[Told], said: Mapping[int, str] | None = None
) -> Remembered:
    """Return what commits of memories change, given in the order of the log.

    `said` is what those that are sealed say, by their sequences, for tables that nobody else has;
    what is not in it says nothing. Without it, they keep what is sealed as it is.

    After one that is damaged or does not fit, its memory stands still, and no other.
    """
    found = Remembered(opened=said is not None)
    rows = _known(database, told)
    for each in told:
        row = rows.get(each.memory_id)
        if row is not None and row.stopped:
            continue
        try:
            if each.commit is None:
                raise each.error or IllegalTransition("a commit that cannot be read")
            for event in each.commit.data.events:
                if isinstance(event, MemoryEvent):
                    found.versions.append(
                        _taken(rows, _opened(event, each, said), each, each.commit)
                    )
        except PeltonError as error:
            if (row := rows.get(each.memory_id)) is not None:
                row.stopped = each.sequence
            found.damaged.append(Damage.of(each.sequence, each.subject, error))
    found.rows = list(rows.values())
    return found


def _opened(event: MemoryEvent, told: Told, said: Mapping[int, str] | None) -> MemoryEvent:
    if said is None or not isinstance(event, MemoryContent) or not _keyid(told.commit):
        return event
    return msgspec.structs.replace(event, content=said.get(told.sequence, ""))


def _keyid(commit: Commit | None) -> str:
    return commit.keyid if commit is not None and isinstance(commit.keyid, str) else ""


def _known(database: sqlite3.Connection, told: Iterable[Told]) -> dict[str, MemoryRow]:
    """Return the rows of memories that commits are about, or take the place of."""
    ids: set[str] = set()
    for each in told:
        ids.add(each.memory_id)
        for event in each.commit.data.events if each.commit else ():
            if isinstance(event, MemoryConsolidated):
                ids |= {source.memory_id for source in event.sources}
    cells = database.execute(_KNOWN, (text(sorted(ids)),)) if ids else ()
    return {row.id: row for row in (MemoryRow(*each) for each in cells)}


def _taken(rows: dict[str, MemoryRow], event: MemoryEvent, told: Told, commit: Commit) -> Cells:
    """Take an event in; return the row of the version that it makes."""
    row = rows.get(event.memory_id)
    if isinstance(event, MemoryBegun) and row is None:
        row = rows[event.memory_id] = MemoryRow.begun(event, told.sequence)
    elif row is None or isinstance(event, MemoryBegun):
        raise IllegalTransition("a memory begins once, and with its first version")
    if row.id != told.memory_id or event.version != row.version + 1:
        raise IllegalTransition(f"{type(event).__name__} of another memory, or out of turn")
    said = event if isinstance(event, MemoryContent) else None
    row.version, row.updated, row.time = event.version, told.sequence, commit.time
    row.content = said.content if said else ""
    row.media_type = said.media_type if said else ""
    row.expires = said.expires if said else ""
    row.writer, row.forgotten, row.replaced_by = event.cause.agent, int(said is None), ""
    row.keyid = _keyid(commit) if said else ""
    sources = event.sources if isinstance(event, MemoryBegun) else ()
    if isinstance(event, MemoryConsolidated):
        for source in sources:
            other = rows.get(source.memory_id)
            if other is not None and other.version == source.version:
                other.replaced_by = row.id
    return (
        *(row.id, row.version, row.content, row.media_type, row.expires, row.forgotten),
        event.reason if isinstance(event, MemoryForgotten) else "",
        event.reverts if isinstance(event, MemoryRevised) else 0,
        *(text(event.cause), text(sources), event.operation),
        *(told.sequence, commit.time, commit.actor, commit.id, commit.correlationid, row.keyid),
    )
