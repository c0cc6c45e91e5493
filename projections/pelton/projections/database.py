"""Opening the SQLite file of the read models: settings of the connection, migrations, errors."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

import aiosqlite

from pelton.events.errors import PeltonError
from pelton.projections.migrations import MIGRATIONS, Migration
from pelton.projections.schema import Table

BUSY: Final = 10.0
"""Seconds to wait for another process that is writing to the file."""

_AGAIN: Final = 0.01
"""Seconds until a lock that SQLite does not wait for is tried again."""

_CHECKPOINT: Final = 4000
"""Pages of the write-ahead log after which they go into the file: a page that was written often
goes once."""

_CACHE: Final = 32768
"""KiB of pages that a writer keeps: what it writes to next is anywhere in the tables."""

_ROWS: Final = tuple(2**power for power in range(10, -1, -1))
"""How many rows one statement adds: many, so that SQLite works without Python in between.

SQLite takes 32,766 values in a statement, so a table may have up to 31 columns."""

T = TypeVar("T")


def _null(_: None) -> None:
    """Stand for a null: sqlite3 looks each one up in four places to adapt it, unless one is named.

    That takes as long as five texts, and a task has four of them.
    """


sqlite3.register_adapter(type(None), _null)


class StoreUnusable(PeltonError):
    """The file of the read models cannot be used: `pelton rebuild` makes it anew from the log."""

    code: ClassVar[str] = "projections-unusable"


class StoreTooNew(StoreUnusable):
    """A newer pelton wrote the file: upgrade this one, or give it another file."""


class StoreUnavailable(PeltonError):
    """The file of the read models cannot be used just now: it is locked, or the disk is full."""

    code: ClassVar[str] = "projections-unavailable"


_PASSING: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)


@contextmanager
def translated() -> Generator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:  # the primary code
            raise StoreUnavailable(f"the read models cannot be used just now ({error})") from error
        raise StoreUnusable(
            f"the file of the read models cannot be used ({error}): run `pelton rebuild`"
        ) from error


class Database(aiosqlite.Connection):
    """A connection to a file of read models; made by `connect`."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns, which runs in the connection's thread as a whole.

        One way to the thread and back costs more than most statements.
        """
        execute = cast(
            "Callable[..., Awaitable[T]]",
            self._execute,  # pyright: ignore[reportUnknownMemberType]
        )
        return await execute(work, self._conn)

    def run_here(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns, which runs in the caller's thread: nothing else may run.

        Two threads that are both busy cost more than one, for one of them has the interpreter.
        """
        return work(self._conn)


