"""One part of pelton as a process: a bridge, an executor or a projector, until told to stop.

SIGTERM and SIGINT stop it in order (AS-61): no new work, what runs ends or is handed back, exit 0.
A second signal hands back at once. SIGHUP has it read its files anew.

`pelton serve` starts it, or the supervisor, as `python -m pelton.adapters.cli.parts`: then it says
on a pipe when it is ready, and never outlives its parent.

A part imports what it needs when it runs: none needs it all, and each is there sooner.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pelton.adapters.cli.options import PARTS, Part
from pelton.adapters.cli.orders import Anew, Stop, hung_up
from pelton.adapters.cli.output import first_of
from pelton.adapters.cli.startup import release_rich, withhold_rich
from pelton.adapters.cli.supplies import embedding, gateway, kept_folds, pushing, remotes
from pelton.events.errors import PeltonError
from pelton.runtime.observer import UNOBSERVED, Observer
from pelton.runtime.setting_source import Source
from pelton.runtime.settings import Address, BridgeSettings, Settings, SettingsError, load

if TYPE_CHECKING:
    from pelton.adapters.a2a.server import Bridge
    from pelton.adapters.a2a.tenants import Tenant
    from pelton.adapters.a2a.tls import Tls
    from pelton.adapters.debug.debugger import Debugger
    from pelton.adapters.mcp.door import Door as Door_
    from pelton.runtime.clock import World
    from pelton.runtime.jetstream.log import JetStreamLog
    from pelton.runtime.vault import Sealing

Ready = Callable[[Mapping[str, Any]], None]
"""Called once, when a part serves, with what others may want to know of it."""

_PR_SET_PDEATHSIG: Final = 1
_THREADS: Final = "pelton-step"
_GRACE: Final = 0.1


def quiet() -> None:
    """Let nothing but errors be logged: commands say what is to be said themselves."""
    from pelton.adapters.logging import set_up

    set_up(level="error", format="console")


def sealed_with(settings: Settings) -> Sealing:
    """Return what content is sealed with; without a file of keys nobody waits for cryptography.

    Raises:
        SettingsError: the file cannot be read, or others may read it.
    """
    from pelton.runtime.vault import OPEN

    if not settings.encryption.keys:
        return OPEN
    from pelton.adapters.sealing import sealing_of

    return sealing_of(settings)


@contextlib.asynccontextmanager
async def open_log(
    settings: Settings, *, name: str, observer: Observer = UNOBSERVED
) -> AsyncGenerator[JetStreamLog, None]:
    """Give the log that the settings name, while the context lasts.

    Raises:
        SettingsError: they name none.
        LogError: it cannot be reached, or cannot serve.
    """
    from pelton.runtime.jetstream.log import JetStreamLog
    from pelton.runtime.jetstream.profiles import profile
    from pelton.runtime.redaction import redactor_of

    if settings.nats.url is None:
        raise SettingsError("nats.url is not set: set it in pelton.toml or PELTON_NATS_URL")
    credentials = Path(settings.nats.credentials) if settings.nats.credentials else None
    async with JetStreamLog.open(
        settings.nats.url.reveal().split(","),
        profile=profile(settings.nats.profile),
        credentials=credentials,
        name=name,
        redactor=redactor_of(settings),
        sealing=sealed_with(settings),
        observer=observer,
    ) as log:
        yield log


async def executor(settings: Settings, stop: Stop, anew: Anew, ready: Ready) -> None:
    """Run agents until told to stop."""
    from pelton.adapters.cli.served import Served
    from pelton.adapters.telemetry.opened import open_telemetry
    from pelton.adapters.telemetry.standing import in_hand
    from pelton.events.start import Stage
    from pelton.runtime.budgets import Budgets
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.executor import Executor

    served = Served(settings, anew.source)
    lacking = await served.load()
    world = RealWorld()
    async with (
        open_telemetry(settings, "executor", world=world) as telemetry,
        open_log(settings, name="executor", observer=telemetry) as log,
        remotes(settings) as remote,
        gateway(settings) as models,
        Budgets(settings.gateway, log) as budgets,
        kept_folds(settings) as folds,
    ):
        serving = Executor(
            log,
            served.agents,
            world=world,
            tenant=settings.nats.tenant,
            capacity=settings.executor.capacity,
            remote=remote,
            embed=embedding(settings),
            gateway=models,
            budgets=budgets,
            observer=telemetry,
            folds=folds,
        )
        if lacking is not None:
            await serving.failed(lacking.agent, Stage.PREFLIGHT, lacking)
            raise lacking
        telemetry.read(partial(in_hand, settings.nats.tenant, log, serving))
        facts = {"agents": [each.name for each in served.agents], "metrics": telemetry.url}
        async with asyncio.TaskGroup() as group:
            saying = partial(ready, {"executor": serving.id, **facts})
            serve = serving.run(budget=settings.executor.stop_within, serves=saying)
            running = group.create_task(serve)
            watching = group.create_task(_stop_executor(serving.stop, stop))
            following = group.create_task(served.follow(serving, anew.asked, watch=anew.watch))
            await running
            for each in (watching, following):
                each.cancel()


async def _stop_executor(end: Callable[[], None], stop: Stop) -> None:
    await stop.asked.wait()
    end()
    await stop.again.wait()
    end()


async def bridge(settings: Settings, stop: Stop, anew: Anew, ready: Ready) -> None:
    """Serve A2A over HTTP until told to stop."""
    from pelton.adapters.a2a.protocol import Door
    from pelton.adapters.a2a.server import bind, open_bridge, serve_bridge
    from pelton.adapters.a2a.tenants import Account
    from pelton.adapters.a2a.tls import open_tls
    from pelton.adapters.frameworks.callback import secrets_of
    from pelton.adapters.identity.admission import admission
    from pelton.adapters.telemetry.opened import open_telemetry
    from pelton.projections.read import open_read_models
    from pelton.runtime.clock import RealWorld

    given, world = settings.bridge, RealWorld()
    admitted, tls = admission(settings, world=world), open_tls(settings.tls)
    try:
        listening = bind(given.http.host, given.http.port)
    except OSError as error:
        raise SettingsError(
            f"bridge.http: {given.http} cannot be listened on ({error.strerror}):"
            " choose another port, or 0 for any"
        ) from error
    url = f"{'https' if tls else 'http'}://{Address(given.http.host, listening.getsockname()[1])}"
    async with (
        contextlib.AsyncExitStack() as others,
        open_telemetry(settings, "bridge", world=world) as telemetry,
        pushing(settings, world) as push,
        open_log(settings, name="bridge", observer=telemetry) as log,
        open_read_models(_models(settings)) as models,
        kept_folds(settings) as folds,
        open_bridge(
            log,
            models,
            folds=folds,
            more=[
                Account(
                    name,
                    await others.enter_async_context(
                        open_log(own, name="bridge", observer=telemetry)
                    ),
                    await others.enter_async_context(open_read_models(_models(own))),
                    dict.fromkeys(settings.tenants[name].hosts, "")
                    | settings.tenants[name].agents_at,
                    await others.enter_async_context(kept_folds(own)),
                )
                for name, own in _others(settings)
            ],
            admission=admitted,
            push=push,
            listens=given.http.host,
            hosts=given.hosts,
            origins=given.origins,
            public_url=given.public_url,
            default_agent=given.agent,
            agents_at=given.agents_at,
            legacy=given.a2a_03,
            tenant=settings.nats.tenant,
            debug=_debugger(settings, world),
            tools=_tools(settings, world),
            callbacks={settings.nats.tenant: secrets_of(settings.webhook)},
            answer_within=given.answer_within,
            telemetry=telemetry,
            world=world,
        ) as serving,
        contextlib.AsyncExitStack() as stack,
        asyncio.TaskGroup() as group,
    ):
        serving.cards.http = url
        if given.card_key:
            serving.cards.sign = _signer(given)
        facts: dict[str, Any] = {"url": url}
        if given.grpc is not None:
            serving.cards.grpc = await _grpc(stack, serving, given, tls, world)
            facts["grpc"] = serving.cards.grpc
        saying = group.create_task(anew.say(settings))
        running = group.create_task(
            serve_bridge(
                serving,
                [listening],
                stop=stop.asked,
                stop_within=given.stop_within,
                tls=tls,
                door=Door(
                    most=settings.limits.connections,
                    most_of_address=settings.limits.connections_of_address,
                ),
                ready=lambda: ready(facts),
            )
        )
        hurrying = group.create_task(_cancel(running, stop))
        await asyncio.wait((running,))
        hurrying.cancel()
        saying.cancel()


def _debugger(settings: Settings, world: World) -> Callable[[Tenant], Debugger] | None:
    """Return what makes the debugger of a tenant, if the settings have a token for it."""
    token = settings.bridge.debug_token
    if token is None:
        return None
    from pelton.adapters.debug.debugger import Debugger
    from pelton.adapters.debug.forks import Forks

    forks = Forks(settings, world=world)
    return partial(Debugger, token=token.reveal(), world=world, forks=forks)


def _tools(settings: Settings, world: World) -> Door_ | None:
    """Return what serves tools, if any are to be served."""
    if not settings.bridge.mcp:
        return None
    try:
        from pelton.adapters.mcp.door import Door
    except ModuleNotFoundError as error:
        raise SettingsError("bridge.mcp needs more: pip install 'pelton[mcp]'") from error
    return Door(settings.bridge.mcp, code=settings.executor.agents, world=world)


def _signer(given: BridgeSettings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what signs cards with the key of the settings."""
    try:
        from pelton.adapters.a2a import signing
    except ModuleNotFoundError as error:
        raise SettingsError("bridge.card_key needs more: pip install 'pelton[signing]'") from error
    keys = signing.load_keys(Path(given.card_key))
    signing.sign({}, keys)  # whether it can be done is known before anything is served
    return lambda card: signing.sign(card, keys, jku=given.card_jku)


