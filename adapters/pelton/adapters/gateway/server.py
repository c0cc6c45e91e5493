"""The gateway itself: an HTTP server on loopback, in the process of an executor.

It listens from the first route on. Who knows the token of a route may ask through it; without one,
or once the attempt is over, everything is refused.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import msgspec

from pelton.adapters.a2a.errors import HttpError, fault_of
from pelton.adapters.a2a.guard import Guard, read_body
from pelton.adapters.gateway.calls import LONGEST, Way
from pelton.adapters.gateway.dialects import PROVIDERS, dialect_of, error_of
from pelton.adapters.gateway.doors import Door
from pelton.adapters.gateway.keeping import Keeping
from pelton.adapters.gateway.providers import upstreams
from pelton.adapters.gateway.question import Question
from pelton.adapters.gateway.routes import Route, refuse
from pelton.adapters.loopback import HOST, Loopback
from pelton.adapters.quiet_server import Cut
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.model_gateway import Models

_IDLE: Final = 60.0  # seconds that a connection to a provider is kept for the next call
_PATH: Final = re.compile(r"^/t/(?P<token>[\w-]+)/(?P<provider>[a-z]+)(?P<path>/.*)$")
_GO_ON: Final = (b"anthropic-version", b"anthropic-beta", b"openai-beta", b"user-agent")


class Gateway:
    """Leads agents to the providers that it has keys or addresses for; `async with` it."""

    def __init__(self, settings: GatewaySettings, *, environ: Mapping[str, str]) -> None:
        self._upstreams = upstreams(settings, environ)
        self._routes: dict[str, Route] = {}
        self._guard = Guard(HOST, ())
        self._starting = asyncio.Lock()
        self._server = Loopback(self._app, name="model gateway")
        self._client: aiohttp.ClientSession | None = None

    async def door(self) -> Door:
        """Return a door for a process; it leads on while a route is open by its token."""
        await self._started()
        return Door(self._upstreams, token=secrets.token_urlsafe(32), host=self._server.url)

    @asynccontextmanager
    async def route(self, models: Models, *, anew: bool, token: str) -> AsyncGenerator[Route]:
        """Open a way to models; see `runtime.model_gateway.Models.route`."""
        client = await self._started()
        way = Way(
            models=models,
            upstreams=self._upstreams,
            client=client,
            keeping=Keeping(models.blobs),
        )
        token = token or secrets.token_urlsafe(32)
        route = self._routes[token] = Route(way, token=token, host=self._server.url, anew=anew)
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
        await self._server.stop()
        if self._client is not None:
            await self._client.close()

    async def _started(self) -> aiohttp.ClientSession:
        async with self._starting:
            if self._client is None:
                await self._server.start()
                connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
                self._client = aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar()
                )
            return self._client

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        client, match = _Client(send), _PATH.match(str(scope["path"]))
        provider = match["provider"] if match else ""
        route = self._routes.get(match["token"]) if match else None
        try:
            self._guard.check(dict(scope["headers"]))
            if match is None or route is None:
                await refuse(client, provider)
                return
            question = await _question(scope, receive, route, match)
        except _No as no:
            await client.whole(no.status, error_of(provider, no.status, str(no)))
            return
        except HttpError as error:
            status = fault_of(error).http
            await client.whole(status, error_of(provider, status, str(error)))
            return
        if question is not None:
            await _answered(route, question, client, receive)


class _No(Exception):
    """A request is nothing that can be answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


async def _question(
    scope: Any, receive: Any, route: Route, match: re.Match[str]
) -> Question | None:
    """Return what is asked, or None if who asks has gone.

    Raises:
        _No: it is nothing that can be answered.
        BodyTooLarge: it is longer than `LONGEST`.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    provider = match["provider"]
    root = PROVIDERS[provider].root if provider in PROVIDERS else ""
    path = match["path"].removeprefix(root)
    dialect = dialect_of(provider, path)
    if dialect is None or scope["method"] != "POST":
        raise _No(404, "The gateway has nothing there.")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise _No(415, "The gateway takes nothing that is packed.")
    data = await read_body(receive, headers, most=LONGEST)
    if data is None:
        return None
    query = scope["query_string"].decode("latin-1")
    told = {name.decode(): headers[name].decode("latin-1") for name in _GO_ON if name in headers}
    try:
        question = Question(dialect, path, query, data, headers=told, known=route.known)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise _No(400, "The body is no JSON object.") from None
    if not route.leads_to(provider):
        raise _No(404, "The gateway has no key for this provider.")
    return question


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

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def whole(self, status: int, body: Any) -> None:
        await self.start(status, {"content-type": "application/json"})
        await self.end(msgspec.json.encode(body))

    def cut(self) -> None:
        self.broken = True
