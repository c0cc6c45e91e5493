"""The bridge as a server: what it needs around it, from the first socket to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from typing import Protocol as Protocol_
from urllib.parse import urlsplit

import structlog
import uvicorn

from pelton.adapters.a2a.agents import Agents
from pelton.adapters.a2a.app import App
from pelton.adapters.a2a.card import Cards
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.guard import Guard
from pelton.adapters.a2a.jsonrpc import JsonRpc
from pelton.adapters.a2a.lists import Reached, TaskLists
from pelton.adapters.a2a.protocol import MAX_FRAME, PING_EVERY, Door, Protocol, Socket
from pelton.adapters.a2a.rest import Rest
from pelton.adapters.a2a.tenants import Account, Tenant, Tenants
from pelton.adapters.a2a.tls import Tls
from pelton.adapters.api.callbacks import Callbacks, Taker
from pelton.adapters.identity.authenticator import EVERYBODY, Admission, Authenticator
from pelton.adapters.identity.limits import Limits, Rates
from pelton.adapters.quiet_server import QuietServer
from pelton.adapters.telemetry.metrics import Reading
from pelton.adapters.telemetry.standing import look, readings
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.events.a2a import JsonObject
from pelton.events.errors import PeltonError
from pelton.projections.folds import Folds
from pelton.projections.read import ReadModels
from pelton.runtime.access import Keyring
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.contexts import Contexts
from pelton.runtime.families import Families
from pelton.runtime.follow import Followers
from pelton.runtime.log import Heard, Log
from pelton.runtime.loops import Loops
from pelton.runtime.provenance import Taints
from pelton.runtime.recollection import Recollection

CANCEL_WITHIN: Final = 5.0
"""Seconds that a cancellation waits to be decided."""
_SWEEP: Final = 1.0
_KEEP_ALIVE: Final = 75

if TYPE_CHECKING:
    from pelton.adapters.debug.debugger import Debugger
    from pelton.adapters.identity.grants import Grants
    from pelton.adapters.mcp.door import Door as Door_
    from pelton.adapters.push.service import Pushing

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.a2a")


class Served(Protocol_):
    """What can be served on sockets."""

    @property
    def app(self) -> Any:
        """Its ASGI application."""
        ...

    def end_streams(self) -> None:
        """End what goes on."""
        ...

    def end_waits(self) -> None:
        """Answer all requests that wait."""
        ...


class Bridge:
    """A bridge without sockets. Made by `open_bridge`.

    `app` is its ASGI application; `grpc_server.Service` answers for the same `tenants`, once the
    `authenticator` lets in whoever asks. `cards` is told where. `telemetry` hears of requests.
    """

    def __init__(
        self,
        app: App,
        tenants: Tenants,
        authenticator: Authenticator,
        cards: Cards,
        telemetry: Telemetry,
    ) -> None:
        self.app: Any = app
        self.tenants = tenants
        self.authenticator, self.cards, self.telemetry = authenticator, cards, telemetry

    def end_streams(self) -> None:
        """End all streams cleanly; clients subscribe again, here or elsewhere."""
        for tenant in self.tenants:
            tenant.engine.reader.end_streams()

    def end_waits(self) -> None:
        """Answer all requests that wait with their task as it is."""
        for tenant in self.tenants:
            tenant.engine.reader.end_waits()


@contextlib.asynccontextmanager
async def open_bridge(
    log: Log,
    models: ReadModels,
    *,
    folds: Folds | None = None,
    reached: Reached | None = None,
    listens: str = "127.0.0.1",
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    public_url: str = "",
    default_agent: str = "",
    agents_at: Mapping[str, str] | None = None,
    legacy: bool = False,
    tenant: str = "default",
    more: Sequence[Account] = (),
    admission: Admission = EVERYBODY,
    push: Pushing | None = None,
    debug: Callable[[Tenant], Debugger] | None = None,
    tools: Door_ | None = None,
    callbacks: Mapping[str, Sequence[bytes]] | None = None,
    answer_within: float = 60.0,
    cancel_within: float = CANCEL_WITHIN,
    telemetry: Telemetry | None = None,
    world: World | None = None,
) -> AsyncGenerator[Bridge]:
    """Give a bridge on a log, while the context lasts; one that serves HTTP is `serve_bridge`.

    `folds` are those of long contexts, if they are kept. `reached` is the method of a projector in
    this process, so that lists need not look for what it has done. `listens` is the host that it is
    going to listen on, `hosts` are names that it answers to beside that of `public_url`, `origins`
    are those of pages elsewhere (see `guard.Guard`). `agents_at` leads from hosts to the agents
    that they serve at their root. With `legacy` it speaks A2A 0.3 too. `more` are tenants beside
    `tenant`. With `push` it sends push notifications. With `debug` it serves the debugger that this
    makes of the first tenant, with `tools` those of agents outside, and of operators. `callbacks`
    are the secrets, by tenant, with which answers are signed that come later. `telemetry` is what
    it tells its operators.
    """
    world = world or RealWorld()
    telemetry = telemetry or Telemetry(world=world)
    loops = Loops(world=world, observer=telemetry)
    accounts = (Account(tenant, log, models, agents_at or {}, folds), *more)
    async with contextlib.AsyncExitStack() as stack:
        served: list[Tenant] = []
        for account in accounts:
            opened = _open_tenant(
                account,
                reached=reached if account is accounts[0] else None,
                default_agent=default_agent,
                legacy=legacy,
                answer_within=answer_within,
                cancel_within=cancel_within,
                rates=admission.rates,
                push=push,
                loops=loops,
                telemetry=telemetry,
                world=world,
            )
            served.append(await stack.enter_async_context(opened))
            if tools is not None and (guests := tools.guests(served[-1])) is not None:
                await stack.enter_async_context(_kept(guests.keep(), "guests"))

        async def ready() -> JsonObject:
            states = [await _ready(each) for each in served]
            every = {name: all(state[name] for state in states) for name in states[0]}
            return every | {"loops": loops.well}

        async def standing() -> list[Reading]:
            found: list[Reading] = [("pelton_loops_down", (), float(not loops.well))]
            for each in served:
                found += await _standing(each)
            return found

        telemetry.read(standing)
        named = [host for account in accounts for host in account.hosts]
        guard = Guard(listens, (*hosts, *named, urlsplit(public_url).hostname or ""), origins)
        rings = {each.name: each.keyring for each in served}
        authenticator = Authenticator(admission, rings, world=world)
        stack.push_async_callback(authenticator.close)
        cards = Cards(public_url, legacy=legacy, security=authenticator, push=push is not None)
        tenants = Tenants(served)
        app = App(
            tenants,
            authenticator,
            guard,
            cards,
            grants=_grants(admission, served, world),
            debugger=debug(served[0]) if debug is not None else None,
            tools=tools,
            callbacks=_callbacks(callbacks or {}, served, world),
            public_cards=admission.cards,
            readiness=ready,
            telemetry=telemetry,
            world=world,
        )
        yield Bridge(app, tenants, authenticator, cards, telemetry)


@contextlib.asynccontextmanager
async def _kept(work: Coroutine[Any, Any, None], name: str) -> AsyncGenerator[None]:
    """Have some work done beside, while the context lasts."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@contextlib.asynccontextmanager
