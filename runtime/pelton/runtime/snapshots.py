"""A snapshot of the read models: where to begin when their file is gone, instead of at the start.

It is a copy of the file, with a note beside it of which version of the tables it has, how far it is
in the log, and the SHA-256 of its bytes. The log stays the only truth (law 1): what is not exactly
as it was written, is of other tables or of another log, is thrown away, and the log is read anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import msgspec
import structlog

from pelton.projections.database import (
    StoreUnavailable,
    StoreUnusable,
    copy,
    delete,
    put_in_place,
)
from pelton.projections.migrations import MIGRATIONS
from pelton.projections.store import Store, position_in
from pelton.projections.write import Position
from pelton.runtime.log import Log, LogRegressed
from pelton.runtime.projector import verify

EVERY: Final = 100_000
"""Records after which another snapshot is taken: some seconds of reading."""

VERSION: Final = max(migration.version for migration in MIGRATIONS)
"""Of the tables: a snapshot of others is of no use."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.snapshots")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted of a snapshot: `hash` is that of the record at `sequence`."""

    version: int
    sequence: int
    hash: str
    sha256: str


class Snapshots:
    """The snapshot of the read models in a file; there is one at a time."""

    def __init__(self, live: Path) -> None:
        self._live = live
        self._file = live.with_name(f"{live.stem}.snapshot{live.suffix}")
        self._note = self._file.with_name(f"{self._file.name}.json")

    def last(self) -> Snapshot | None:
        """Return what is noted of the snapshot, if there is one of these tables."""
        try:
            found = msgspec.json.decode(self._note.read_bytes(), type=Snapshot)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return found if found.version == VERSION else None

    async def take(self) -> Snapshot:
        """Copy the read models as they are now, into the place of the snapshot before.

        Raises:
            StoreUnavailable: they cannot be read now, or there is no space.
            OSError: there is no space.
        """
        new = self._file.with_name(f"{self._file.name}.new")
        await delete(new)
        await copy(self._live, new)
        position = await position_in(new)
        found = Snapshot(
            version=VERSION,
            sequence=position.sequence,
            hash=position.hash,
            sha256=await asyncio.to_thread(_digest, new),
        )
        self._note.unlink(missing_ok=True)  # a copy without its note is none
        new.replace(self._file)
        note = self._note.with_name(f"{self._note.name}.new")
        note.write_bytes(msgspec.json.encode(found))
        note.replace(self._note)
        logger.info("snapshot", sequence=found.sequence)
        return found

    async def restore(self, log: Log) -> Snapshot | None:
        """Let the read models begin from the snapshot, if their file is not there.

        Whatever is wrong with the snapshot, it is thrown away, and None returned.

        Raises:
            LogUnavailable: the log does not answer.
            StoreUnusable: the file cannot be written.
        """
        if self._live.exists():
            return None
        found = self.last()
        try:
            if found is not None and await asyncio.to_thread(_digest, self._file) == found.sha256:
                await verify(log, Position(found.sequence, found.hash))
                await put_in_place(self._file, self._live, linked=False)
                logger.info("snapshot-restored", sequence=found.sequence)
                return found
        except (LogRegressed, FileNotFoundError, StoreUnusable) as error:
            logger.warning("snapshot-unusable", reason=str(error))
        await self.forget()
        return None

    async def forget(self) -> None:
        """Delete the snapshot."""
        self._note.unlink(missing_ok=True)
        await delete(self._file)


class Keeping:
    """Takes a snapshot of a store whenever it has come far enough beyond the last one."""

    def __init__(self, snapshots: Snapshots, store: Store, *, every: int = EVERY) -> None:
        self._snapshots, self._store, self._every = snapshots, store, every
        last = snapshots.last()
        self._taken = last.sequence if last is not None else 0

    async def caught_up(self) -> None:
        """Take one if it is time: the store has taken in all that there is for now."""
        position = self._store.position.sequence
        if position - self._taken < self._every:
            return
        try:
            await self._snapshots.take()
        except (StoreUnavailable, StoreUnusable, OSError) as error:  # the one before stays
            logger.warning("no-snapshot", reason=str(error))
        self._taken = position


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
