"""The contract, proved against a nats-server in a container, where Docker runs.

The image is made from nothing but the server that came with the package, so nothing is pulled.
"""

# testcontainers and the Docker client have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any
from urllib.parse import urlparse

import pytest

from pelton.runtime.server import find_binary
from tests.contract.jetstream_log import JetStreamWorld
from tests.contract.suite import TESTS, Test
from tests.contract.worlds import Body, Drive
from tests.servers import with_accounts

DOCKERFILE = """
FROM scratch
COPY nats-server nats.conf /
ENTRYPOINT ["/nats-server", "--config", "/nats.conf"]
"""


def docker_runs() -> bool:
    """Whether there is a Docker daemon; asked without its client, which leaks a socket if not."""
    address = urlparse(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if address.scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.path)
        except OSError:
            return False
    return True


pytestmark = [
    pytest.mark.skipif(
        not docker_runs(),
        reason="NOT PROVED HERE: no Docker daemon, the contract was not run against a container",
    ),
    pytest.mark.timeout(180),
]


class ContainerServer:
    """A nats-server in a container, with an account for each test."""

    def __init__(self, container: Any, address: str) -> None:
        self._container = container
        self.address = address

    def kill(self) -> None:
        """End it at once."""
        self._container.kill()

    async def start(self) -> str:
        """Start it again and wait until it answers."""
        self._container.start()
        await self.ready()
        return self.address

    async def ready(self) -> None:
        """Wait until it greets."""
        host, _, port = self.address.partition(":")
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    greeting = await reader.readline()
                    writer.close()
                    if greeting.startswith(b"INFO"):
                        return
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def new_drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Drive]]:
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.image import DockerImage  # noqa: PLC0415

    testcontainers_config.ryuk_disabled = True  # it would be pulled
    context = tmp_path_factory.mktemp("image")
    shutil.copy(find_binary(), context / "nats-server")
    (context / "Dockerfile").write_text(DOCKERFILE)
    config = ['listen: "0.0.0.0:4222"', "jetstream { store_dir: /data }", with_accounts(len(TESTS))]
    (context / "nats.conf").write_text("\n".join(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # a fixed one: it must be the same after a restart
    numbers = itertools.count()
    with (
        DockerImage(path=context) as image,
        DockerContainer(str(image)).with_bind_ports(4222, port) as container,
    ):
        server = ContainerServer(container.get_wrapped_container(), f"127.0.0.1:{port}")

        def drive() -> Drive:
            return driven(server, f"nats://t{next(numbers)}:secret@{server.address}")

        yield drive


def driven(server: ContainerServer, url: str) -> Drive:
    @contextlib.asynccontextmanager
    async def world() -> AsyncGenerator[JetStreamWorld]:
        await server.ready()
        async with contextlib.AsyncExitStack() as clients:
            yield JetStreamWorld(server, url, clients)

    def drive(body: Body, _: bool) -> None:
        async def main() -> None:
            async with world() as one:
                await body(one)

        asyncio.run(main())

    return drive


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_in_a_container(test: Test, new_drive: Callable[[], Drive]) -> None:
    test(new_drive())


def test_all_of_the_contract_is_here() -> None:
    assert len(TESTS) >= 45
