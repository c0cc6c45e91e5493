"""The store of the read models: takes in batches of records, each with its position (AS-12, G6)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from pelton.events.commands import SendMessage
from pelton.events.commit import Commit
from pelton.events.events import TaskEvent
from pelton.projections import schema
from pelton.projections.batch import Batch, Damage, Group, Stored, Undecided
from pelton.projections.database import Database, connect, translated
from pelton.projections.fold import Changes, Stopped, fold
from pelton.projections.memory import remember
from pelton.projections.rows import UNDECIDED, Cells, ContextRow, TaskRow
from pelton.projections.undecided import show, target
from pelton.projections.write import Position, Write

_CONTEXTS = (
    f"SELECT {', '.join(schema.CONTEXTS.columns)} FROM contexts"  # noqa: S608 - constants
    " WHERE key IN (SELECT value FROM json_each(?))"
)
_TASKS = (
    f"SELECT {', '.join(schema.TASKS.columns)} FROM tasks"  # noqa: S608 - constants
    " WHERE id IN (SELECT value FROM json_each(?)) AND pending = 0"
)
_PENDING = (
    "SELECT sequence, key, data FROM pending"
    " WHERE key IN (SELECT value FROM json_each(?)) ORDER BY sequence"
)
_SENT = "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[2]') FROM json_each(:pairs))"
_DECIDED = (
    f"SELECT key, command_id FROM rejected WHERE (key, command_id) IN {_SENT}"  # noqa: S608 - constants
    f" UNION SELECT key, command_id FROM taken WHERE (key, command_id) IN {_SENT}"
    " UNION SELECT task_id, command FROM messages"
    " WHERE task_id IN (SELECT json_extract(value, '$[1]') FROM json_each(:pairs))"
    " AND command IN (SELECT json_extract(value, '$[2]') FROM json_each(:pairs))"
    " AND number < :undecided"
)


class _Found(NamedTuple):
    """What is there of what a batch goes on with: contexts and the commands that wait in them.

    `read` holds the commits for contexts that are known, `tasks` those that these are about, by
    agent and id.
    """

    contexts: dict[str, ContextRow]
    waiting: dict[str, list[Undecided]]
    read: dict[str, list[tuple[int, Commit]]]
    tasks: dict[tuple[str, str], TaskRow]


class Store:
    """The writing side of the read models; one at a time takes in records (`open_store`)."""

    def __init__(self, database: Database, position: Position) -> None:
        self._database = database
        self.position = position

    async def take(
        self, records: Iterable[Stored], *, said: Mapping[int, str] | None = None
    ) -> Sequence[Damage]:
        """Take in consecutive records; those at or before the position change nothing (AS-12).

        `said` is what sealed memories say; see `remember`.

        Returns which of them are damaged: a damaged command is skipped; after a damaged commit
        its context stands still, and no other.

        Raises:
            PositionMoved: another writer was there; `position` is read anew.
            StoreUnusable: SQLite failed; the tables are as they were.
        """
        before = self.position

        def work(database: sqlite3.Connection) -> Write | None:
            batch = Batch(before.sequence)
            batch.add(records)
            if not batch.records:
                return None
            write = None
            while write is None:
                write = _fold(batch, _find(database, batch), before)
            _settle(database, write, said)
            write.commit(database)
            return write

        with translated():
            try:
                write = await self._database.run(work)
            except BaseException:  # cancelled, it may have been written nevertheless
                await self.refresh()
                raise
        if write is None:
            return ()
        self.position = write.after
        return write.damaged

    async def refresh(self) -> None:
        """Read the position anew."""
        with translated():
            self.position = await _position(self._database)


class NewStore:
    """Makes the read models in a file that nobody uses yet (`open_new`).

    All is one transaction, and what one batch does is written while the next one is folded, and the
    one after that is read: SQLite needs no interpreter.
    """

    def __init__(self, database: Database, position: Position) -> None:
        self._database, self._position = database, position
        self._unwritten: Write | None = None
        self._writing: asyncio.Task[None] | None = None

    async def take(self, records: Iterable[Stored]) -> None:
        """Take in consecutive records, after those that were taken in before.

        Raises:
            StoreUnusable: SQLite failed, and the file is of no use.
        """
        batch = Batch(self._position.sequence)
        batch.add(records)
        if not batch.records:
            return
        write = None
        while write is None:
            await self.written()
            found = self._find(batch)
            self._write()
            await asyncio.sleep(0)  # so that it begins
            write = _fold(batch, found, self._position)
        self._unwritten, self._position = write, write.after

    def _find(self, batch: Batch) -> _Found:
        """Find what a batch goes on with, while nothing is written."""
        unwritten = self._unwritten
        with translated():
            return self._database.run_here(lambda database: _find(database, batch, unwritten))

    def _write(self) -> None:
        """Begin to write what is not yet written."""
        write, self._unwritten = self._unwritten, None
        if write is None:
            return

        def work(database: sqlite3.Connection) -> None:
            _settle(database, write)
            write.do(database)

        self._writing = asyncio.create_task(self._database.run(work), name="store: write")

    async def written(self) -> None:
        """Wait until what is being written is in the tables."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with translated():
                await writing

    async def finish(self) -> None:
        """Complete the file."""
        await self.written()
        self._write()
        await self.written()
        with translated():
            await self._database.execute_fetchall("COMMIT")


