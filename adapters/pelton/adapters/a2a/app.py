"""The bridge as a bare ASGI application: paths, headers and bodies in, answers out.

A WebSocket is a GET whose answer is sent another way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
import structlog

from pelton.adapters.a2a import card, jsonrpc, rest, sockets
from pelton.adapters.a2a.agents import Registered
from pelton.adapters.a2a.asked import ASKED, GONE, Asked
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.card import Cards
from pelton.adapters.a2a.errors import (
    HttpError,
    MethodNotAllowed,
    NotReady,
    ScopeMissing,
    as_plain,
    fault_of,
    headers_of,
    note,
    report,
)
from pelton.adapters.a2a.extensions import Parameters, listed
from pelton.adapters.a2a.guard import Guard, check_media_type, check_once, read_body
from pelton.adapters.a2a.requests import HttpRequest
from pelton.adapters.a2a.sse import (
    EventStream,
    Presence,
    Receive,
    Reply,
    Send,
    begin,
    lasting,
    send_events,
    send_reply,
)
from pelton.adapters.a2a.tenants import Route, Tenant, Tenants
from pelton.adapters.a2a.waits import SlowReader
from pelton.adapters.api import live, routes
from pelton.adapters.api.openapi import openapi
from pelton.adapters.api.route import Knock
from pelton.adapters.api.routes import INSPECT
from pelton.adapters.identity.authenticator import Authenticator
from pelton.adapters.telemetry.metrics import CONTENT_TYPE
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.events.a2a import JsonObject
from pelton.events.errors import PeltonError
from pelton.events.principal import Principal
from pelton.runtime.clock import World

CUT_OFF: Final = "pelton.cut_off"
"""The extension of the scope that ends a connection at once, whatever waits to be written."""
CERTIFICATE: Final = "pelton.certificate"
"""The extension of the scope that holds the client's certificate, if it showed one."""
TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""What the header of W3C Trace Context of that name is."""

_LEAVE: Final = "pelton.leave"
_EXTENSIONS: Final = (b"a2a-extensions", b"x-a2a-extensions")
_READ: Final = ("GET", "HEAD")
_BODILESS: Final = ("GET", "HEAD", "DELETE", "OPTIONS")
_HEALTH: Final = (["healthz"], ["readyz"])
METRICS: Final = "metrics"
"""The path under which Prometheus reads, unless an agent has that name."""

if TYPE_CHECKING:
    from pelton.adapters.api.callbacks import Callbacks
    from pelton.adapters.debug.debugger import Debugger
    from pelton.adapters.identity.grants import Grants
    from pelton.adapters.mcp.door import Door

Scope = MutableMapping[str, Any]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.a2a")


class App:
    """Serves all agents of all tenants, over JSON-RPC and HTTP+JSON.

    With `public_cards`, agents' cards are for everybody; all else is for those who are let in. The
    debugger, if there is one, lets in by itself.
    """

    def __init__(
        self,
        tenants: Tenants,
        authenticator: Authenticator,
        guard: Guard,
        cards: Cards,
        *,
        public_cards: bool = True,
        grants: Grants | None = None,
        debugger: Debugger | None = None,
        tools: Door | None = None,
        callbacks: Callbacks | None = None,
        readiness: Callable[[], Awaitable[JsonObject]],
        telemetry: Telemetry,
        world: World,
    ) -> None:
        self._tenants = tenants
        self._authenticator = authenticator
        self._guard = guard
        self._cards, self._public_cards = cards, public_cards
        self._grants, self._debugger, self._tools = grants, debugger, tools
        self._callbacks = callbacks
        self._readiness, self._telemetry = readiness, telemetry
        self._world = world
        self._openapi = msgspec.json.encode(openapi())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error is an answer."""
        is_socket = scope["type"] == "websocket"
        if is_socket:
            await receive()  # that it wants to connect
            sockets.as_request(scope)
        elif scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        asked = Asked(self._world.monotonic())
        ASKED.set(asked)  # each request has a task of its own
        try:
            if len(headers) != len(scope["headers"]):
                check_once(scope["headers"])
            (self._guard.check_socket if is_socket else self._guard.check)(headers)
        except PeltonError as error:
            reply = plain(error)
            self._telemetry.answered(asked)
            await (sockets.refuse if is_socket else send_reply)(send, reply)
            return
        extra: list[tuple[bytes, bytes]] = []
        traceparent = headers.get(b"traceparent")
        if traceparent is not None and TRACEPARENT.fullmatch(traceparent):
            extra.append((b"traceparent", traceparent))
            asked.traceparent = traceparent.decode()
        asked.id = self._world.new_id()
        try:
            with self._telemetry.request(asked):
                await self._serve(scope, headers, receive, send, extra)
        finally:
            if (leave := scope.get(_LEAVE)) is not None:
                leave()

    async def _serve(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        extra: list[tuple[bytes, bytes]],
    ) -> None:
        """Answer a request that may be one, to the end of its stream."""
        is_socket = scope["type"] == "websocket"
        try:
            async with Presence(receive):
                answer = await self._answered(scope, headers, receive, extra)
                if is_socket and answer is not None:
                    offered = scope["subprotocols"]
                    await sockets.send_answer(
                        send, answer, tuple(extra), offered=offered, leaving=self._leaving
                    )
                elif isinstance(answer, Reply):
                    await send_reply(send, answer, tuple(extra))
                elif answer is not None:
                    await send_events(send, answer, tuple(extra))
        except (SlowReader, asyncio.CancelledError) as error:
            # Nobody reads; or the server stops, and has waited long enough: it owns this task and
            # wants nothing but its end.
            logger.info("request-cut-off", reason=type(error).__name__)
            cut_off = scope.get("extensions", {}).get(CUT_OFF)
            if cut_off is None:
                raise
            cut_off()

    async def _answered(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        extra: list[tuple[bytes, bytes]],
    ) -> Reply | EventStream | None:
        """Return the answer, whatever happens: what no binding has answered has a plain one."""
        asked = ASKED.get()
        try:
            return await self._answer(scope, headers, receive, extra)
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            return _plain_failure(error, asked.id)
        except BaseException:
            asked.refuse(GONE, ours=False)
            raise
        finally:
            self._telemetry.answered(asked)

    async def _answer(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        extra: list[tuple[bytes, bytes]],
    ) -> Reply | EventStream | None:
        """Return the answer, or None if nobody is there to read it; adds to its headers."""
        method, path = scope["method"], scope["raw_path"].decode("latin-1").split("/")[1:]
        asked = ASKED.get()
        if path in _HEALTH and method in _READ:
            asked.be("http", path[0])
            return await self._health(path[0])
        if self._grants is not None and "/".join(path) in self._grants.paths:
            asked.be("http", "token")
            return await self._grant(self._grants, scope, headers, receive)
        if self._debugger is not None and path[0] == self._debugger.root:
            asked.be("http", self._debugger.root)
            return await self._debugger.answer(scope, path[1:], headers, receive, extra)
        if path == [METRICS] and method in _READ and self._telemetry.opens(headers):
            return await self._metrics(None, None)
        answer = await self._let_in(scope, path, headers, receive, extra)
        certificate = scope.get("extensions", {}).get(CERTIFICATE)
        return lasting(answer, self._authenticator.again(headers, certificate))

    async def _let_in(
        self,
        scope: Scope,
        path: list[str],
        headers: Mapping[bytes, bytes],
        receive: Receive,
        extra: list[tuple[bytes, bytes]],
    ) -> Reply | EventStream | None:
        """Return the answer to whoever may ask for what a path leads to."""
        method = scope["method"]
        route = self._tenants.route(headers.get(b"host", b""), path)
        call_id = ASKED.get().id
        is_card = method in _READ and _below(route.path)[-2:] == card.WELL_KNOWN
        if is_card and self._public_cards and route.tenant is not None:
            return self._card(route.tenant, route, scope, headers, call_id)
        if self._callbacks is not None and (method, *route.path[:2]) == routes.CALLBACK:
            return await self._callbacks.answer(route, scope, headers, receive)
        try:
            certificate = scope.get("extensions", {}).get(CERTIFICATE)
            principal = await self._authenticator.principal(headers, certificate)
            tenant = self._tenants.of(principal.tenant, route)
            tenant.limits.take(principal.id)
            scope[_LEAVE] = tenant.limits.enter(principal.id)
            ASKED.get().tenant = tenant.name
        except PeltonError as error:
            return _failure(route.path, method)(error, call_id)
        if is_card:
            return self._card(tenant, route, scope, headers, call_id)
        if method in _READ and route.path == [""]:
            return self._directory(tenant, route, scope, headers)
        if method in _READ and route.path == [METRICS] and tenant.agents.find(METRICS) is None:
            return await self._metrics(tenant, principal)
        if route.path[0] == routes.ROOT and tenant.agents.find(routes.ROOT) is None:
            request = HttpRequest(method, route.path[1:], scope["query_string"], b"")
            base = self._base(route, scope, headers)
            caller = tenant, principal
            return await self._own(*caller, request, headers, receive, base=base, call_id=call_id)
        return await self._a2a(
            *(tenant, principal, route), scope=scope, headers=headers, receive=receive, extra=extra
        )

    async def _a2a(
        self,
        tenant: Tenant,
        principal: Principal,
        route: Route,
        *,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        extra: list[tuple[bytes, bytes]],
    ) -> Reply | EventStream | None:
        """Return what an agent's URL answers."""
        method, asked = scope["method"], ASKED.get()
        call_id = asked.id
        agent, path = find(tenant, route)
        if agent is None:
            return _failure(path, method)(tenant.agents.unknown(), call_id)
        try:
            if not path and method != "POST":
                raise MethodNotAllowed("POST")
            body = await self._body(method, headers, receive, needed=not path)
        except HttpError as error:
            return (rest.failure if path else jsonrpc.failure)(error, call_id)
        if body is None:
            return None
        request = HttpRequest(method, path, scope["query_string"], body)
        asked.binding = "rest" if path else "jsonrpc"
        parameters = _parameters(scope["headers"], headers, request.query)
        call = Call(
            agent.profile, principal, call_id, asked.traceparent, parameters, push=self._cards.push
        )
        if agent.profile.extended_skills is not None:
            base = self._base(route, scope, headers)
            call = call._replace(card=self._cards.of(agent.profile, base))
        if call.active:
            extra.append((b"a2a-extensions", ", ".join(call.active).encode()))
        return await (tenant.rest if path else tenant.rpc).answer(call, request)

    async def _metrics(self, tenant: Tenant | None, principal: Principal | None) -> Reply:
        """Return the metrics: what is of a tenant alone, if that is not the only one."""
        ASKED.get().be("http", METRICS)
        own = None
        if tenant is not None and principal is not None:
            if not principal.may(INSPECT):
                return plain(ScopeMissing(INSPECT))
            own = tenant.name if len(self._tenants) > 1 else None
        return Reply(200, await self._telemetry.metrics.exposition(own), CONTENT_TYPE)

    async def _own(
        self,
        tenant: Tenant,
        principal: Principal,
        request: HttpRequest,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        *,
        base: str,
        call_id: str,
    ) -> Reply | EventStream | None:
        """Return what our own API answers."""
        ASKED.get().binding = "api"
        if request.path == ["openapi.json"] and request.method in _READ:
            return Reply(200, self._openapi)
        try:
            if self._tools is not None and request.path[:1] == [routes.TOOLS]:
                knock = Knock(request.method, request.path[1:], headers, receive, base, call_id)
                return await self._tools.answer(tenant, principal, knock)
            if request.path == live.PATH:
                if request.method != "GET":
                    raise MethodNotAllowed("GET")
                ASKED.get().method = "live"
                position = headers.get(b"last-event-id", b"").decode("latin-1").strip()
                updates = live.follow(tenant, principal, request.query, position)
                return await begin(
                    updates, msgspec.json.encode, lambda error: _plain_failure(error, call_id).body
                )
            found = await routes.answer(
                tenant, principal, request, url=lambda name: f"{base}/{name}"
            )
            return Reply(200, msgspec.json.encode(found))
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            return _plain_failure(error, call_id)

    @staticmethod
    async def _grant(
        grants: Grants,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> Reply | None:
        """Return what the built-in issuer answers."""
        method, name = scope["method"], scope["raw_path"].decode("latin-1")[1:]
        allowed = grants.paths[name]
        try:
            if method not in allowed:
                raise MethodNotAllowed(*allowed)
            if method in _READ:
                return grants.document(name)
            grants.limits.take_address((scope.get("client") or ("",))[0])
            body = await read_body(receive, headers)
            return None if body is None else await grants.token(headers, body)
        except PeltonError as error:
            return plain(error)

    @staticmethod
    async def _body(
        method: str, headers: Mapping[bytes, bytes], receive: Receive, *, needed: bool
    ) -> bytes | None:
        """Return the body of a request, or None if its client has gone."""
        if method in _BODILESS:
            return b""
        body = await read_body(receive, headers)
        if body or (needed and body is not None):
            check_media_type(headers)
        return body

    async def _health(self, name: str) -> Reply:
        """Return whether the bridge lives, or is ready."""
        if name == "healthz":
            return Reply(200, b'{"status":"ok"}')
        state = await self._readiness()
        if not all(state.values()):
            return plain(NotReady("not ready", state))
        return Reply(200, msgspec.json.encode({"status": "ok", "detail": state}))

    def _card(
        self,
        tenant: Tenant,
        route: Route,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        call_id: str,
    ) -> Reply:
        """Return the card of the agent that a path leads to."""
        ASKED.get().be("http", "card")
        agent, path = find(tenant, route)
        if agent is None or path != card.WELL_KNOWN:
            return rest.failure(tenant.agents.unknown(), call_id)
        shown = self._cards.shown(agent.profile, self._base(route, scope, headers))
        return card.answer(shown, agent.since, headers)

    def _directory(
        self, tenant: Tenant, route: Route, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> Reply:
        """Return whom the bridge serves."""
        ASKED.get().be("http", "directory")
        base = self._base(route, scope, headers)
        agents = [
            {
                "name": agent.profile.name,
                "title": agent.profile.title,
                "description": agent.profile.description,
                "url": (url := f"{base}/{agent.profile.name}"),
                "card": f"{url}/{'/'.join(card.WELL_KNOWN)}",
            }
            for agent in tenant.agents
        ]
        return Reply(200, msgspec.json.encode({"agents": agents}))

    def _leaving(self) -> bool:
        """Return whether streams end because the bridge does."""
        return any(tenant.engine.reader.stopping.is_set() for tenant in self._tenants)

    def _base(self, route: Route, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """Return the URL below which a tenant's agents are."""
        used = f"{scope.get('scheme', 'http')}://{headers[b'host'].decode('ascii')}"
        return self._cards.base(used, prefix=route.prefix, is_host=route.is_host)


def find(tenant: Tenant, route: Route) -> tuple[Registered | None, list[str]]:
    """Return the agent that a request leads to, and what follows the agent's URL in its path.

    The root is the URL of the host's agent too, or the default one, save that a first segment is
    never a tenant of A2A.
    """
    path = _below(route.path)
    if path and (agent := tenant.agents.find(path[0])):
        return agent, path[1:]
    if not path or path == card.WELL_KNOWN or rest.resource(path):
        return tenant.agents.find(route.agent) if route.agent else tenant.agents.default, path
    return None, path


def _below(path: list[str]) -> list[str]:
    """Return a path without the slash at its end."""
    return path[:-1] if path and path[-1] == "" else path


def _failure(path: list[str], method: str) -> Callable[[Exception, str], Reply]:
    """Return what answers an error, for a path that leads to no agent: by what it looks like."""
    if path and path[0] == routes.ROOT:
        return _plain_failure
    is_rpc = method == "POST" and len(_below(path)) <= 1
    return jsonrpc.failure if is_rpc else rest.failure


def plain(error: Exception) -> Reply:
    """Return an answer that is no part of A2A."""
    note(error)
    return Reply(fault_of(error).http, as_plain(error), headers=headers_of(error))


def _parameters(
    every: Iterable[tuple[bytes, bytes]], headers: Mapping[bytes, bytes], query: bytes
) -> Parameters:
    """Return the service parameters of a request; `every` are its headers as they came."""
    extensions: frozenset[str] = frozenset()
    if b"a2a-extensions" in headers or b"x-a2a-extensions" in headers:  # the latter is 0.3's
        values = (value.decode("latin-1") for name, value in every if name in _EXTENSIONS)
        extensions = listed(values)
    position = headers.get(b"last-event-id", b"").decode("latin-1").strip()
    key = headers.get(b"idempotency-key")
    return Parameters(
        _version(headers, query),
        extensions,
        position,
        None if key is None else key.decode("latin-1"),
    )


def _plain_failure(error: Exception, correlation: str) -> Reply:
    report(error, correlation)
    return plain(error)


def _version(headers: Mapping[bytes, bytes], query: bytes) -> str:
    """Return the version of A2A that a request names (§3.6.1), empty if it names none."""
    version = headers.get(b"a2a-version")
    if version is None and query:
        names = {name.lower(): value for name, value in parse_qsl(query.decode("latin-1"))}
        return names.get("a2a-version", "")
    return (version or b"").decode("latin-1").strip()