async def _grpc(
    stack: contextlib.AsyncExitStack,
    serving: Bridge,
    given: BridgeSettings,
    tls: Tls | None,
    world: World,
) -> str:
    """Serve gRPC too, while the stack lasts; returns the address for cards."""
    try:
        from pelton.adapters.a2a.grpc_server import Service, serve_grpc
    except ModuleNotFoundError as error:
        raise SettingsError("bridge.grpc needs more: pip install 'pelton[grpc]'") from error
    assert given.grpc is not None
    service = Service.on(serving, world=world)
    try:
        port = await stack.enter_async_context(
            serve_grpc(service, given.grpc.host, given.grpc.port, tls=tls)
        )
    except OSError as error:
        raise SettingsError(
            f"bridge.grpc: {given.grpc} cannot be listened on: choose another port, or 0 for any"
        ) from error
    return given.public_grpc or (f":{port}" if given.public_url else f"{given.grpc.host}:{port}")


async def projector(settings: Settings, stop: Stop, anew: Anew, ready: Ready) -> None:
    """Keep the read models up to date until told to stop."""
    from pelton.adapters.telemetry.opened import open_telemetry
    from pelton.adapters.telemetry.standing import position
    from pelton.projections.store import open_store
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.projector import Projector
    from pelton.runtime.snapshots import Keeping, Snapshots

    world = RealWorld()
    async with (
        open_telemetry(settings, "projector", world=world) as telemetry,
        contextlib.AsyncExitStack() as stack,
    ):
        projectors: list[Projector] = []
        for name, own in ((settings.nats.tenant, settings), *_others(settings)):
            log = await stack.enter_async_context(
                open_log(own, name="projector", observer=telemetry)
            )
            snapshots = Snapshots(_models(own))
            await snapshots.restore(log)
            store = await stack.enter_async_context(open_store(_models(own)))
            caught_up = Keeping(snapshots, store).caught_up
            projectors.append(Projector(log, store, world=world, caught_up=caught_up))
            telemetry.read(partial(position, name, projectors[-1]))
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(each.run()) for each in projectors]
            running.append(group.create_task(anew.say(settings)))
            ready({"metrics": telemetry.url})
            await stop.asked.wait()
            for task in running:
                task.cancel()  # what it has not taken in yet is in the log


