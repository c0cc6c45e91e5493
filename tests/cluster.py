"""A cluster of three nats-servers on loopback, for tests of what only a cluster does.

One runs for all tests of a process, which may kill any of its servers; each test gets an account of
its own, and what it made there is deleted after it, since every stream costs all servers work.
"""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from pelton.runtime.jetstream.profiles import CLUSTER
from pelton.runtime.server import EmbeddedServer
from tests.servers import ACCOUNTS, with_accounts

SIZE = 3
HEALTHY_WITHIN = 40.0
STREAMS = ("LOG", "BLOBS", "KV_LEASE")


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, below those that the system gives out by itself.

    Each server must know the others' before any of them has started.
    """
    found: list[int] = []
    for port in random.sample(range(12_000, 32_000), 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


class Cluster:
    """Three servers that hold every message, two of which must before it is acknowledged."""

    def __init__(self, data: Path) -> None:
        routes = free_ports(SIZE)
        self.servers = [
            EmbeddedServer(
                data / f"n{number}", profile=CLUSTER, monitor=True, extra=_extra(number, routes)
            )
            for number in range(SIZE)
        ]

    async def start(self) -> None:
        """Start those that do not run, and wait until everything is whole and has its leaders."""
        await asyncio.gather(*(each.start() for each in self.servers if each.pid is None))
        async with asyncio.timeout(HEALTHY_WITHIN):
            for server in self.servers:
                while not await asyncio.to_thread(_healthy, server):
                    await asyncio.sleep(0.05)

    def kill(self) -> None:
        """End all of them at once."""
        for server in self.servers:
            server.kill()

    def server(self, name: str) -> EmbeddedServer:
        """Return the server of that name, as the servers call each other."""
        return self.servers[int(name.removeprefix("n"))]


def _extra(number: int, routes: Sequence[int]) -> str:
    others = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    return f"""
server_name: n{number}
cluster {{ name: test, listen: "127.0.0.1:{routes[number]}", routes: [{others}] }}
{with_accounts(ACCOUNTS)}
"""


def _healthy(server: EmbeddedServer) -> bool:
    try:
        with urllib.request.urlopen(f"{server.monitoring_url}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError):
        return False


class _Peer(msgspec.Struct):
    name: str
    current: bool = False


class _Group(msgspec.Struct):
    leader: str = ""
    replicas: list[_Peer] = []


class _Info(msgspec.Struct):
    cluster: _Group = msgspec.field(default_factory=_Group)


@dataclass(frozen=True)
class Place:
    """An account on a cluster: empty, and one test's alone."""

    cluster: Cluster
    user: str

    def url(self, server: EmbeddedServer) -> str:
        """Return the URL for a client that knows one of the servers."""
        return f"nats://{self.user}:secret@{server.address}"

    @property
    def urls(self) -> list[str]:
        """What a client is given that knows all of them."""
        return [self.url(server) for server in self.cluster.servers]

    async def leader(self, stream: str = "LOG") -> EmbeddedServer:
        """Return the server that leads a stream, as soon as one does."""
        async with await self._connect() as client, asyncio.timeout(HEALTHY_WITHIN):
            while True:
                with contextlib.suppress(nats.errors.TimeoutError):
                    answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=1)
                    name = msgspec.json.decode(answer.data, type=_Info).cluster.leader
                    if name and self.cluster.server(name).pid is not None:
                        return self.cluster.server(name)
                await asyncio.sleep(0.05)

    async def step_down(self, stream: str = "LOG") -> None:
        """Have the leader of a stream hand over."""
        async with await self._connect() as client:
            with contextlib.suppress(nats.errors.TimeoutError):  # it may go with its office
                await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", timeout=2)

    async def clear(self) -> None:
        """Delete the streams."""
        async with await self._connect() as client:
            for stream in STREAMS:
                with contextlib.suppress(nats.errors.TimeoutError):
                    await client.request(f"$JS.API.STREAM.DELETE.{stream}", timeout=5)

    async def _connect(self) -> Client:
        running = [self.url(each) for each in self.cluster.servers if each.pid is not None]
        return await nats.connect(running)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return the cluster of this process, not started yet."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.kill()


@pytest.fixture(scope="session")
def cluster_accounts() -> Iterator[int]:
    """Return the numbers of the accounts that nobody has had."""
    return itertools.count()


@contextlib.asynccontextmanager
async def placed(cluster: Cluster, number: int) -> AsyncGenerator[Place]:
    """Give an empty account of a cluster that is whole."""
    await cluster.start()
    place = Place(cluster, f"t{number}")
    yield place
    await cluster.start()  # whatever was done to it
    await place.clear()


@pytest_asyncio.fixture
async def place(shared_cluster: Cluster, cluster_accounts: Iterator[int]) -> AsyncIterator[Place]:
    """Return an empty account on a cluster that is whole."""
    async with placed(shared_cluster, next(cluster_accounts)) as place:
        yield place
