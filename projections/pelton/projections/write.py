"""What a batch of records does to the tables."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import NamedTuple

import msgspec

from pelton.events.errors import PeltonError
from pelton.projections import schema
from pelton.projections.batch import Damage, Told, Undecided
from pelton.projections.database import put
from pelton.projections.fold import Changes
from pelton.projections.memory import Remembered
from pelton.projections.rows import UNDECIDED, Cells, text

_PAIRS = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs)"
_FORGET_TASKS = f"DELETE FROM tasks WHERE pending > 0 AND (id, agent) IN ({_PAIRS})"  # noqa: S608
_FORGET_MESSAGES = (
    f"DELETE FROM messages WHERE (task_id, agent) IN ({_PAIRS}) AND number >= :undecided"  # noqa: S608
)
_FORGET_PENDING = "DELETE FROM pending WHERE sequence IN (SELECT value FROM json_each(?))"
_FORGET_DAMAGE = "DELETE FROM damaged WHERE sequence IN (SELECT value FROM json_each(?))"
_FORGET_PIECES = (
    "DELETE FROM pieces WHERE (task_id, agent, position) IN"
    " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]') FROM json_each(?))"
)
_ADVANCE = (
    "UPDATE position SET sequence = ?, hash = ? WHERE sequence = ? AND hash = ? RETURNING sequence"
)


class Position(NamedTuple):
    """How far the read models are: the last record taken in, and the SHA-256 of its bytes."""

    sequence: int
    hash: str


class PositionMoved(PeltonError):
    """Somebody else has written to the read models in between: go on from where they are now."""

    code = "position-moved"


class Write(msgspec.Struct):
    """All that a batch does to the tables, in one transaction."""

    before: Position
    after: Position
    changes: Changes
    contexts: dict[str, Cells] = {}
    undecided: dict[str, list[Undecided]] = {}
    """Commands that wait after it, by context: what they show in is yet to be added."""
    registered: dict[str, Cells] = {}
    """Agents, with when they were first registered as far as the batch knows."""
    told: list[Told] = []
    agents: list[Cells] = []
    acts: list[Cells] = []
    """What was done beside the contexts."""
    memories: Remembered = msgspec.field(default_factory=Remembered)
    pending: list[Cells] = []
    damaged: list[Damage] = []
    decided: list[int] = []
    """Sequences of commands that wait no more."""
    mended: list[int] = []
    """Sequences of damaged commands that were decided nevertheless."""
    shown: list[tuple[str, str]] = []
    """Tasks, as (id, agent), that commands showed in, which are decided or shown anew."""

    def commit(self, database: sqlite3.Connection) -> None:
        """Do what a batch does to the tables, all or nothing."""
        try:
            database.execute("BEGIN IMMEDIATE")
            self.do(database)
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.OperationalError):  # there may be none, just before and after
                database.execute("ROLLBACK")
            raise

    def do(self, database: sqlite3.Connection) -> None:
        """Do what a batch does to the tables, within a transaction."""
        changes = self.changes
        if not database.execute(_ADVANCE, (*self.after, *self.before)).fetchall():
            raise PositionMoved("the read models were moved on by another process")
        if self.shown:
            shown = {"pairs": text(self.shown), "undecided": UNDECIDED}
            database.execute(_FORGET_TASKS, shown)
            database.execute(_FORGET_MESSAGES, shown)
        if self.decided:
            database.execute(_FORGET_PENDING, (text(self.decided),))
        if self.mended:
            database.execute(_FORGET_DAMAGE, (text(self.mended),))
        if changes.dropped:
            database.execute(_FORGET_PIECES, (text(changes.dropped),))
        put(database, schema.CONTEXTS, list(self.contexts.values()))
        put(database, schema.TASKS, changes.tasks)
        put(database, schema.MESSAGES, changes.messages)
        put(database, schema.PIECES, changes.pieces)
        put(database, schema.REJECTED, changes.rejected)
        put(database, schema.TAKEN, changes.taken)
        put(database, schema.AUDIT, changes.acts + self.acts)
        changes.ledger.write(database)
        put(database, schema.PENDING, self.pending)
        put(database, schema.AGENTS, self.agents)
        self.memories.write(database)
        put(database, schema.DAMAGED, [msgspec.structs.astuple(each) for each in self.damaged])
