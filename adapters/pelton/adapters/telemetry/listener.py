"""`/metrics` of a part that has no other listener: on a port of its own, to read alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator, MutableMapping
from typing import Any, Final

import uvicorn

from pelton.adapters.a2a.errors import (
    AuthDenied,
    MethodNotAllowed,
    PathNotFound,
    as_plain,
    fault_of,
    headers_of,
)
from pelton.adapters.a2a.guard import Guard, check_once, is_loopback
from pelton.adapters.a2a.sse import Receive, Reply, Send, send_reply
from pelton.adapters.telemetry.metrics import CONTENT_TYPE
from pelton.adapters.telemetry.telemetry import Telemetry
from pelton.events.errors import PeltonError
from pelton.runtime.settings import Address, SettingsError
from pelton.runtime.telemetry_settings import TelemetrySettings

_AT_ONCE: Final = 16
_IDLE: Final = 5
_END_WITHIN: Final = 1


class _App:
    """Answers whoever reads the metrics, and has the token if there is one."""

    def __init__(self, telemetry: Telemetry, host: str, *, open_: bool) -> None:
        self._telemetry, self._open = telemetry, open_
        self._guard = Guard(host, ())

    async def __call__(self, scope: MutableMapping[str, Any], _: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            reply = await self._answer(scope)
        except PeltonError as error:
            reply = Reply(fault_of(error).http, as_plain(error), headers=headers_of(error))
        await send_reply(send, reply)

    async def _answer(self, scope: MutableMapping[str, Any]) -> Reply:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        check_once(scope["headers"])
        self._guard.check(headers)
        if scope["path"] != "/metrics":
            raise PathNotFound("nothing is served under this path")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET", "HEAD")
        if not (self._open or self._telemetry.opens(headers)):
            raise AuthDenied
        return Reply(200, await self._telemetry.metrics.exposition(), CONTENT_TYPE)


class _Server(uvicorn.Server):
    """Uvicorn's server; signals are the business of whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


@contextlib.asynccontextmanager
async def serve_metrics(
    given: TelemetrySettings, address: Address, telemetry: Telemetry
) -> AsyncGenerator[str]:
    """Serve the metrics at an address while the context lasts; gives their URL.

    Raises:
        SettingsError: the address cannot be had, or more than this machine reaches it and there is
            no token.
    """
    if not is_loopback(address.host) and given.token is None:
        raise SettingsError(
            f"telemetry.metrics: {address} is reached by more than this machine: set"
            " telemetry.token, or listen on 127.0.0.1"
        )
    bound = _bind(address)
    try:
        config = uvicorn.Config(
            _App(telemetry, address.host, open_=given.token is None),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_AT_ONCE,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_END_WITHIN,
        )
        server = _Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[bound]), name="metrics")
            try:
                yield f"http://{Address(address.host, bound.getsockname()[1])}/metrics"
            finally:
                server.should_exit = True
    finally:
        bound.close()


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"telemetry.metrics: {address} cannot be listened on ({error.strerror}):"
            " choose another port, or 0 for any"
        ) from error