async def _open_tenant(
    account: Account,
    *,
    reached: Reached | None,
    default_agent: str,
    legacy: bool,
    answer_within: float,
    cancel_within: float,
    rates: Rates,
    push: Pushing | None,
    loops: Loops,
    telemetry: Telemetry,
    world: World,
) -> AsyncGenerator[Tenant]:
    """Give a tenant as a bridge serves it, followed live while the context lasts."""
    log = account.log
    contexts = Contexts(log, folds=account.folds)
    lists = TaskLists(account.models, world=world, reached=reached)
    agents = Agents(log, default=default_agent, world=world)
    keyring = Keyring(log, world=world)
    limits = Limits(rates, world=world)
    recollection = Recollection(log, world=world)
    async with (
        contextlib.aclosing(recollection),
        Followers(log, contexts, world=world) as followers,
    ):
        engine = Engine(
            log,
            contexts=contexts,
            followers=followers,
            lists=lists,
            world=world,
            tenant=account.name,
            answer_within=answer_within,
            cancel_within=cancel_within,
        )

        def heard(copy: Heard) -> None:
            lists.heard(copy.sequence)
            if not agents.heard(copy) and not keyring.heard(copy):
                followers.heard(copy)

        ends = (log.on_restored(agents.refresh), log.on_restored(keyring.refresh))
        async with log.listen("evt.>", heard):
            lasting: dict[str, Callable[[], Awaitable[None]]] = {
                "agents": agents.keep,
                "keys": keyring.keep,
                "rates": partial(limits.tell, log),
            }
            if push is not None:
                told = partial(telemetry.pushed, account.name)
                lasting["push"] = push.serve(
                    *(engine, log, contexts), told=told, world=world, tenant=account.name
                ).run
            keeping = [
                asyncio.create_task(loops.keep(name, loop), name=name)
                for name, loop in lasting.items()
            ]
            try:
                yield Tenant(
                    account=account,
                    agents=agents,
                    engine=engine,
                    keyring=keyring,
                    limits=limits,
                    lists=lists,
                    recollection=recollection,
                    taints=Taints(log),
                    rest=Rest(engine, legacy=legacy),
                    rpc=JsonRpc(engine, legacy=legacy),
                )
            finally:
                for end in ends:
                    end()
                for task in keeping:
                    task.cancel()
                await asyncio.wait(keeping)


