"""Fixtures of the bridge's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from pelton.runtime.jetstream import RELAXED, JetStreamLog


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[JetStreamLog]:
    """Return an empty log."""
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        yield log


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client."""
    async with httpx.AsyncClient(timeout=40) as client:
        yield client
