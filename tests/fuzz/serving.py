"""A bridge with everything behind it, for those who fuzz it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from pelton.adapters.identity.authenticator import Admission
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.server import EmbeddedServer
from tests.adapters.identity.people import ACME, GLOBEX, KEYS, Town, key, town
from tests.fuzz import apis
from tests.servers import with_accounts


class Place(NamedTuple):
    """Where a bridge is, and the key of somebody who may do everything there."""

    url: str
    key: str

    async def schemathesis(self, document: str, *options: str) -> apis.Run:
        """Fuzz one of the documented APIs."""
        below = "/echo" if document.startswith("a2a") else ""
        return await apis.run(document, self.url + below, self.key, *options)


@asynccontextmanager
async def tenants(data: Path, admission: Admission = KEYS) -> AsyncGenerator[Town]:
    """Serve a bridge with two tenants on a server of its own, while the context lasts."""
    extra = with_accounts(2)
    async with (
        EmbeddedServer(data / "nats", profile=RELAXED, extra=extra) as server,
        JetStreamLog.open(f"nats://t0:secret@{server.address}", profile=RELAXED) as acme,
        JetStreamLog.open(f"nats://t1:secret@{server.address}", profile=RELAXED) as globex,
        town({ACME: acme, GLOBEX: globex}, data, admission) as place,
    ):
        yield place


@asynccontextmanager
async def bridge(data: Path) -> AsyncGenerator[Place]:
    """Serve one that has something to ask about."""
    async with tenants(data) as place:
        await place.send("olga")
        yield Place(place.url, key("olga")["X-API-Key"])