def _find(database: sqlite3.Connection, batch: Batch, unwritten: Write | None = None) -> _Found:
    """Find what a batch goes on with in the tables, and in what was not yet written to them."""
    contexts = {
        group.key: ContextRow(
            key=group.key, agent=group.agent, id=group.context_id, created=group.first
        )
        for group in batch.groups.values()
    }
    for cells in database.execute(_CONTEXTS, (_json(list(contexts)),)):
        contexts[cells[0]] = ContextRow.of(cells)
    if unwritten is not None:
        for key in contexts.keys() & unwritten.contexts.keys():
            contexts[key] = ContextRow.of(unwritten.contexts[key])
    waiting: dict[str, list[Undecided]] = {}
    for sequence, key, data in _pending(database, contexts.values(), unwritten):
        waiting.setdefault(key, []).append(Undecided(sequence, f"cmd.{key}", data))
    read = {key: batch.groups[key].read() for key, row in contexts.items() if row.head}
    wanted = _ids(read.values())
    tasks = _tasks(database, wanted)
    if unwritten is not None and wanted:
        rows = [TaskRow.of(cells) for cells in unwritten.changes.tasks if cells[0] in wanted]
        tasks |= {(row.agent, row.id): row for row in rows}
    return _Found(contexts, waiting, read, tasks)


def _pending(
    database: sqlite3.Connection, contexts: Iterable[ContextRow], unwritten: Write | None
) -> list[Cells]:
    """Return the rows of commands that wait in contexts, in the order of the log."""
    keys = [context.key for context in contexts if context.waiting]
    rows: list[Cells] = database.execute(_PENDING, (_json(keys),)).fetchall() if keys else []
    if unwritten is not None and keys:
        gone, wanted = frozenset(unwritten.decided), frozenset(keys)
        rows = [cells for cells in rows if cells[0] not in gone]
        rows += [cells for cells in unwritten.pending if cells[1] in wanted]
    return rows


def _tasks(database: sqlite3.Connection, ids: Iterable[str]) -> dict[tuple[str, str], TaskRow]:
    """Return the decided tasks with those ids, of all agents, by agent and id."""
    wanted = list(ids)
    rows = database.execute(_TASKS, (_json(wanted),)) if wanted else ()
    return {(cells[1], cells[0]): TaskRow.of(cells) for cells in rows}


def _settle(
    database: sqlite3.Connection, write: Write, said: Mapping[int, str] | None = None
) -> None:
    """Add what depends on other rows of the tables as they are before it."""
    if write.undecided:
        _show(database, write)
    if write.registered:
        write.agents = _agents(database, write.registered)
    if write.told:
        write.memories = remember(database, write.told, said)
        write.damaged += write.memories.damaged


def _show(database: sqlite3.Connection, write: Write) -> None:
    """Add the rows that commands which wait show in."""
    changes, undecided = write.changes, write.undecided
    messages = [
        (key, target(changes.contexts[key], each.command), each.command.id)
        for key, commands in undecided.items()
        for each in commands
        if isinstance(each.command, SendMessage)
    ]
    redriven = {
        each.command.data.redrives
        for commands in undecided.values()
        for each in commands
        if isinstance(each.command, SendMessage) and each.command.data.redrives
    }
    current = _tasks(database, redriven | {id_ for _, id_, _ in messages})
    current |= {(row.agent, row.id): row for row in changes.open}
    waited = [row.id for row in current.values() if row.waits]
    asked = changes.ledger.asked(database, waited) if waited else {}
    values = {"pairs": _json(messages), "undecided": UNDECIDED}
    rows = database.execute(_DECIDED, values) if messages else ()
    decided = {(about, command) for about, command in rows}
    decided |= {(cells[0], cells[4]) for cells in changes.messages}
    decided |= {(cells[0], cells[1]) for cells in (*changes.rejected, *changes.taken)}
    for key, commands in undecided.items():
        context = changes.contexts[key]
        waiting = [(each.sequence, each.command) for each in commands if each.command]
        about = {(id_, command) for key_, id_, command in messages if key_ == key}
        known = _of(context, redriven | {id_ for id_, _ in about}, current)
        before = {command for id_, command in about if {(key, command), (id_, command)} & decided}
        opened, said = show(context, known, asked, waiting, before)
        changes.tasks += [row.cells() for row in opened]
        changes.messages += said


