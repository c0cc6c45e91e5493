"""The worlds in which the log's contract is proved: one suite, two implementations.

A test is an `async def` that gets a `LogWorld`; `contract` makes pytest run it in each world, the
simulated one with several seeds. Waiting is `asyncio`'s, which the simulated world makes virtual.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

import pytest

from pelton.runtime.log import Log
from pelton.runtime.simulation import Faults, SimulatedLog, SimulatedServer, SimulatedWorld, run

SEEDS: Final = 8
"""In how many simulated worlds each test runs."""


class LogWorld(Protocol):
    """A server with an empty log, and clients of it."""

    deadline: float
    """Seconds within which a call must be answered, retries included."""

    too_large: int
    """Bytes that no record can have."""

    async def open(self) -> Log:
        """Return the log as another process has it; the world closes it in the end."""
        ...

    async def kill_server(self) -> None:
        """SIGKILL the server."""
        ...

    async def start_server(self) -> None:
        """Start the server that was killed, with what it has on its disk."""
        ...

    async def damage_blob(self, sha256: str) -> None:
        """Change bytes of a blob behind everybody's back."""
        ...

    async def readers(self) -> int:
        """Return how many scans the server holds something for."""
        ...


Body = Callable[[LogWorld], Awaitable[None]]
Drive = Callable[[Body, bool], None]


class SimulatedLogWorld:
    """The simulated world: a single server or a cluster, as the seed decides."""

    deadline = 5.0
    too_large = (1 << 20) + 1

    def __init__(self, world: SimulatedWorld, *, lossy: bool = False) -> None:
        profile = world.random.choice(("durable", "relaxed", "cluster"))
        self.server = SimulatedServer(world, profile=profile)  # type: ignore[arg-type]
        self._faults = Faults(lost_requests=0.03, lost_replies=0.03) if lossy else Faults()
        self._opened = 0

    async def open(self) -> Log:
        """Return another client."""
        self._opened += 1
        return SimulatedLog(self.server, name=f"client {self._opened}", faults=self._faults)

    async def kill_server(self) -> None:
        """Kill it."""
        self.server.kill()

    async def start_server(self) -> None:
        """Start it again."""
        self.server.start()

    async def damage_blob(self, sha256: str) -> None:
        """Flip a bit."""
        self.server.damage_blob(sha256)

    async def readers(self) -> int:
        """Return the number of subscriptions."""
        return self.server.subscriptions


def drive_simulated(body: Body, lossy: bool) -> None:
    """Run a test in simulated worlds, under loss of requests and replies too if it allows."""
    for seed in range(SEEDS):
        run(seed, lambda world: body_in(SimulatedLogWorld(world), body), limit=600.0)
        if lossy:
            run(seed, lambda world: body_in(SimulatedLogWorld(world, lossy=True), body), limit=600)


async def body_in(world: LogWorld, body: Body) -> None:
    """Run a test in a world."""
    await body(world)


def drive_jetstream(data: Path) -> Drive:
    """Return what runs a test on a real server that keeps its files in `data`."""
    if find_spec("tests.contract.jetstream_log") is None:
        pytest.skip("tests/contract/jetstream_log.py is not there yet")
    from tests.contract.jetstream_log import jetstream_world  # noqa: PLC0415

    def drive(body: Body, _: bool) -> None:
        async def main() -> None:
            async with jetstream_world(data) as world:
                await body(world)

        asyncio.run(main())

    return drive


def contract(*, lossy: bool = False) -> Callable[[Body], Callable[[Drive], None]]:
    """Make a test of a body: run it in every world.

    With `lossy`, what it proves holds while single requests and replies are lost as well.
    """

    def make(body: Body) -> Callable[[Drive], None]:
        def test(drive: Drive) -> None:
            drive(body, lossy)

        test.__module__ = body.__module__
        return test

    return make


async def eventually(
    holds: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within: float = 10.0
) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(within):
        while True:
            answer = holds()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.005)


async def never(happens: Awaitable[object], *, within: float) -> None:
    """Wait and see that something does not happen within some seconds."""
    try:
        async with asyncio.timeout(within):
            result = await happens
    except TimeoutError:
        return
    raise AssertionError(f"this should not have happened: {result!r}")
