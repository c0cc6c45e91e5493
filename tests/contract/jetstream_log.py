"""The world of the contract suite that has a real nats-server in it."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

import nats

from pelton.runtime.jetstream import CLUSTER, RELAXED, JetStreamLog, Profile
from pelton.runtime.log import Log
from pelton.runtime.server import EmbeddedServer
from tests.cluster import Cluster, placed


class Server(Protocol):
    """A server, or all servers of a cluster, that can be killed and started again."""

    def kill(self) -> None:
        """End it at once."""
        ...

    async def start(self) -> object:
        """Start it again."""
        ...


class JetStreamWorld:
    """A real nats-server or cluster with an empty account, and clients of it."""

    too_large = (1 << 20) + 1

    def __init__(
        self,
        server: Server,
        url: str | list[str],
        clients: contextlib.AsyncExitStack,
        *,
        profile: Profile = RELAXED,
    ) -> None:
        self.server = server
        self.deadline = profile.deadline
        self._url = url
        self._clients = clients
        self._profile = profile

    async def open(self) -> Log:
        """Return another client."""
        log = JetStreamLog.open(self._url, profile=self._profile)
        return await self._clients.enter_async_context(log)

    async def kill_server(self) -> None:
        """Kill it."""
        self.server.kill()

    async def start_server(self) -> None:
        """Start it again."""
        await self.server.start()

    async def damage_blob(self, sha256: str) -> None:
        """Put other bytes in the place of the first piece."""
        async with await nats.connect(self._url) as client:
            stream = client.jetstream()
            piece = await stream.get_last_msg("BLOBS", f"blob.{sha256}.0")
            assert piece.seq is not None
            assert piece.data is not None
            await stream.delete_msg("BLOBS", piece.seq)
            damaged = bytes([piece.data[0] ^ 1]) + piece.data[1:]
            await stream.publish(f"blob.{sha256}.0", damaged, headers=piece.headers)

    async def readers(self) -> int:
        """Return the number of consumers that are no bells."""
        async with await nats.connect(self._url) as client:
            consumers = await client.jetstream().consumers_info("LOG")
        return sum(1 for each in consumers if each.config.durable_name is None)


@contextlib.asynccontextmanager
async def jetstream_world(data: Path) -> AsyncGenerator[JetStreamWorld]:
    """Give a world whose server keeps its files in `data`."""
    async with EmbeddedServer(data, profile=RELAXED) as server, contextlib.AsyncExitStack() as all_:
        yield JetStreamWorld(server, server.url, all_)


@contextlib.asynccontextmanager
async def cluster_world(cluster: Cluster, number: int) -> AsyncGenerator[JetStreamWorld]:
    """Give a world in an account of a cluster; all three servers die and start together."""
    async with placed(cluster, number) as place, contextlib.AsyncExitStack() as clients:
        yield JetStreamWorld(cluster, place.urls, clients, profile=CLUSTER)


@contextlib.asynccontextmanager
async def jetstream_log(data: Path) -> AsyncGenerator[Log]:
    """Give an empty log on a server that keeps its files in `data`."""
    async with jetstream_world(data) as world:
        yield await world.open()