def _others(settings: Settings) -> list[tuple[str, Settings]]:
    """Return the settings of each tenant but the first, by name."""
    return [(name, settings.of_tenant(name)) for name in settings.tenants]


async def _cancel(task: asyncio.Task[None], stop: Stop) -> None:
    """End a task at once if told to hurry."""
    await stop.again.wait()
    task.cancel()


def _models(settings: Settings) -> Path:
    file = settings.projections_path
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return file


_RUN: Final[Mapping[str, Callable[[Settings, Stop, Anew, Ready], Awaitable[None]]]] = {
    "bridge": bridge,
    "executor": executor,
    "projector": projector,
}


def run_part(
    part: Part,
    settings: Settings,
    source: Source | None,
    *,
    watch: bool = False,
    ready: Ready,
) -> None:
    """Run a part until SIGTERM or SIGINT; SIGHUP reads anew what `source` and other files say.

    With `watch` that is done whenever they change, too. SIGHUP ends it if its terminal is gone.

    Raises:
        PeltonError: it cannot begin, or cannot go on.
    """
    import uvloop

    withhold_rich()
    release_rich()
    from pelton.adapters.logging import set_up
    from pelton.runtime.redaction import redactor_of

    set_up(
        level=settings.log.level,
        format=settings.log.format,
        redactor=redactor_of(settings),
    )

    threads = ThreadPoolExecutor(settings.executor.capacity, thread_name_prefix=_THREADS)

    async def run() -> None:
        # What is loaded now lives as long as the process: collections need not walk it, and with
        # thousands of short turns a second they come often enough at this distance.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        stop, anew = Stop(), Anew(source, watch=watch)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(threads)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.signal)
        loop.add_signal_handler(signal.SIGHUP, hung_up(stop.signal, anew.asked.set))
        try:
            if settings.nats.monitoring:
                await _hold_to_profile(settings)
            await _RUN[part](settings, stop, anew, ready)
        except* PeltonError as errors:
            raise first_of(errors) from errors

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
        threads.shutdown(wait=False, cancel_futures=True)
        _abandon_steps()


