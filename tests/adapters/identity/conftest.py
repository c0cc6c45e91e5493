"""Fixtures: two tenants' logs, and a bridge in front of both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest_asyncio

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from tests.adapters.identity.people import ACME, GLOBEX, Town, town
from tests.adapters.push.receiver import nowhere, pushing


@pytest_asyncio.fixture
async def logs(
    new_account: Callable[[], Awaitable[str]],
) -> AsyncIterator[Mapping[str, JetStreamLog]]:
    """Return the logs of two tenants, each in a NATS account of its own."""
    async with (
        JetStreamLog.open(await new_account(), profile=RELAXED) as acme,
        JetStreamLog.open(await new_account(), profile=RELAXED) as globex,
    ):
        yield {ACME: acme, GLOBEX: globex}


@pytest_asyncio.fixture
async def place(logs: Mapping[str, JetStreamLog], tmp_path: Path) -> AsyncIterator[Town]:
    """Return a bridge that takes keys alone, and posts to nobody."""
    async with (
        pushing(tmp_path, resolve=nowhere) as push,
        town(logs, tmp_path, push=push) as found,
    ):
        yield found
