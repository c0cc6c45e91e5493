"""A log of its own for each test, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from pelton.runtime.jetstream.log import JetStreamLog


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_url) as log:
        yield log
