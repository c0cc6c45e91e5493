"""Fixtures of the bridge's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from tests.adapters.a2a.world import Rpc, Script, scripted, served


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


@pytest_asyncio.fixture
async def script(log: JetStreamLog) -> AsyncIterator[Script]:
    """Return an executor of the agent `scripted` that does as it is told."""
    async with scripted(log) as script:
        yield script


@pytest_asyncio.fixture
async def rpc(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> AsyncIterator[Rpc]:
    """Return a client of that agent, over JSON-RPC."""
    async with served(log, tmp_path) as url:
        yield Rpc(f"{url}/scripted", client)
