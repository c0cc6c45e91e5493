"""Rebuilding the read models from the log, beside those in use (law 1, AS-20).

What is built anew lies in a file of its own until it is whole. Then its contents take the place of
the live file's in one transaction of SQLite, so that whoever reads goes on reading, and a projector
that runs goes on from the new position; no file is moved from under anybody. Where there is no live
file, the new one takes its place as it is.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pelton.projections.database import delete, put_in_place
from pelton.projections.dump import Digest, digest
from pelton.projections.store import open_new
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.log import Log, LogRegressed, Record

BATCH: Final = 2048
"""Records that are taken in at once: many, so that threads seldom wait for each other."""

_TURN: Final = 0.0005
"""Seconds that a thread keeps the interpreter from another: the one that writes needs it often and
shortly, and waits longer than it works where it is 5 ms, as it is by itself."""


class Progress(NamedTuple):
    """How far a rebuild is: records taken in, those there are, and seconds so far."""

    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.done / self.seconds if self.seconds else 0.0


class Comparison(NamedTuple):
    """The digests of the read models in use and of the same, rebuilt."""

    live: Digest
    rebuilt: Digest

    @property
    def equal(self) -> bool:
        """Whether the read models are what the log says."""
        return self.live == self.rebuilt


Report = Callable[[Progress], None]


async def rebuild(
    log: Log, path: Path, *, world: World | None = None, progress: Report | None = None
) -> Progress:
    """Rebuild the read models and put them in the place of those at `path`, if there are any.

    `progress` is called after each batch.

    Raises:
        LogUnavailable: the log does not answer; what is in use stays as it is.
        StoreUnusable: a file cannot be written.
    """
    async with _beside(path, world or RealWorld()) as (beside, clock):
        done = await build(log, beside, world=clock, progress=progress)
        await put_in_place(beside, path)
    return done


async def compare(
    log: Log, path: Path, *, world: World | None = None, progress: Report | None = None
) -> Comparison:
    """Rebuild the read models up to where those at `path` are, and compare; nothing is changed.

    Raises:
        LogRegressed: the log ends before that.
        LogUnavailable: the log does not answer.
        StoreUnusable: the file at `path` cannot be read: rebuild it.
    """
    live = await digest(path)
    async with _beside(path, world or RealWorld()) as (beside, clock):
        await build(log, beside, upto=live.sequence, world=clock, progress=progress)
        return Comparison(live, await digest(beside))


async def build(
    log: Log,
    path: Path,
    *,
    upto: int | None = None,
    world: World,
    progress: Report | None = None,
) -> Progress:
    """Make the read models as of a sequence, by default the last one, in a new file.

    Raises:
        LogRegressed: the log ends before that sequence.
        LogUnavailable: the log does not answer.
    """
    first, last = await log.extent()
    if upto is None:
        upto = last
    elif upto > last:
        raise LogRegressed(f"the log ends at {last}, and the read models are at {upto}")
    total = max(0, upto - first + 1)
    began, done = world.monotonic(), 0
    with _at_full_pace():
        async with (
            open_new(path) as store,
            aclosing(_batches(log, upto)) as batches,
        ):
            async for batch in batches:
                await store.take(batch)
                done += len(batch)
                if progress is not None:
                    progress(Progress(done, total, world.monotonic() - began))
            await store.finish()
    return Progress(done, total, world.monotonic() - began)


async def _batches(log: Log, upto: int) -> AsyncGenerator[list[Record]]:
    """Yield the records up to a sequence in batches of about `BATCH`."""
    gathered: list[Record] = []
    async with aclosing(log.scan()) as scan:
        async for records in scan:
            gathered += records
            if gathered and gathered[-1].sequence >= upto:
                break
            while len(gathered) >= BATCH:
                yield gathered[:BATCH]
                del gathered[:BATCH]
    while gathered and gathered[-1].sequence > upto:
        gathered.pop()
    if gathered:
        yield gathered


@contextmanager
def _at_full_pace() -> Generator[None]:
    """Let threads take turns, and collect no garbage.

    Records have no cycles, and to look for some costs a tenth of all.
    """
    collects, turn = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if collects:
            gc.enable()


@asynccontextmanager
async def _beside(path: Path, world: World) -> AsyncGenerator[tuple[Path, World]]:
    """Give a file beside another one, which is deleted in the end."""
    beside = path.with_name(f"{path.stem}.rebuild-{world.new_id()}{path.suffix}")
    try:
        yield beside, world
    finally:
        await delete(beside)
