"""The gRPC binding (§10): the service `lf.a2a.v1.A2AService` on a port of its own.

gRPC has no paths, so a request's `tenant` names the agent, as the agent's card asks of its clients;
without one it goes to the agent that has the root. Credentials come as metadata with the names that
they have as headers; certificates of clients are not asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple, NoReturn, Self, cast

import grpc
import msgspec
from grpc import aio

from pelton.adapters.a2a import protobuf
from pelton.adapters.a2a.app import TRACEPARENT
from pelton.adapters.a2a.asked import ASKED, Asked
from pelton.adapters.a2a.call import Call
from pelton.adapters.a2a.card import Cards
from pelton.adapters.a2a.errors import details_of, fault_of, headers_of, note, report
from pelton.adapters.a2a.extensions import Parameters, listed
from pelton.adapters.a2a.guard import MAX_BODY, check_once
from pelton.adapters.a2a.operations import OPERATIONS, Stream, Unary, operation
from pelton.adapters.a2a.requests import convert_members
from pelton.adapters.a2a.server import Bridge
from pelton.adapters.a2a.sse import WRITE_WITHIN, watched
from pelton.adapters.a2a.tenants import Route, Tenant, Tenants
from pelton.adapters.a2a.tls import Tls
from pelton.adapters.a2a.waits import SlowReader, Update
from pelton.adapters.identity.authenticator import Authenticator
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.events.card import AgentProfile
from pelton.runtime.clock import World

PACKAGE: Final = "lf.a2a.v1"
SERVICE: Final = f"/{PACKAGE}.A2AService/"

Context = aio.ServicerContext[bytes, bytes]

_ANYWHERE: Final = Route(None, [])


class Wire(NamedTuple):
    """The messages of an operation as protocol buffers; without `answer` it is empty."""

    request: str
    answer: str


WIRES: Final[Mapping[str, Wire]] = {
    "SendMessage": Wire("SendMessageRequest", "SendMessageResponse"),
    "SendStreamingMessage": Wire("SendMessageRequest", "StreamResponse"),
    "GetTask": Wire("GetTaskRequest", "Task"),
    "ListTasks": Wire("ListTasksRequest", "ListTasksResponse"),
    "CancelTask": Wire("CancelTaskRequest", "Task"),
    "SubscribeToTask": Wire("SubscribeToTaskRequest", "StreamResponse"),
    "CreateTaskPushNotificationConfig": Wire(
        "TaskPushNotificationConfig", "TaskPushNotificationConfig"
    ),
    "GetTaskPushNotificationConfig": Wire(
        "GetTaskPushNotificationConfigRequest", "TaskPushNotificationConfig"
    ),
    "ListTaskPushNotificationConfigs": Wire(
        "ListTaskPushNotificationConfigsRequest", "ListTaskPushNotificationConfigsResponse"
    ),
    "DeleteTaskPushNotificationConfig": Wire("DeleteTaskPushNotificationConfigRequest", ""),
    "GetExtendedAgentCard": Wire("GetExtendedAgentCardRequest", "AgentCard"),
}


class Service(grpc.GenericRpcHandler):
    """Answers gRPC requests of whoever the authenticator lets in."""

    def __init__(
        self,
        tenants: Tenants,
        authenticator: Authenticator,
        cards: Cards,
        *,
        telemetry: Telemetry,
        world: World,
    ) -> None:
        self._tenants, self._authenticator = tenants, authenticator
        self._cards, self._telemetry, self._world = cards, telemetry, world

    @classmethod
    def on(cls, bridge: Bridge, *, world: World) -> Self:
        """Return the service of a bridge."""
        return cls(
            *(bridge.tenants, bridge.authenticator, bridge.cards),
            telemetry=bridge.telemetry,
            world=world,
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return what answers a method, or None if there is no such method."""
        method = handler_call_details.method
        name = method.removeprefix(SERVICE)
        found = OPERATIONS.get(name) if method.startswith(SERVICE) else None
        if found is None:
            return None

        async def stream(data: bytes, context: Context) -> None:
            await self._answer(name, data, context)

        async def unary(data: bytes, context: Context) -> bytes:
            return await self._answer(name, data, context)

        make = cast("Any", grpc)  # its handlers are not typed through
        if isinstance(found, Stream):
            return make.unary_stream_rpc_method_handler(stream)
        return make.unary_unary_rpc_method_handler(unary)

    async def _answer(self, name: str, data: bytes, context: Context) -> bytes:
        """Answer a request: with bytes, or by writing a stream."""
        asked = Asked(self._world.monotonic(), "grpc", name)
        asked.id = self._world.new_id()
        ASKED.set(asked)  # each request has a task of its own
        for key, value in _texts(context):
            if key == "traceparent" and TRACEPARENT.fullmatch(value.encode()):
                asked.traceparent = value
        with self._telemetry.request(asked):
            return await self._respond(asked, data, context)

    async def _respond(self, asked: Asked, data: bytes, context: Context) -> bytes:
        name, leave, answer = asked.method, _nothing, b""
        try:
            given = _metadata(context)
            principal = await self._authenticator.principal(given)
            tenant = self._tenants.of(principal.tenant, _ANYWHERE)
            tenant.limits.take(principal.id)
            leave = tenant.limits.enter(principal.id)
            asked.tenant = tenant.name
            value = protobuf.from_bytes(f"{PACKAGE}.{WIRES[name].request}", data)
            profile = _agent(tenant, value.get("tenant", ""))
            call = Call(
                *(profile, principal, asked.id, asked.traceparent),
                parameters=_parameters(given, context),
                push=self._cards.push,
            )
            if profile.extended_skills is not None:
                base = self._cards.base(prefix=self._tenants.home(tenant).prefix)
                call = call._replace(card=self._cards.of(profile, base))
            found = operation(call, name)
            params = convert_members(value, found.request)
            if call.active:
                await context.send_initial_metadata((("a2a-extensions", ", ".join(call.active)),))
            if isinstance(found, Unary):
                answer = _bytes(name, await found.run(tenant.engine, call, params))
                self._telemetry.answered(asked)
            else:
                updates = found.run(tenant.engine, call, params)
                look = self._authenticator.again(given)
                await self._stream(asked, watched(updates, look) if look else updates, context)
        except Exception as error:
            if isinstance(error, aio.AbortError):
                raise
            if not asked.answered:
                note(error)
                self._telemetry.answered(asked)
            await _abort(error, asked.id, context)
        finally:
            leave()
        return answer

    async def _stream(
        self, asked: Asked, stream: AsyncGenerator[Update | None], context: Context
    ) -> None:
        async with aclosing(stream) as updates:
            async for update in updates:
                if not asked.answered:
                    self._telemetry.answered(asked)
                if update is None:
                    continue  # HTTP/2 itself sees whether the other side lives
                try:
                    async with asyncio.timeout(WRITE_WITHIN):
                        await context.write(_bytes(asked.method, update.response))
                except TimeoutError:
                    raise SlowReader("the stream was not read") from None


