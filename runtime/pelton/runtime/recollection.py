"""A process's own copy of the memories, to recall from: begun when it is first asked.

Whoever writes must find what it wrote, wherever it runs. So an executor reads no file that another
process keeps up to date: it follows the subjects of memories itself, and knows how far it is.
What is sealed is in plain in the copy, so that it can be found; when something is erased, the copy
is thrown away as a whole, with its indexes and vectors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from pelton.events.errors import DamagedRecord, PeltonError
from pelton.events.memories import SEALED
from pelton.events.subjects import ALL_MEMORY
from pelton.events.upcast import decode_commit
from pelton.projections.memories import MemoryEntry, MemoryQuery, Order
from pelton.projections.pages import Page
from pelton.projections.read import ReadModels
from pelton.projections.store import open_private
from pelton.runtime.clock import World
from pelton.runtime.failures import RecallUnavailable
from pelton.runtime.log import Log, Record
from pelton.runtime.projector import Projector
from pelton.runtime.said import ERASED, opened
from pelton.runtime.vault import ContentErased, ContentSealed

if TYPE_CHECKING:
    from pelton.runtime.semantic import Embed, Nearness

WITHIN: Final = 5.0
"""Seconds that a recall waits for the copy to be as new as it must be."""

_TRIES: Final = 3

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Recollection:
    """Answers recalls from a copy of its own; `aclose` ends it."""

    def __init__(
        self, log: Log, *, world: World, within: float = WITHIN, embed: Embed | None = None
    ) -> None:
        self._log, self._world, self._within, self._embed = log, world, within, embed
        self._copy: _Copy | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._heeds = log.vault.on_forgotten(self._forget) if log.vault is not None else None

    async def recall(self, query: MemoryQuery, *, at_least: int) -> Page[MemoryEntry]:
        """Return what a query finds in memories that are as new as the record at a sequence.

        Raises:
            RecallUnavailable: the copy is not there in time; what it would find is not known.
            InvalidInput: the query or its page cannot be.
        """
        for _ in range(_TRIES):
            page = await self._recalled(query, at_least)
            try:
                items = tuple([await self._current(entry) for entry in page.items])
            except ContentErased:  # after the copy was made, and nobody heard of it
                self._forget()
                continue
            return Page(items=items, next=page.next, total=page.total)
        raise RecallUnavailable

    async def unsearched(self, query: MemoryQuery) -> int:
        """Return of how many memories that a query asks for there are no keys here.

        What they say is not found, by words or by age. Those that are erased are no such ones.

        Raises:
            RecallUnavailable: the copy is not there in time.
            LogError: the store of keys cannot be reached.
        """
        copy, unsearched = self._here(), 0
        async with copy.used():
            models = await copy.ready(0, within=self._within)
            if models is None:
                raise RecallUnavailable
            unread = await models.memories.unread(query) if copy.lacks else ()
        for keyid, memories in unread:
            try:
                if self._log.vault is not None:
                    await self._log.vault.check(keyid)
            except ContentErased:
                continue
            except ContentSealed:
                unsearched += memories
        return unsearched

    async def _current(self, entry: MemoryEntry) -> MemoryEntry:
        """Return a memory of the copy, if what it says can be read still.

        Raises:
            ContentErased: the copy says what is erased.
        """
        vault = self._log.vault
        if vault is None or not entry.keyid:
            return entry
        try:
            await vault.check(entry.keyid)
        except ContentErased:
            if entry.content:
                raise
            return replace(entry, content=ERASED, keyid="")
        except ContentSealed:
            return replace(entry, content=SEALED)  # whoever shows it sees by the key that it is
        return replace(entry, keyid="")

    async def _recalled(self, query: MemoryQuery, at_least: int) -> Page[MemoryEntry]:
        copy = self._here()
        try:
            async with copy.used():
                models = await copy.ready(at_least, within=self._within)
                if models is None:
                    raise RecallUnavailable
                async with asyncio.timeout(self._within):
                    near = await copy.near(query)
                return await models.memories.recall(query, near=near)
        except RecallUnavailable:
            if copy is self._copy and copy.failed:
                self._forget()
            raise
        except TimeoutError as error:  # what was made of it until then is kept
            logger.warning("recall-too-slow", within=self._within)
            raise RecallUnavailable from error
        except PeltonError as error:
            if error.code == "validation-denied":
                raise
            logger.exception("recall-failed", code=error.code)
            raise RecallUnavailable from error

    def _here(self) -> _Copy:
        self._copy = self._copy or _Copy(self._log, self._world, self._embed)
        return self._copy

    async def aclose(self) -> None:
        """End it."""
        if self._heeds is not None:
            self._heeds()
            self._heeds = None
        self._forget()
        if self._ending:
            await asyncio.wait(self._ending)

    def _forget(self) -> None:
        """Throw the copy away: what it says may be erased. The next recall begins another one."""
        copy, self._copy = self._copy, None
        if copy is not None:
            task = asyncio.create_task(copy.aclose(), name="recollection: forget")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class _Copy:
    """A copy while it is kept: a projector of its own, and what it has made."""

    def __init__(self, log: Log, world: World, embed: Embed | None) -> None:
        self._log, self._world = log, world
        self._nearness: Nearness | None = None
        if embed is not None:
            from pelton.runtime.semantic import Nearness  # noqa: PLC0415  numpy is an extra

            self._nearness = Nearness(embed)
        self._opened, self._free, self._users = asyncio.Event(), asyncio.Event(), 0
        self._free.set()
        self.lacks = False
        """Whether there was any memory that is sealed and could not be opened."""
        self._models: ReadModels | None = None
        self._projector: Projector | None = None
        self._task = asyncio.create_task(self._keep(), name="recollection")

    @property
    def failed(self) -> bool:
        """Whether it is kept no longer."""
        return self._task.done()

    async def ready(self, sequence: int, *, within: float) -> ReadModels | None:
        """Return what can be asked once it has the record at a sequence, None if it has not."""
        try:
            async with asyncio.timeout(within):
                await self._opened.wait()
        except TimeoutError:
            return None
        if self._projector is None or self.failed:
            return None
        reached = await self._projector.reached(sequence, within=within, end=True)
        return self._models if reached and not self.failed else None

    @asynccontextmanager
    async def used(self) -> AsyncGenerator[None]:
        """Keep it open for a while, even if it is thrown away meanwhile."""
        self._users += 1
        self._free.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._free.set()

    async def near(self, query: MemoryQuery) -> list[int] | None:
        """Return which memories are near a query in meaning; None if nobody can tell.

        Raises:
            EmbeddingFailed: what tells it has failed.
        """
        ranked = query.text and query.order is Order.BEST
        if self._nearness is None or self._models is None or not ranked:
            return None
        return await self._nearness.nearest(self._models.memories, query)

    async def _keep(self) -> None:
        try:
            vault = self._log.vault
            in_memory = vault is not None and vault.seals
            async with open_private(in_memory=in_memory) as (store, database):
                self._models = ReadModels(database)
                self._projector = Projector(
                    *(self._log, store),
                    world=self._world,
                    pattern=ALL_MEMORY,
                    opened=self._take_in,
                )
                self._opened.set()
                await self._projector.run()
        except PeltonError as error:  # the next recall begins another one
            logger.error("recollection-ended", code=error.code, reason=str(error))  # noqa: TRY400
        finally:
            self._opened.set()

    async def _take_in(self, records: Sequence[Record]) -> dict[int, str]:
        """Return what sealed records say, as far as it can be read."""
        found = await opened(self._log.vault, records)
        for record in records:
            if not self.lacks and b'"keyid"' in record.data and record.sequence not in found:
                self.lacks = await self._sealed(record)
        return found

    async def _sealed(self, record: Record) -> bool:
        """Whether it is for want of a key that a record cannot be read, which is not erased."""
        try:
            keyid = decode_commit(record.data).keyid
            if isinstance(keyid, str) and self._log.vault is not None:
                await self._log.vault.check(keyid)
        except (ContentErased, DamagedRecord):
            return False
        except ContentSealed:
            return True
        return isinstance(keyid, str) and self._log.vault is None

    async def aclose(self) -> None:
        """End it, when nobody uses it any more."""
        with suppress(TimeoutError):  # a recall has a deadline of its own
            async with asyncio.timeout(2 * WITHIN):
                await self._free.wait()
        self._task.cancel()
        await asyncio.wait((self._task,))
