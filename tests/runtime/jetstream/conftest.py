"""Logs for the tests of what only JetStream does; the contract is proved in `tests/contract`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio

from pelton.runtime.jetstream import RELAXED, JetStreamLog


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncGenerator[JetStreamLog]:
    """Return an empty log."""
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log
