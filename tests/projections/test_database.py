"""The file of the read models: migrations, settings, and files that are none (AS-64, AS-65)."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from pelton.projections.database import (
    StoreTooNew,
    StoreUnavailable,
    StoreUnusable,
    connect,
    migrate,
    put_in_place,
    translated,
)
from pelton.projections.dump import digest
from pelton.projections.migrations import MIGRATIONS, Migration
from pelton.projections.read import open_read_models
from pelton.projections.schema import TABLES
from pelton.projections.store import open_new, open_store
from tests.stories import Story


async def tables(database: aiosqlite.Connection) -> dict[str, str]:
    rows = await database.execute_fetchall(
        "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    )
    return {name: sql for name, sql in rows}  # noqa: C416 - rows are no pairs to a type checker


def told() -> Story:
    story = Story()
    story.send("hello")
    story.begin()
    story.write("answer", "hi")
    return story


@pytest.mark.accepts("AS-64")
async def test_migrations_are_applied_once_and_written_down(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    for _ in range(2):
        async with connect(path, write=True) as database:
            applied = await database.execute_fetchall("SELECT version, name FROM migrations")
            assert [tuple(row) for row in applied] == [(m.version, m.name) for m in MIGRATIONS]


@pytest.mark.accepts("AS-64")
async def test_a_migration_goes_up_and_down_on_a_file_with_data(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    async with open_store(path) as store:
        await store.take(told().tape.records)
    before = await digest(path)
    more = Migration(
        max(m.version for m in MIGRATIONS) + 1,
        "more",
        ("CREATE TABLE more (id INTEGER NOT NULL PRIMARY KEY)", "INSERT INTO more VALUES (1)"),
        ("DROP TABLE more",),
    )
    migrations = (*MIGRATIONS, more)

    async with connect(path, write=True, migrations=migrations) as database:
        assert "more" in await tables(database)
        await migrate(database, migrations)  # nothing is done again
        await migrate(database, migrations, to=more.version - 1)
        assert "more" not in await tables(database)

    assert await digest(path) == before


@pytest.mark.accepts("AS-64")
async def test_what_a_migration_cannot_carry_over_is_read_anew(tmp_path: Path) -> None:
    """A file of version 1 holds no questions and no counts: the projector begins again."""
    path = tmp_path / "models.db"
    story = told()
    story.ask("Which?")
    async with open_store(path) as store:
        await store.take(story.tape.records)
    before = await digest(path)
    async with connect(path, write=True) as database:
        await migrate(database, to=1)
        assert "questions" not in await tables(database)
        [[tasks]] = await database.execute_fetchall("SELECT count(*) FROM tasks")
        assert tasks == 1  # downwards nothing is lost that version 1 knew
    async with open_store(path) as store:
        assert store.position.sequence == 0
        await store.take(story.tape.records)
    assert await digest(path) == before


@pytest.mark.accepts("AS-64")
async def test_every_migration_can_be_taken_back(tmp_path: Path) -> None:
    async with connect(tmp_path / "models.db", write=True) as database:
        made = await tables(database)
        await migrate(database, to=0)
        assert set(await tables(database)) == {"migrations"}
        await migrate(database)
        assert await tables(database) == made


@pytest.mark.accepts("AS-64")
async def test_a_migration_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    async with open_store(path) as store:
        await store.take(told().tape.records)
    before = await digest(path)
    bad = Migration(
        max(m.version for m in MIGRATIONS) + 1,
        "bad",
        ("DROP TABLE tasks", "CREATE TABLE position (it is there)"),
        (),
    )

    with pytest.raises(StoreUnusable):
        async with connect(path, write=True, migrations=(*MIGRATIONS, bad)):
            pass

    assert await digest(path) == before


async def test_a_file_of_a_newer_pelton_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    async with connect(path, write=True) as database:
        await database.execute_fetchall("INSERT INTO migrations VALUES (99, 'later')")

    with pytest.raises(StoreTooNew):
        async with connect(path, write=True):
            pass


async def test_two_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    async def open_it(path: Path) -> None:
        async with connect(path, write=True):
            pass

    for number in range(10):
        await asyncio.gather(*(open_it(tmp_path / f"{number}.db") for _ in range(5)))


async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with connect(tmp_path / "models.db", write=False) as database:
        with pytest.raises(sqlite3.OperationalError):
            await database.execute_fetchall("DELETE FROM tasks")


async def test_the_settings_of_a_connection(tmp_path: Path) -> None:
    async with connect(tmp_path / "models.db", write=True) as database:
        found = {
            name: next(iter(await database.execute_fetchall(f"PRAGMA {name}")))[0]
            for name in ("journal_mode", "synchronous", "trusted_schema")
        }

    assert found == {"journal_mode": "wal", "synchronous": 1, "trusted_schema": 0}


async def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(StoreUnusable, match="pelton rebuild"):
        async with open_read_models(path):
            pass
    with pytest.raises(StoreUnusable):
        await digest(path)


def test_a_locked_file_is_another_error_than_a_damaged_one(tmp_path: Path) -> None:
    one = sqlite3.connect(tmp_path / "models.db", isolation_level=None)
    other = sqlite3.connect(tmp_path / "models.db", isolation_level=None, timeout=0)
    one.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreUnavailable), translated():
        other.execute("BEGIN IMMEDIATE")

    one.close()
    other.close()


async def test_contents_are_replaced_under_those_who_read(tmp_path: Path) -> None:
    live, new = tmp_path / "models.db", tmp_path / "new.db"
    story = told()
    async with open_store(live) as store, open_read_models(live) as models:
        await store.take(story.tape.records[:1])
        assert (await models.position()).sequence == 1
        async with open_new(new) as built:
            await built.take(story.tape.records)
            await built.finish()

        await put_in_place(new, live)

        assert (await models.position()).sequence == len(story.tape.records)
        [entry] = (await models.tasks(history=None, artifacts=True)).items
        assert entry.task == story.task.view()
        await store.refresh()
        assert store.position.sequence == len(story.tape.records)
    assert await digest(live) == await digest(new)


@pytest.mark.parametrize("left", ["", "models.db", "models.db-wal"])
async def test_a_file_is_put_where_there_is_none(tmp_path: Path, left: str) -> None:
    """As it is; unless a file of SQLite was left behind there, which would be taken for its own."""
    live, new = tmp_path / "models.db", tmp_path / "new.db"
    if left:
        (tmp_path / left).write_bytes(b"")
    async with open_new(new) as built:
        await built.take(told().tape.records)
        await built.finish()

    await put_in_place(new, live)

    assert await digest(live) == await digest(new)
    assert live.samefile(new) == (not left)
    new.unlink()
    async with open_store(live) as store:
        assert store.position.sequence == len(told().tape.records)


async def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    live, new = tmp_path / "models.db", tmp_path / "new.db"
    live.write_bytes(b"no database" * 1000)
    async with open_new(new) as built:
        await built.take(told().tape.records)
        await built.finish()

    await put_in_place(new, live)

    assert await digest(live) == await digest(new)


async def test_the_dump_holds_every_table_and_column(tmp_path: Path) -> None:
    """A table or column that is not in the dump would not be compared."""
    async with connect(tmp_path / "models.db", write=True) as database:
        found = set(await tables(database)) - {"migrations"}
        named = {table.name: table.columns for table in TABLES}
        for name, columns in named.items():
            info = await database.execute_fetchall(f"PRAGMA table_info({name})")
            assert tuple(row[1] for row in info) == columns
            keys = sorted((row[5], row[1]) for row in info if row[5])
            [table] = [table for table in TABLES if table.name == name]
            assert tuple(column for _, column in keys) == columns[: table.key]

    indexes = {name for name in found if name not in named}
    assert set(named) <= found
    assert all("_" in name for name in indexes)
