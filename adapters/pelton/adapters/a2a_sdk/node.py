"""What a handler needs around it, in the process of its application: log, executor, read models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.server import open_bridge
from pelton.adapters.cli.stack import push_keys
from pelton.adapters.cli.supplies import pushing
from pelton.adapters.sealing import sealing_of
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import Agent
from pelton.runtime.clock import World
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import profile
from pelton.runtime.projector import Projector
from pelton.runtime.redaction import redactor_of
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.settings import Settings

_READY_WITHIN: Final = 30.0


@asynccontextmanager
async def open_node(
    agent: Agent, settings: Settings, *, push: bool, world: World
) -> AsyncGenerator[Engine]:
    """Run an agent while the context lasts; gives what answers requests about its tasks.

    With `push` it sends push notifications, where there is what that needs (see `push.keys`). What
    still runs at the end is handed back to the log, after `executor.stop_within` seconds.

    Raises:
        ServerInUse: another process has the data directory.
        LogError: the log cannot be reached, or cannot serve.
        TimeoutError: the agent is not ready after half a minute.
    """
    nats, models = settings.nats, settings.projections_path
    models.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        if nats.url is None:
            server = EmbeddedServer(settings.directory / "nats", profile=profile(nats.profile))
            url = (await stack.enter_async_context(server)).url
            settings = replace(settings, push=replace(settings.push, keys=push_keys(settings)))
        else:
            url = nats.url.reveal()
        log = await stack.enter_async_context(
            JetStreamLog.open(
                url.split(","),
                profile=profile(nats.profile),
                credentials=Path(nats.credentials) if nats.credentials else None,
                name="sdk",
                redactor=redactor_of(settings),
                sealing=sealing_of(settings),
            )
        )
        projector = Projector(log, await stack.enter_async_context(open_store(models)), world=world)
        executor = Executor(
            log, [agent], world=world, tenant=nats.tenant, capacity=settings.executor.capacity
        )
        pushes = pushing(settings, world) if push else nullcontext()
        bridge = await stack.enter_async_context(
            open_bridge(
                log,
                await stack.enter_async_context(open_read_models(models)),
                reached=projector.reached,
                tenant=nats.tenant,
                push=await stack.enter_async_context(pushes),
                answer_within=settings.bridge.answer_within,
                world=world,
            )
        )
        [tenant] = bridge.tenants
        async with asyncio.TaskGroup() as group:
            projecting = group.create_task(projector.run(), name="projector")
            running = group.create_task(executor.run(budget=settings.executor.stop_within))
            async with asyncio.timeout(_READY_WITHIN):
                await executor.ready.wait()
            try:
                yield tenant.engine
            finally:
                bridge.end_streams()
                bridge.end_waits()
                executor.stop()
                await asyncio.wait((running,))
                projecting.cancel()
