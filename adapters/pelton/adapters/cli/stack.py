"""All of pelton on one machine: a nats-server and the parts, and the file that tells of them.

`<data>/dev.json` says where they are. It holds the log's password, so only its owner may read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec.structs import replace

from pelton.adapters.cli.client import serves
from pelton.adapters.cli.orders import reading
from pelton.adapters.cli.supervisor import Child, Say, Supervisor
from pelton.events.errors import PeltonError
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.profiles import profile
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.setting_source import Source
from pelton.runtime.settings import Address, Secret, Settings, as_environment, variable

DEV_FILE: Final = "dev.json"
PUSH_KEYS: Final = "push-keys.json"
"""The file in the data directory with the keys of push notifications."""
WITHIN: Final = 10.0
"""Seconds that the bridge has, once it serves, to be ready."""
_LOOK: Final = 0.1
_PAUSE: Final = 1.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a running `pelton dev`. `executor` is its id in the log, if it is one.

    `metrics` is the URL of its metrics, if it serves them.
    """

    name: str
    pid: int
    executor: str = ""
    metrics: str = ""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What `dev.json` says of a running `pelton dev`."""

    pid: int
    nats: str
    monitoring: str
    http: str
    profile: str
    agents: tuple[str, ...]
    processes: tuple[Process, ...]


def running(data: Path) -> Running | None:
    """Return what runs on a data directory, or None if nothing does."""
    try:
        found = msgspec.json.decode((data / DEV_FILE).read_bytes(), type=Running)
        os.kill(found.pid, 0)
    except (FileNotFoundError, ProcessLookupError, msgspec.DecodeError):
        return None
    except PermissionError:  # it lives, and is another user's
        return None
    return found


class Stack:
    """The nats-server and the parts; `async with Stack(…) as stack: await stack.start()`.

    `say` takes what they print. Without `restart`, a part that ends stays down. `source` is where
    the settings are from, for executors to see when it changes. With `debug` the bridge serves the
    debugger to whoever has this token; no other part is told of it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        agents: Sequence[str],
        executors: int,
        say: Say,
        restart: bool = True,
        source: Source | None = None,
        debug: str = "",
    ) -> None:
        self._settings, self._source = settings, source
        self._debug = debug
        self._agents, self._executors = agents, executors
        self._say, self._restart = say, restart
        self._resources = contextlib.AsyncExitStack()
        self._world = RealWorld()
        self.server = EmbeddedServer(
            settings.directory / "nats", profile=profile(settings.nats.profile), monitor=True
        )
        self._supervisor: Supervisor | None = None
        self._file = settings.directory / DEV_FILE
        self._environment: dict[str, str] = {}
        self._push_keys = ""

    @property
    def http(self) -> str:
        """The URL of the bridge."""
        return str(self._child("bridge").facts["url"])

    @property
    def debug(self) -> str:
        """The URL of the debugger, with the token; empty if there is none."""
        return f"{self.http}/debug?token={self._debug}" if self._debug else ""

    @property
    def settings(self) -> Settings:
        """The settings of the parts: those given, with the log that is here."""
        settings = self._settings
        nats = replace(settings.nats, url=Secret(self.server.url))
        return replace(
            settings,
            data=str(settings.directory.resolve()),
            nats=nats,
            push=replace(settings.push, keys=self._push_keys or settings.push.keys),
            executor=replace(settings.executor, agents=tuple(self._agents)),
        )

    @property
    def children(self) -> Sequence[Child]:
        """The parts."""
        return self._supervisor.children if self._supervisor else ()

    def _child(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    async def __aenter__(self) -> Self:
        """Begin, with nothing started yet."""
        return self

    async def start(self) -> None:
        """Start everything, and wait until all is ready.

        Raises:
            ServerInUse: something runs on the data directory already.
            PartFailed: a part cannot begin.
        """
        directory = self._settings.directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._resources.enter_async_context(self.server)
        self._push_keys = push_keys(self._settings)
        self._environment |= as_environment(self.settings)
        self._supervisor = await self._resources.enter_async_context(
            Supervisor(
                environment=self._environment,
                own={
                    "bridge": {variable("bridge.debug_token"): self._debug} if self._debug else {}
                },
                more=reading(self._source) if self._source is not None else (),
                say=self._say,
                world=self._world,
                restart=self._restart,
                changed=self._write,
            )
        )
        watching = asyncio.create_task(self._watch_server(), name="watch nats-server")
        self._resources.push_async_callback(_end, watching)
        self._resources.callback(self._file.unlink, missing_ok=True)
        executors = [(f"executor-{number + 1}", "executor") for number in range(self._executors)]
        await self._supervisor.start([("bridge", "bridge"), ("projector", "projector"), *executors])
        listens = Address(self._settings.bridge.http.host, int(self.http.rpartition(":")[2]))
        self._environment[variable("bridge.http")] = str(listens)  # the same after a restart
        if self._settings.bridge.grpc is not None:
            port = str(self._child("bridge").facts["grpc"]).rpartition(":")[2]
            listens = Address(self._settings.bridge.grpc.host, int(port))
            self._environment[variable("bridge.grpc")] = str(listens)
        await self._served(WITHIN)
        self._write()

    async def _served(self, within: float) -> None:
        """Wait until the bridge is ready, and serves what the executors run."""
        ask = partial(serves, certificate=self._settings.tls.certificate)
        wanted = set(self._child("executor-1").facts["agents"])
        with contextlib.suppress(TimeoutError):  # it says itself, at /readyz, what it lacks
            async with asyncio.timeout(within):
                while not await asyncio.to_thread(ask, self.http, wanted):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK / 5)

    def reload(self) -> None:
        """Have the executors read anew what their agents go by."""
        if self._supervisor is not None:
            self._supervisor.signal(signal.SIGHUP, "executor")

    async def stop(self, *, within: float) -> bool:
        """Ask all parts to end; say whether they did so within `within` seconds."""
        return self._supervisor is None or await self._supervisor.stop(within=within)

    def kill(self) -> None:
        """End everything at once."""
        if self._supervisor is not None:
            self._supervisor.kill()
        self.server.kill()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs; the server last."""
        await self._resources.aclose()

    async def _watch_server(self) -> None:
        """Start the server again when it has ended; the log is on disk, its clients wait for it."""
        while True:
            await asyncio.sleep(_LOOK)
            if self.server.pid is not None:
                continue
            self._say("nats-server", f"has ended; starts again in {_PAUSE:g} s")
            await asyncio.sleep(_PAUSE)
            try:
                await self.server.start()
            except PeltonError as error:
                self._say("nats-server", str(error))
            else:
                self._say("nats-server", "is ready again")
                self._write()

    def _write(self) -> None:
        """Write `dev.json` anew, whole or not at all."""
        from pelton.adapters.cli.references import placed

        if not all(child.ready.done() and not child.ready.exception() for child in self.children):
            return
        processes = [
            Process(
                name=each.name,
                pid=each.pid,
                executor=_fact(each.facts, "executor"),
                metrics=_fact(each.facts, "metrics"),
            )
            for each in self.children
            if each.pid is not None
        ]
        if self.server.pid is not None:
            processes.append(Process(name="nats-server", pid=self.server.pid))
        now = Running(
            pid=os.getpid(),
            nats=self.server.url,
            monitoring=self.server.monitoring_url,
            http=self.http,
            profile=self._settings.nats.profile,
            agents=tuple(placed(each, Path.cwd()) for each in self._agents),
            processes=tuple(processes),
        )
        new = self._file.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(0o600)
        new.write_bytes(msgspec.json.format(msgspec.json.encode(now)))
        new.replace(self._file)


def push_keys(settings: Settings) -> str:
    """Return the file with the keys of push notifications, made if none is set and all else is."""
    given = settings.push
    if given.keys or not given.enabled or find_spec("aiohttp") is None:
        return ""
    from pelton.adapters.push.keys import new_key

    file = settings.directory.resolve() / PUSH_KEYS
    if not file.exists():
        new_key(file, world=RealWorld())
    return str(file)


def _fact(facts: Mapping[str, object], name: str) -> str:
    return str(facts.get(name, ""))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait(
        (task,)
    )  # not the task itself, whose cancellation could not be told from ours
    if not task.cancelled():
        task.result()


def printer(write: Callable[[str], object], *, names: Sequence[str]) -> Say:
    """Return what prints the lines of parts, each behind the name of its part."""
    width = max(map(len, names))

    def say(name: str, line: str) -> None:
        write(f"{name:<{width}} | {line}\n")

    return say
