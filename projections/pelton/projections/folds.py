"""Folds of long contexts, kept beside the read models: where to begin, instead of at the start.

A cache and never a truth (law 1): whoever reads one looks whether the log has the commit that it
ends with (law 13), and reads on from there. What other code has folded is not used. It holds what
the commits hold: content that is sealed is sealed in it too, with the same keys (AS-24).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from pelton.events.context import Context
from pelton.projections.database import Database, StoreUnusable, connect, delete, translated
from pelton.projections.migrations import Migration

MOST: Final = 1000
"""So many contexts are kept, those that were written last."""

_MIGRATIONS: Final = (
    Migration(
        version=1,
        name="folds",
        up=(
            """
            CREATE TABLE folds (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                agent TEXT NOT NULL,
                context TEXT NOT NULL,
                code TEXT NOT NULL,
                state BLOB NOT NULL,
                UNIQUE (agent, context)
            )
            """,
        ),
        down=("DROP TABLE folds",),
    ),
)

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Context)


@cache
def known_by() -> str:
    """Return what the code that folds is known by: another that only looks alike has another."""
    found = hashlib.sha256()
    for file in sorted(resources.files("pelton.events").iterdir(), key=lambda each: each.name):
        if file.is_file():
            found.update(file.read_bytes())
    return found.hexdigest()


class Folds:
    """The folds in a file; made by `open_folds`. `code` is that of whoever folds here."""

    def __init__(self, database: Database, *, code: str) -> None:
        self._database, self._code = database, code
        self._there = set[tuple[str, str]]()

    async def look(self) -> None:
        """Look which contexts are there: one that is not is not asked for in the file.

        Raises:
            StoreUnusable: the file is damaged.
            StoreUnavailable: it cannot be used now.
        """
        with translated():
            rows = await self._database.execute_fetchall(
                "SELECT agent, context FROM folds WHERE code = ?", (self._code,)
            )
        self._there = {(agent, context) for agent, context in rows}

    async def get(self, agent: str, context: str) -> Context | None:
        """Return the fold of a context, as of whenever it was kept.

        Raises:
            StoreUnusable: the file is damaged.
            StoreUnavailable: it cannot be used now.
        """
        if (agent, context) not in self._there:
            return None
        with translated():
            rows = list(
                await self._database.execute_fetchall(
                    "SELECT state FROM folds WHERE agent = ? AND context = ? AND code = ?",
                    (agent, context, self._code),
                )
            )
        try:
            return _decoder.decode(rows[0][0]) if rows else None
        except msgspec.MsgspecError as error:
            raise StoreUnusable("a fold of a context cannot be read") from error

    async def put(self, state: Context) -> None:
        """Keep the fold of a context, in the place of what is kept of it.

        Raises:
            StoreUnusable: the file is damaged.
            StoreUnavailable: it cannot be used now.
        """
        row = (state.agent, state.id, self._code, _encoder.encode(state))

        def write(database: sqlite3.Connection) -> None:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(
                    "INSERT OR REPLACE INTO folds (agent, context, code, state)"
                    " VALUES (?, ?, ?, ?)",
                    row,
                )
                database.execute(
                    "DELETE FROM folds WHERE number <= (SELECT max(number) - ? FROM folds)",
                    (MOST,),
                )
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise

        with translated():
            await self._database.run(write)
        self._there.add((state.agent, state.id))


@asynccontextmanager
async def open_folds(path: Path, *, code: str = "") -> AsyncGenerator[Folds]:
    """Open a file of folds, which is made if it is not there, and anew if it cannot be used.

    Raises:
        StoreUnavailable: it cannot be used now.
    """
    known = code or known_by()
    async with AsyncExitStack() as stack:
        try:
            folds = await stack.enter_async_context(_opened(path, known))
        except StoreUnusable:
            await delete(path)
            folds = await stack.enter_async_context(_opened(path, known))
        yield folds


@asynccontextmanager
async def _opened(path: Path, code: str) -> AsyncGenerator[Folds]:
    async with connect(path, write=True, migrations=_MIGRATIONS) as database:
        folds = Folds(database, code=code)
        await folds.look()
        yield folds
