"""The log as it grows, for pages and programs that watch a tenant (AS-32).

Every record comes once and in order, from a position on. It is read only as fast as it is taken,
so nothing is ever left out, and nothing piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from pelton.adapters.a2a.errors import PositionNotFound, ScopeMissing
from pelton.adapters.a2a.reader import HEARTBEAT
from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.a2a.waits import Update
from pelton.adapters.api import routes, shapes
from pelton.events.ids import check_agent
from pelton.events.principal import Principal, Scope
from pelton.runtime.log import Record

PATH: Final = ["live"]
"""Its path, below the root of the API."""
SCOPE: Final = Scope.INSPECT


async def follow(
    tenant: Tenant, principal: Principal, query: bytes, position: str
) -> AsyncGenerator[Update | None]:
    """Yield the records after a position, or from now on; None says that the stream lives.

    Ends when the bridge stops.

    Raises:
        PeltonError: it may not be, or not from there.
    """
    if not principal.may(SCOPE):
        raise ScopeMissing(SCOPE)
    asked = routes.parse_query(query, shapes.LiveQuery)
    pattern = f"*.{check_agent(asked.agent)}.*" if asked.agent else ">"
    last = (await tenant.account.log.extent()).last
    after = after_of(position, last) if position else last
    yield None
    async with aclosing(grown(tenant, after=after, pattern=pattern)) as batches:
        async for batch in batches:
            if batch is None:
                yield None
                continue
            for record in batch:
                yield Update(record.sequence, routes.event_view(record))


async def grown(
    tenant: Tenant, *, after: int, pattern: str = ">"
) -> AsyncGenerator[Sequence[Record] | None]:
    """Yield the records above a sequence, and those to come; None after each silence.

    Ends when the bridge stops.
    """
    log, stopping = tenant.account.log, tenant.engine.reader.stopping
    async with (
        aclosing(log.scan(after=after, pattern=pattern, live=True)) as batches,
        aclosing(_until(stopping, batches)) as coming,
    ):
        async for batch in coming:
            yield batch


def after_of(position: str, last: int) -> int:
    """Return the sequence that a position says, in a log that ends at `last`.

    Raises:
        PositionNotFound: it says none that the log has.
    """
    if not (position.isascii() and position.isdecimal() and len(position) < 16):
        raise PositionNotFound(f"{position[:40]!r} is not a position: resume from the beginning, 0")
    if int(position) > last:
        raise PositionNotFound(f"the log has no record {position}: resume from the beginning, 0")
    return int(position)


async def _until(
    stopping: asyncio.Event, batches: AsyncGenerator[Sequence[Record]]
) -> AsyncGenerator[Sequence[Record] | None]:
    """Yield what comes until it is time to stop; None after each silence."""
    stop = asyncio.create_task(stopping.wait(), name="live: stop")
    coming = asyncio.ensure_future(anext(batches))
    try:
        while not stop.done():
            await asyncio.wait(
                (stop, coming), timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED
            )
            if not coming.done():
                yield None
                continue
            yield await coming
            coming = asyncio.ensure_future(anext(batches))
    finally:
        stop.cancel()
        coming.cancel()
        await asyncio.gather(stop, coming, return_exceptions=True)
