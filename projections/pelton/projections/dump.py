"""The digest of the read models: equal for equal contents, whatever made them (G6, AS-20).

It is the SHA-256 of a canonical dump: every table in the order of its key, every row as a JSON
array on a line of its own. It depends on the log up to the position, which is part of it, and not
on the size of batches, the layout of the file, or the versions of SQLite and Python.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pelton.events.envelope import encode
from pelton.projections.database import BUSY, StoreUnusable, translated
from pelton.projections.schema import TABLES, Table


class Digest(NamedTuple):
    """The digest of the read models at a position of the log."""

    sequence: int
    sha256: str


async def digest(path: Path) -> Digest:
    """Return the digest of the read models in a file, all of which is looked at.

    Raises:
        StoreUnusable: the file cannot be read, or is damaged somewhere, in an index too.
    """
    return await asyncio.to_thread(_digest, path)


def dump(database: sqlite3.Connection) -> Iterator[bytes]:
    """Yield the canonical dump, line by line."""
    for table in TABLES:
        yield encode([table.name, *table.columns]) + b"\n"
        for row in database.execute(_select(table)):
            yield encode([_cell(cell) for cell in row]) + b"\n"


def _digest(path: Path) -> Digest:
    sha256 = hashlib.sha256()
    with translated():
        uri = f"{path.resolve().as_uri()}?mode=rw"  # reading a WAL may make its index anew
        with closing(
            sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)
        ) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA query_only = ON")
            database.execute("BEGIN")  # all tables as of one moment
            for line in dump(database):
                sha256.update(line)
            ((sequence,),) = database.execute("SELECT sequence FROM position")
            ((found,),) = database.execute("PRAGMA integrity_check(1)")
            if found != "ok":
                raise StoreUnusable("the read models are damaged: run `pelton rebuild`")
    return Digest(sequence, sha256.hexdigest())


def _select(table: Table) -> str:
    columns, key = ", ".join(table.columns), ", ".join(table.columns[: table.key])
    return f"SELECT {columns} FROM {table.name} ORDER BY {key}"  # noqa: S608 - constants


def _cell(cell: Any) -> Any:
    return base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell
