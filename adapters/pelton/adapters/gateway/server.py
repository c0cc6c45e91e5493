"""The gateway itself: an HTTP server on loopback, in the process of an executor.

It listens from the first route on. Who knows the token of a route may ask through it; without one,
or once the attempt is over, everything is refused.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self, cast

import aiohttp
import msgspec
import uvicorn

from pelton.adapters.gateway.budgets import Budgets
from pelton.adapters.gateway.calls import LONGEST, Way
from pelton.adapters.gateway.dialects import PROVIDERS, Json, dialect_of, error_of
from pelton.adapters.gateway.keeping import Keeping
from pelton.adapters.gateway.question import Question
from pelton.adapters.gateway.routes import Route, refuse
from pelton.adapters.gateway.upstream import upstreams
from pelton.adapters.quiet_server import Cut, QuietServer
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.log import Log
from pelton.runtime.model_gateway import Models

_START: Final = 10.0  # seconds to listen
_RECEIPT: Final = 30.0  # seconds that a question may take to arrive
_PATH: Final = re.compile(r"^/t/(?P<token>[\w-]+)/(?P<provider>[a-z]+)(?P<path>/.*)$")
_GO_ON: Final[tuple[str, ...]] = (
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "user-agent",
)


class Gateway:
    """Leads agents to the providers that it has keys or addresses for; `async with` it."""

    def __init__(self, settings: GatewaySettings, log: Log, *, environ: Mapping[str, str]) -> None:
        self._upstreams = upstreams(settings, environ)
        self._budgets = Budgets(settings, log)
        self._routes: dict[str, Route] = {}
        self._hosts: frozenset[str] = frozenset()
        self._url = ""
        self._starting = asyncio.Lock()
        self._server: QuietServer | None = None
        self._running: asyncio.Task[None] | None = None
        self._client: aiohttp.ClientSession | None = None

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that it leads to."""
        return tuple(self._upstreams)

    @asynccontextmanager
    async def route(self, models: Models, *, anew: bool, token: str = "") -> AsyncGenerator[Route]:
        """Open a way to models; see `runtime.model_gateway.Models.route`."""
        client = await self._started()
        way = Way(
            models=models,
            upstreams=self._upstreams,
            client=client,
            budgets=self._budgets,
            keeping=Keeping(models.blobs),
            flying=set(),
        )
        token = token or secrets.token_urlsafe(32)
        route = self._routes[token] = Route(way, token=token, host=self._url, anew=anew)
        try:
            yield route
        finally:
            del self._routes[token]
            await route.close()

    async def __aenter__(self) -> Self:
        """Begin; nothing listens before it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; who still waits for an answer is cut off."""
        if self._server is not None and self._running is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._running
        if self._client is not None:
            await self._client.close()
        await self._budgets.stop()

    async def _started(self) -> aiohttp.ClientSession:
        async with self._starting:
            if self._client is None:
                self._budgets.start()
                await self._listen()
                connector = aiohttp.TCPConnector(limit=0)
                self._client = aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar()
                )
            return self._client

    async def _listen(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        up = asyncio.Event()
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = QuietServer(config, up.set)
        self._running = asyncio.create_task(self._server.serve([listening]), name="model gateway")
        async with asyncio.timeout(_START):
            await up.wait()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        client, match = _Client(send), _PATH.match(str(scope["path"]))
        provider = match["provider"] if match else ""
        route = self._routes.get(match["token"]) if match else None
        try:
            if _headers(scope).get("host") not in self._hosts:
                raise _No(421, "This is another host.")
            if match is None or route is None:
                await refuse(client, provider)
                return
            question = await _question(scope, receive, provider, match["path"])
            if not route.leads_to(provider):
                raise _No(404, "The gateway has no key for this provider.")
        except _No as no:
            await client.whole(no.status, error_of(provider, no.status, no.why))
            return
        await _answered(route, question, client, receive)


class _No(Exception):
    """A request is nothing that can be answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def _headers(scope: Any) -> dict[str, str]:
    pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


async def _question(scope: Any, receive: Any, provider: str, path: str) -> Question:
    """Return what is asked.

    Raises:
        _No: it is nothing that can be answered.
    """
    headers = _headers(scope)
    root = PROVIDERS[provider].root if provider in PROVIDERS else ""
    path = path.removeprefix(root)
    dialect = dialect_of(provider, path)
    if dialect is None or scope["method"] != "POST":
        raise _No(404, "The gateway has nothing there.")
    if headers.get("content-encoding", "identity") != "identity":
        raise _No(415, "The gateway takes nothing that is packed.")
    try:
        body: Json = msgspec.json.decode(await _read(receive), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _No(400, "The body is no JSON object.") from None
    go_on: dict[str, str] = {name: headers[name] for name in _GO_ON if name in headers}
    return Question(dialect, path, scope["query_string"].decode("latin-1"), go_on, body)


async def _read(receive: Any) -> bytes:
    """Return a body.

    Raises:
        _No: it is too large, or does not arrive.
    """
    chunks, length, more = list[bytes](), 0, True
    try:
        async with asyncio.timeout(_RECEIPT):
            while more:
                message = await receive()
                chunk = message.get("body", b"")
                chunks.append(chunk)
                length += len(chunk)
                if length > LONGEST:
                    raise _No(413, "The question is too large.")
                more = message.get("more_body", False)
    except TimeoutError:
        raise _No(408, "The question does not arrive.") from None
    return b"".join(chunks)


async def _answered(route: Route, question: Question, client: _Client, receive: Any) -> None:
    """Have a question answered, as long as its client stays."""
    answering = route.run(question, client)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((answering, leaving), return_when="FIRST_COMPLETED")
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.wait((answering, leaving))
    if not answering.cancelled():
        answering.result()
    if answering.cancelled() or client.broken:
        raise Cut


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Client:
    """See `calls.Client`."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.begun = self.broken = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.begun = True
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def whole(self, status: int, body: Any) -> None:
        await self.start(status, {"content-type": "application/json"})
        await self.send(msgspec.json.encode(body))
        await self.end()

    def cut(self) -> None:
        self.broken = True
