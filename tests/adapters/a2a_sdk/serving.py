"""An application of the official SDK, on its own routes, with the handler that makes it durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn
from a2a.server.request_handlers import GrpcHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.types import a2a_pb2 as pb
from a2a.types import a2a_pb2_grpc as rpc
from grpc import aio
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from pelton.adapters.a2a.server import bind
from pelton.adapters.a2a_sdk.handler import DurableRequestHandler
from pelton.runtime.settings import ExecutorSettings, NatsSettings, Secret, Settings
from tests.adapters.a2a_sdk import sample

MORE = pb.AgentSkill(id="more", name="More", description="Does more.", tags=["more"])


def card() -> pb.AgentCard:
    """Return a card of the sample agent that declares what there is."""
    made = pb.AgentCard()
    made.CopyFrom(sample.agent_card)
    made.capabilities.streaming = True
    made.capabilities.extended_agent_card = True
    made.capabilities.extensions.add(uri="urn:known")
    return made


def extended() -> pb.AgentCard:
    """Return what the extended card says."""
    made = card()
    made.skills.append(MORE)
    return made


def settings(data: Path, nats_url: str = "") -> Settings:
    """Return the settings of a handler: a log on a server, or one of its own."""
    url = Secret(nats_url) if nats_url else None
    return Settings(
        data=str(data),
        nats=NatsSettings(url=url, profile="relaxed"),
        executor=ExecutorSettings(stop_within=0.5),
    )


class ByName(AuthenticationBackend):
    """Believes whoever says a name: applications of the SDK see to authentication themselves."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


def application(handler: DurableRequestHandler, card: pb.AgentCard) -> Starlette:
    """Return the SDK's routes on a handler, which opens with the application."""
    return Starlette(
        routes=[
            *create_agent_card_routes(card),
            *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
            *create_rest_routes(handler),
        ],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByName())],
        lifespan=handler.lifespan,
    )


@asynccontextmanager
async def serving(handler: DurableRequestHandler, card: pb.AgentCard) -> AsyncGenerator[str]:
    """Serve all three bindings of the SDK on free ports; gives the URL of the HTTP ones."""
    listening, server = bind("127.0.0.1", 0), aio.server()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    cast("Any", rpc).add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
    port = server.add_insecure_port("127.0.0.1:0")
    for binding, where in (
        ("JSONRPC", f"{url}/"),
        ("HTTP+JSON", url),
        ("GRPC", f"127.0.0.1:{port}"),
    ):
        card.supported_interfaces.add(url=where, protocol_binding=binding, protocol_version="1.0")
    config = uvicorn.Config(
        application(handler, card), log_config=None, timeout_graceful_shutdown=2
    )
    http = uvicorn.Server(config)
    running = asyncio.create_task(http.serve([listening]))
    async with asyncio.timeout(20):
        while not http.started:
            assert not running.done(), running.result()
            await asyncio.sleep(0.005)
    await server.start()
    try:
        yield url
    finally:
        await server.stop(None)
        http.should_exit = True
        await running