def _nothing() -> None:
    """Put down what was not taken."""


def _metadata(context: Context) -> dict[bytes, bytes]:
    """Return the metadata of a request as headers.

    Raises:
        InvalidRequest: it says twice what decides something.
    """
    every = [(key.encode(), value.encode()) for key, value in _texts(context)]
    check_once(every)
    return dict(every)


def _texts(context: Context) -> Iterator[tuple[str, str]]:
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            yield key, value


def _parameters(given: Mapping[bytes, bytes], context: Context) -> Parameters:
    def text(name: bytes) -> str:
        return given.get(name, b"").decode()

    return Parameters(
        text(b"a2a-version"),
        listed(value for key, value in _texts(context) if key == "a2a-extensions"),
        text(b"last-event-id"),
        text(b"idempotency-key") if b"idempotency-key" in given else None,
    )


def _agent(tenant: Tenant, name: str) -> AgentProfile:
    """Return the agent that a request names, or that has the root.

    Raises:
        UnknownAgent: there is none.
    """
    agent = tenant.agents.find(name) if name else tenant.agents.default
    if agent is None:
        raise tenant.agents.unknown()
    return agent.profile


def _bytes(name: str, answer: Any) -> bytes:
    if not WIRES[name].answer:
        return b""
    return protobuf.to_bytes(f"{PACKAGE}.{WIRES[name].answer}", msgspec.to_builtins(answer))


async def _abort(error: Exception, correlation: str, context: Context) -> NoReturn:
    """Answer with an error: its status, and the details of it as A2A has them (§10.6)."""
    report(error, correlation)
    status = grpc.StatusCode[fault_of(error).status]
    message, details = details_of(error, correlation)
    number: int = status.value[0]
    trailer = protobuf.to_bytes(
        "google.rpc.Status", {"code": number, "message": message, "details": details}
    )
    more = [(key.decode(), value.decode()) for key, value in headers_of(error)]
    await context.abort(status, message, (("grpc-status-details-bin", trailer), *more))
    raise AssertionError("abort raises")


@asynccontextmanager
async def serve_grpc(
    service: Service, host: str, port: int, *, tls: Tls | None = None
) -> AsyncGenerator[int]:
    """Serve gRPC while the context lasts; gives the port. What runs at its end is cut off.

    With `tls`, over TLS alone.

    Raises:
        OSError: the address cannot be had.
    """
    server = aio.server(
        handlers=(service,),
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_BODY),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 64 * 1024),
            ("grpc.http2.max_pings_without_data", 0),
        ),
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, _secured(tls))
    except RuntimeError as error:
        raise OSError(None, "gRPC cannot listen there", address) from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def _secured(tls: Tls) -> grpc.ServerCredentials:
    """Return what gRPC is made secure with: the certificate as it is when somebody connects."""
    known = tls.pair

    def renewed() -> Any:  # None if there is no other, which its types do not know
        nonlocal known
        if tls.pair == known:
            return None
        known = tls.pair
        return grpc.ssl_server_certificate_configuration([known])

    first = grpc.ssl_server_certificate_configuration([known])
    return grpc.dynamic_ssl_server_credentials(first, renewed)
