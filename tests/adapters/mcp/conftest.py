"""Fixtures: a log of its own for each test, and a server of tools."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from pelton.adapters.mcp.gateway import TurnServer
from pelton.runtime.jetstream import RELAXED, JetStreamLog


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TurnServer]:
    server = TurnServer()
    await server.start()
    yield server
    await server.stop()
