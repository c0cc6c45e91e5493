"""Running nats-servers for tests: `nats_url` for most, `nats_server` for those that hurt it.

Every test that asks gets its own, empty account or server. Nothing listens beyond loopback.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.server import EmbeddedServer

ACCOUNTS = 200
"""How many tests share one server: an account costs it 0.3 ms at the start."""


def with_accounts(count: int) -> str:
    """Return the configuration of that many accounts `t0`, `t1`, …, each with JetStream."""
    accounts = (
        f"t{number}: {{ jetstream: enabled, users: [{{ user: t{number}, password: secret }}] }}"
        for number in range(count)
    )
    return "accounts {\n" + "\n".join(accounts) + "\n}"


@pytest.fixture(scope="session")
def new_account(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Awaitable[str]]]:
    """Return what gives the URL of an empty account each time it is called."""
    servers: list[EmbeddedServer] = []
    numbers = itertools.count()

    async def account() -> str:
        number = next(numbers) % ACCOUNTS
        if number == 0:
            data = tmp_path_factory.mktemp("nats")
            servers.append(EmbeddedServer(data, profile=RELAXED, extra=with_accounts(ACCOUNTS)))
            await servers[-1].start()
        return f"nats://t{number}:secret@{servers[-1].address}"

    yield account
    for server in servers:
        server.kill()


@pytest_asyncio.fixture
async def nats_url(new_account: Callable[[], Awaitable[str]]) -> str:
    """Return the URL of a server, in an account that is empty and this test's alone."""
    return await new_account()


@pytest_asyncio.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """Return a running server of this test's own, to kill, pause and start again."""
    async with EmbeddedServer(tmp_path / "nats", profile=RELAXED) as server:
        yield server
