"""The projector: feeds the read models from the log, for as long as it runs (G6, G7)."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

import structlog

from pelton.events.envelope import digest
from pelton.events.errors import PeltonError
from pelton.projections.database import StoreUnavailable
from pelton.projections.store import Store
from pelton.projections.write import Position, PositionMoved
from pelton.runtime.clock import World
from pelton.runtime.log import Log, LogRegressed, LogUnavailable, Record
from pelton.runtime.replay.session import Reader

BATCH: Final = 1000
"""Records that are taken in at once at most: a few milliseconds of the event loop."""

GATHER: Final = 0.1
"""Seconds to wait after a batch, so that the next one is larger, unless somebody waits for it."""

MANY: Final = 150
LONGER: Final = 3
"""After so many records at once the wait at the end of the log is so many times as long: what is
taken in together costs a third less, of processors that those share who write so much."""

RETRY: Final = 0.5
"""Seconds until something that failed is tried again, at most twice that."""

Opened = Callable[[Sequence[Record]], Awaitable[Mapping[int, str]]]
"""Returns what sealed memories say, by the sequences of their records."""

_log = structlog.get_logger("pelton.projector")


class ProjectorState(enum.StrEnum):
    """What a projector is doing."""

    STARTING = "starting"
    """It has not yet found its position in the log."""
    CATCHING_UP = "catching-up"
    FOLLOWING = "following"
    """It has seen the end of the log, and takes in what comes."""
    WAITING = "waiting"
    """The log or the disk does not answer; it tries again."""
    HALTED = "halted"
    """It ended, and `failure` says why."""


class Projector:
    """Takes records from the log into the read models, in order, each once.

    `run` is the work; whoever calls it owns it. The rest tells how far it is. With `pattern`, it
    takes in only the records of subjects that match it; with `opened`, what sealed memories say in
    plain, into a file that nobody else has. `caught_up` is called whenever it has taken in all that
    there is. A command that is
    damaged is written down and skipped: nothing can come of it. A commit that is damaged is written
    down, and its context stands still there, because what follows would build on a state that
    nobody knows; all other contexts go on. A log that went back ends everything (law 13).
    """

    def __init__(
        self,
        log: Log,
        store: Store,
        *,
        world: World,
        batch: int = BATCH,
        gather: float = GATHER,
        pattern: str = ">",
        opened: Opened | None = None,
        caught_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._source, self._store, self._world = log, store, world
        self._batch, self._gather, self._pattern = batch, gather, pattern
        self._opened, self._caught_up = opened, caught_up
        self._moved, self._hurry, self._restored = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._waiting = 0
        self.state = ProjectorState.STARTING
        self.failure: PeltonError | None = None
        self.damaged = 0
        """How many damaged records it has met."""
        self.seen_end = False
        """Whether it has once taken in all that there was."""

    @property
    def position(self) -> int:
        """The sequence of the last record that the read models have taken in."""
        return self._store.position.sequence

    async def lag(self) -> int:
        """Return how many sequences the read models are behind the log.

        Raises:
            LogUnavailable: the log does not answer.
        """
        return max(0, (await self._source.extent()).last - self.position)

    async def reached(self, sequence: int, *, within: float, end: bool = False) -> bool:
        """Wait until the read models hold the record at a sequence, for so many seconds at most.

        With `end`, and all that was in the log when this began to follow it.
        """
        self._waiting += 1
        self._hurry.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    while self.position < sequence or (end and not self.seen_end):
                        await self._moved.wait()
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._hurry.clear()
        return self.position >= sequence and (self.seen_end or not end)

    async def run(self) -> None:
        """Follow the log until cancelled; across restarts of the server.

        Raises:
            LogRegressed: the log is not the one that the read models were made from.
            StoreUnusable: the file is damaged: rebuild it.
        """
        stop = self._source.on_restored(self._restored.set)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(), name="projector: follow")
                group.create_task(self._guard(), name="projector: guard")
        except* PeltonError as errors:
            self.failure = _first(errors)
            self.state = ProjectorState.HALTED
            _log.error("the projector has stopped", reason=str(self.failure))
        finally:
            stop()
        if self.failure is not None:
            raise self.failure

    async def _follow(self) -> None:
        while True:
            try:
                await verify(self._source, self._store.position)
                self.state = ProjectorState.CATCHING_UP
                await self._scan()
            except PositionMoved:
                _log.info("another projector has moved the read models on", position=self.position)
            except (LogUnavailable, StoreUnavailable) as error:
                self.state = ProjectorState.WAITING
                _log.warning("the projector waits", reason=str(error))
                await asyncio.sleep(RETRY * (1 + self._world.random.random()))

    async def _scan(self) -> None:
        gathered: list[Record] = []
        scan = self._source.scan(after=self.position, pattern=self._pattern, live=True)
        async with aclosing(scan) as batches:
            async for records in batches:
                gathered += records
                if records and len(gathered) < self._batch:
                    continue
                many = len(gathered) >= MANY
                while gathered:
                    await self._take(gathered[: self._batch])
                    del gathered[: self._batch]
                if not records:
                    self.state = ProjectorState.FOLLOWING
                    self._see_end()
                    if self._caught_up is not None:
                        await self._caught_up()
                longer = many and not records  # never while it catches up
                await self._pause(self._gather * (LONGER if longer else 1))

    async def _take(self, records: list[Record]) -> None:
        said = await self._opened(records) if self._opened is not None else None
        for damage in await self._store.take(records, said=said):
            self.damaged += 1
            _log.error(
                "a record of the log is damaged",
                sequence=damage.sequence,
                subject=damage.subject,
                code=damage.code,
                reason=damage.reason,
            )
        self._wake()

    def _see_end(self) -> None:
        if not self.seen_end:
            self.seen_end = True
            self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _pause(self, seconds: float) -> None:
        """Let more records gather, unless somebody waits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _guard(self) -> None:
        """Look at the position again whenever the server may be another one (G7)."""
        while True:
            await self._restored.wait()
            self._restored.clear()
            try:
                await verify(self._source, self._store.position)
            except LogUnavailable:
                self._restored.set()
                await asyncio.sleep(RETRY * (1 + self._world.random.random()))


async def verify(log: Reader, position: Position) -> None:
    """Check that the log is the one that the read models at a position were made from (law 13).

    Raises:
        LogRegressed: the record at the position is gone, or is another one.
    """
    if not position.sequence:
        return
    record = await log.at(position.sequence)
    if record is None:
        last = (await log.extent()).last
        raise LogRegressed(
            f"the read models are at {position.sequence}, where the log has no record (its last is"
            f" {last}): restore the log, or run `pelton rebuild`"
        )
    if digest(record.data) != position.hash:
        raise LogRegressed(
            f"the record at {position.sequence} is not the one that the read models were made from:"
            " restore the log, or run `pelton rebuild`"
        )


def _first(errors: BaseExceptionGroup[PeltonError]) -> PeltonError:
    """Return the first error in a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PeltonError)
    return error