async def _hold_to_profile(settings: Settings) -> None:
    from pelton.runtime.diagnosis import hold_to
    from pelton.runtime.jetstream.profiles import profile

    await hold_to(profile(settings.nats.profile), settings.nats.monitoring)


def _abandon_steps() -> None:
    """End the process if a step's thread goes on: its turn is handed back, and nobody waits."""
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS):
            thread.join(_GRACE)
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)


def die_with(parent: int) -> None:
    """End when the process `parent` ends, whatever ends it: its log server is gone with it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a part for the supervisor; the settings come from it, in the environment."""
    parser = argparse.ArgumentParser(prog="pelton.adapters.cli.parts")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True, help="the pipe to say it on")
    parser.add_argument("--reads", help="the settings' file, to be watched for changes")
    parser.add_argument("--over", default="", help="the variables that override it")
    given = parser.parse_args(arguments)
    die_with(given.parent)
    os.set_inheritable(given.ready, False)  # noqa: FBT003  what we start must not hold it open

    def ready(facts: Mapping[str, Any]) -> None:
        os.write(given.ready, msgspec.json.encode(facts))
        os.close(given.ready)

    source = None
    if given.reads is not None and given.part == "executor":
        over = {each: os.environ[each] for each in given.over.split(",") if each in os.environ}
        source = Source(Path(given.reads) if given.reads else None, over)
    try:
        settings = load(Path(os.devnull), environment=os.environ)
        run_part(given.part, settings, source, watch=True, ready=ready)
    except PeltonError as error:
        sys.exit(f"{error.code}: {error}")


if __name__ == "__main__":
    main()