def _agents(database: sqlite3.Connection, agents: Mapping[str, Cells]) -> list[Cells]:
    """Return the rows of agents, which keep when they were first registered."""
    rows = database.execute(
        "SELECT name, registered FROM agents WHERE name IN (SELECT value FROM json_each(?))",
        (_json(list(agents)),),
    )
    known: dict[str, int] = dict(rows)
    return [
        (name, profile, known.get(name, first), last)
        for name, profile, first, last in agents.values()
    ]


@asynccontextmanager
async def open_private(*, in_memory: bool = False) -> AsyncGenerator[tuple[Store, Database]]:
    """Open read models of this process alone, and the connection to read them with.

    They lie in memory, and on the disk where that is too small, unless they are to be `in_memory`;
    nothing is left of them.
    """
    async with connect(Path(":memory:") if in_memory else None, write=True) as database:
        yield Store(database, await _position(database)), database


@asynccontextmanager
async def open_store(path: Path) -> AsyncGenerator[Store]:
    """Open the read models for writing; see `connect`."""
    async with connect(path, write=True) as database:
        yield Store(database, await _position(database))


@asynccontextmanager
async def open_new(path: Path) -> AsyncGenerator[NewStore]:
    """Open a new file for making the read models anew; it is of no use until it is finished."""
    async with connect(path, write=True, safe=False) as database:
        await database.execute_fetchall("BEGIN IMMEDIATE")
        store = NewStore(database, await _position(database))
        try:
            yield store
        finally:
            await store.written()


async def position_in(path: Path) -> Position:
    """Return how far the read models in a file are."""
    with translated():
        async with connect(path, write=False) as database:
            return await _position(database)


async def _position(database: Database) -> Position:
    [[sequence, hash_]] = await database.execute_fetchall("SELECT sequence, hash FROM position")
    return Position(sequence, hash_)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _ids(read: Iterable[Iterable[tuple[int, Commit]]]) -> set[str]:
    """Return the ids of the tasks that commits are about."""
    return {
        event.task_id
        for commits in read
        for _, commit in commits
        for event in commit.data.events
        if isinstance(event, TaskEvent)
    }


def _of(
    context: ContextRow, ids: Iterable[str], tasks: Mapping[tuple[str, str], TaskRow]
) -> dict[str, TaskRow]:
    """Return those tasks among `ids` that are the context's."""
    found = {id_: tasks.get((context.agent, id_)) for id_ in ids}
    return {id_: row for id_, row in found.items() if row and row.context_id == context.id}


def _fold(batch: Batch, found: _Found, before: Position) -> Write | None:
    """Return what a batch does to the tables, as far as that depends on what was found.

    Returns None if a commit did not fit, which the batch then is without. What was found is used
    up.
    """
    contexts, waiting, read, tasks = found
    changes = Changes(contexts=contexts)
    write = Write(
        before=before,
        after=Position(batch.sequence, batch.hash),
        changes=changes,
        registered=batch.agents,
        told=batch.memories,
        acts=batch.acts,
        damaged=list(batch.damaged),
    )
    for key, group in batch.groups.items():
        context = contexts[key]
        context.updated = group.last
        known: dict[str, TaskRow] = {}
        if not context.stopped:
            commits = read.pop(key, None)
            if commits is None:
                commits = group.read()
            else:
                known = _of(context, _ids([commits]), tasks)
            try:
                fold(changes, context, known, commits)
            except Stopped as stopped:
                group.stop(stopped.place, stopped.sequence, stopped.reason)
                return None
            if group.damage is not None:
                context.stopped = group.damage.sequence
                write.damaged.append(group.damage)
        if key in waiting or (group.commands and group.commands[-1][0] > context.handled):
            left = _left(context, group, waiting.get(key, ()), write)
            if left:
                write.undecided[key] = left
                changes.open += known.values()
        changes.tasks += [row.cells() for row in known.values()]
        write.contexts[key] = context.cells()
    return write


def _left(
    context: ContextRow, group: Group, waiting: Sequence[Undecided], write: Write
) -> list[Undecided]:
    """Return the commands that wait after a batch, and write down what became of the others."""
    left: list[Undecided] = []
    for each in waiting:
        each.decode()
        if each.damage is not None:
            write.mended.append(each.sequence)
        elif isinstance(each.command, SendMessage):
            write.shown.append((target(context, each.command), context.agent))
        if context.decided(each.sequence):
            write.decided.append(each.sequence)
        else:
            left.append(each)
    for sequence, data in group.commands:
        if not context.decided(sequence):
            each = Undecided(sequence, f"cmd.{context.key}", data)
            each.decode()
            write.pending.append((sequence, context.key, data))
            left.append(each)
    write.damaged += [each.damage for each in left if each.damage is not None]
    context.waiting = len(left)
    commands = [each.command for each in left if each.command is not None]
    if commands and not context.head:
        context.time = commands[0].time
    return left