@asynccontextmanager
async def connect(
    path: Path | None,
    *,
    write: bool,
    safe: bool = True,
    migrations: Iterable[Migration] = MIGRATIONS,
) -> AsyncGenerator[Database]:
    """Open the file, which is made if it is not there, with all migrations applied.

    Without a path it is one that nobody else sees, and gone when it is closed, or the process dies.
    Without `write` the connection refuses to change anything. Without `safe` a crash may leave
    rubbish, and work may be done in any thread: for files that are thrown away then.

    Raises:
        StoreUnusable: it is no SQLite file, or damaged.
        StoreTooNew: it is of a later version.
    """
    with translated():
        connection = Database(
            lambda: sqlite3.connect(
                path or "",
                timeout=BUSY,
                isolation_level=None,
                cached_statements=512,
                check_same_thread=safe,
            ),
            iter_chunk_size=64,
        )
        async with connection as database:
            assert isinstance(database, Database)
            await database.execute_fetchall("PRAGMA trusted_schema = OFF")
            if safe:
                await _use_wal(database)
                await database.execute_fetchall("PRAGMA synchronous = NORMAL")
                await database.execute_fetchall(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
            else:
                await database.execute_fetchall("PRAGMA journal_mode = OFF")
                await database.execute_fetchall("PRAGMA synchronous = OFF")
            if write:
                await database.execute_fetchall(f"PRAGMA cache_size = -{_CACHE}")
            await migrate(database, migrations)
            if not write:
                await database.execute_fetchall("PRAGMA query_only = ON")
            yield database


async def _use_wal(database: aiosqlite.Connection) -> None:
    """Switch to a write-ahead log; SQLite does not wait for others who do so at the same time."""
    for _ in range(int(BUSY / _AGAIN)):
        with suppress(sqlite3.OperationalError):
            await database.execute_fetchall("PRAGMA journal_mode = WAL")
            return
        await asyncio.sleep(_AGAIN)
    await database.execute_fetchall("PRAGMA journal_mode = WAL")


async def migrate(
    database: aiosqlite.Connection,
    migrations: Iterable[Migration] = MIGRATIONS,
    *,
    to: int | None = None,
) -> None:
    """Bring the tables to version `to`, by default the latest; downwards only when it is given.

    Raises:
        StoreTooNew: the file has a version that is not among `migrations`.
    """
    known = {migration.version: migration for migration in migrations}
    latest = max(known)
    target = latest if to is None else to
    if await _version(database) == target:
        return
    try:
        await database.execute_fetchall("BEGIN IMMEDIATE")
        await database.execute_fetchall(
            "CREATE TABLE IF NOT EXISTS migrations"
            " (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL)"
        )
        version = await _version(database)
        if version > latest:
            raise StoreTooNew("a newer pelton wrote the read models: upgrade this one")
        while version < target:
            step = known[version + 1]
            for statement in step.up:
                await database.execute_fetchall(statement)
            await database.execute_fetchall(
                "INSERT INTO migrations VALUES (?, ?)", (step.version, step.name)
            )
            version += 1
        while version > target:
            step = known[version]
            for statement in step.down:
                await database.execute_fetchall(statement)
            await database.execute_fetchall(
                "DELETE FROM migrations WHERE version = ?", (step.version,)
            )
            version -= 1
        await database.execute_fetchall("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # there may be none, just before and after
            await database.execute_fetchall("ROLLBACK")
        raise


async def _version(database: aiosqlite.Connection) -> int:
    """Return the version of the tables, 0 for an empty file."""
    [[there]] = await database.execute_fetchall(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
    )
    if not there:
        return 0
    [[version]] = await database.execute_fetchall("SELECT max(version) FROM migrations")
    return version or 0


@cache
def _insert(table: Table, rows: int, *, add: bool) -> str:
    values = f"({', '.join('?' for _ in table.columns)})"
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in table.columns[table.key :])
    return (
        f"INSERT {'' if add else 'OR REPLACE '}INTO {table.name} ({', '.join(table.columns)})"  # noqa: S608 - constants of this package
        f" VALUES {', '.join([values] * rows)}"
        f"{f' ON CONFLICT DO UPDATE SET {sums}' if add else ''}"
    )


def put(
    database: sqlite3.Connection, table: Table, rows: list[tuple[Any, ...]], *, add: bool = False
) -> None:
    """Insert rows, or put them in the place of those with the same key; with `add`, add them up."""
    start = 0
    for size in _ROWS:
        while len(rows) - start >= size:
            cells = list(chain.from_iterable(rows[start : start + size]))
            database.execute(_insert(table, size, add=add), cells)
            start += size


async def put_in_place(new: Path, live: Path, *, linked: bool = True) -> None:
    """Replace the contents of one file by those of another, in one transaction.

    Whoever has `live` open, here or in another process, sees the one or the other and nothing in
    between. A live file that is no SQLite file, or damaged, is deleted first. Where there is none,
    the new file takes the place as it is, unless it is to stay another one, and not `linked`.

    Raises:
        StoreUnavailable: somebody has written to the live file for longer than `BUSY` seconds.
    """
    try:
        await _replace(new, live, linked=linked)
    except StoreUnusable:
        await delete(live)
        await _replace(new, live, linked=linked)


async def _replace(new: Path, live: Path, *, linked: bool) -> None:
    if not linked or not await asyncio.to_thread(_link, new, live):
        await copy(new, live)


def _link(new: Path, live: Path) -> bool:
    """Give a file a second name, if nobody has it; False if that cannot be."""
    if live.with_name(f"{live.name}-wal").exists():  # SQLite would take it for the new file's
        return False
    with new.open("rb") as file:
        os.fsync(file.fileno())
    try:
        live.hardlink_to(new)
    except OSError:  # it is there, or the file system has no such links
        return False
    return True


async def copy(new: Path, live: Path) -> None:
    """Copy what one file has, as of one moment, into another, in one transaction.

    Raises:
        StoreUnavailable: one of them cannot be used now.
        StoreUnusable: one of them is damaged, or no SQLite file.
    """
    with translated():
        async with (
            aiosqlite.connect(new, isolation_level=None) as source,
            aiosqlite.connect(live, timeout=BUSY, isolation_level=None) as target,
        ):
            await _use_wal(target)
            await target.execute_fetchall("PRAGMA synchronous = FULL")
            await source.backup(target)


async def delete(path: Path) -> None:
    """Delete a SQLite file and what lies beside it, if it is there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        await asyncio.to_thread(path.with_name(path.name + suffix).unlink, missing_ok=True)