def _grants(admission: Admission, tenants: Sequence[Tenant], world: World) -> Grants | None:
    """Return the token endpoint, if there is one."""
    if admission.signing is None:
        return None
    families = {
        each.name: Families(each.account.log, world=world, tenant=each.name, actor="bridge")
        for each in tenants
    }
    rings = {each.name: each.keyring for each in tenants}
    return admission.signing.grants(rings, families, tenants[0].limits, world=world)


def _callbacks(
    secrets: Mapping[str, Sequence[bytes]], tenants: Sequence[Tenant], world: World
) -> Callbacks | None:
    """Return what takes callbacks, if there are secrets."""
    if not any(secrets.values()):
        return None
    takers = {
        each.name: Taker(each.account.log, given, tenant=each.name, world=world)
        for each in tenants
        if (given := secrets.get(each.name))
    }
    return Callbacks(takers)


async def serve_bridge(
    bridge: Served,
    sockets: list[socket.socket],
    *,
    stop: asyncio.Event,
    stop_within: float = 10.0,
    tls: Tls | None = None,
    door: Door | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve a bridge on bound sockets until `stop` is set; then end within `stop_within` seconds.

    From `stop` on no connection is taken, streams end, and requests that wait are answered at the
    latest when half of the time is over, with their task as it is. Cancel the call to end at once.
    """
    config = uvicorn.Config(
        bridge.app,
        interface="asgi3",
        http=type("Protocol", (Protocol,), {"door": door}),
        ws=Socket,
        ws_max_size=MAX_FRAME,
        ws_ping_interval=PING_EVERY,
        ws_ping_timeout=PING_EVERY,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(stop_within)),
    )
    if tls is not None:
        config.load()
        config.ssl = tls.context
    server = QuietServer(config, ready)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=sockets), name="http")
        sweeping = tasks.create_task(_sweep(server, tls), name="sweep")
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        bridge.end_streams()
        await asyncio.wait((serving,), timeout=stop_within / 2)
        bridge.end_waits()
        await asyncio.wait((serving,))
        stopping.cancel()
        sweeping.cancel()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that its port is known before anything is served.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)  # noqa: FBT003  the socket module's own signature
    except BaseException:
        bound.close()
        raise
    return bound


async def _ready(tenant: Tenant) -> JsonObject:
    """Return what a tenant needs to be served, and whether it is there."""
    log = tenant.account.log
    return {
        "log": log.connected,
        "agents": tenant.agents.loaded,
        "keys": tenant.keyring.loaded,
        "lists": await _near(log, tenant.lists) if log.connected else False,
    }


async def _standing(tenant: Tenant) -> list[Reading]:
    """Return what metrics say of a tenant now; of what does not answer, nothing."""
    name, account = tenant.name, tenant.account
    waits = float(tenant.engine.reader.waiting)
    found: list[Reading] = [("pelton_streams", (name,), waits)]
    try:
        return [*found, *readings(name, await look(account.log, account.models))]
    except PeltonError as error:
        logger.warning("not-measured", code=error.code)
        return [*found, ("pelton_log_connected", (name,), float(account.log.connected))]


async def _near(log: Log, lists: TaskLists) -> bool:
    """Return whether the read models are near the end of the log, as far as both can be asked."""
    try:
        return await lists.near((await log.extent()).last)
    except PeltonError as error:
        logger.warning("not-ready", code=error.code)
        return False


async def _sweep(server: uvicorn.Server, tls: Tls | None) -> None:
    """End connections whose requests do not arrive; look for a new certificate."""
    while True:
        await asyncio.sleep(_SWEEP)
        if tls is not None:
            tls.look()
        now = asyncio.get_running_loop().time()
        for connection in list(server.server_state.connections):
            cast("Protocol | Socket", connection).sweep(now)
