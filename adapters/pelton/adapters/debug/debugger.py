"""The debugger as the bridge serves it: the files of the page, its API, and what is new."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
import structlog

from pelton.adapters.a2a.errors import MethodNotAllowed, PathNotFound, fault_of
from pelton.adapters.a2a.guard import check_media_type, read_body
from pelton.adapters.a2a.requests import HttpRequest
from pelton.adapters.a2a.sse import EventStream, Receive, Reply, begin
from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.a2a.waits import Update
from pelton.adapters.api import live
from pelton.adapters.api.routes import parse_query
from pelton.adapters.api.shapes import (
    Failure,
    Problem,
    Query,
)
from pelton.adapters.debug import assets, routes
from pelton.adapters.debug.desk import Desk
from pelton.adapters.debug.forks import Forks
from pelton.adapters.debug.gate import HEADERS, Gate
from pelton.events.errors import PeltonError
from pelton.events.subjects import parse
from pelton.runtime.clock import World
from pelton.runtime.log import Record

ROOT: Final = "debug"
"""The first segment of its paths."""
_READ: Final = ("GET", "HEAD")
_FRESH: Final = (b"cache-control", b"no-store")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.debug")


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What has come: up to which record, and about which contexts, each as agent and id."""

    last: int
    contexts: tuple[tuple[str, str], ...]


class _Position(Query, frozen=True, kw_only=True):
    after: str = ""


class Debugger:
    """Answers requests for paths below `/debug`, of whoever has this run's `token`.

    Without `forks` it makes none.
    """

    root: Final = ROOT

    def __init__(
        self, tenant: Tenant, *, token: str, world: World, forks: Forks | None = None
    ) -> None:
        self._tenant = tenant
        self._gate = Gate(token)
        self._desk = Desk(tenant, forks=forks, world=world)
        self._assets = assets.load()

    async def answer(
        self,
        scope: Mapping[str, Any],
        path: list[str],
        headers: Mapping[bytes, bytes],
        receive: Receive,
        extra: list[tuple[bytes, bytes]],
    ) -> Reply | EventStream | None:
        """Return the answer to a request; `path` follows `/debug`. Adds to the answer's headers.

        Raises:
            PeltonError: it may not be.
        """
        extra += [*HEADERS, _FRESH]
        if scope["type"] != "http":
            raise PathNotFound("the debugger has no WebSockets")
        self._gate.check_place(headers, scheme=scope["scheme"])
        method = scope["method"]
        if path[:1] == ["api"]:
            self._gate.check(headers)
            return await self._api(scope, path[1:], headers, receive)
        if method not in _READ:
            raise MethodNotAllowed(*_READ)
        if path in ([], [""]):
            return self._page(scope, headers, extra)
        found = self._assets.get("/".join(path))
        if found is None or found.media_type.startswith(b"text/html"):
            raise PathNotFound("nothing is served under this path")
        return Reply(200, found.data, found.media_type)

    def _page(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        extra: list[tuple[bytes, bytes]],
    ) -> Reply:
        """Return the page; or exchange the token; or say how one gets in."""
        scheme = scope["scheme"]
        try:
            cookie = self._gate.exchange(scope["query_string"], headers, scheme=scheme)
        except PeltonError:
            return self._html("locked.html", 401)
        if cookie is not None:
            extra += [(b"set-cookie", cookie), (b"location", b"/debug")]
            return Reply(303, b"", b"text/plain")
        if not self._gate.admits(headers):
            return self._html("locked.html", 401)
        return self._html("index.html", 200)

    def _html(self, name: str, status: int) -> Reply:
        found = self._assets[name]
        return Reply(status, found.data, found.media_type)

    async def _api(
        self,
        scope: Mapping[str, Any],
        path: list[str],
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> Reply | EventStream | None:
        method, body = scope["method"], b""
        try:
            if method not in _READ:
                check_media_type(headers)
                received = await read_body(receive, headers)
                if received is None:
                    return None  # whoever asked has gone
                body = received
            request = HttpRequest(method, path, scope["query_string"], body)
            if path == ["live"]:
                return await begin(
                    self._news(request, headers),
                    msgspec.json.encode,
                    lambda error: _failure(error).body,
                )
            return Reply(200, msgspec.json.encode(await routes.answer(self._desk, request)))
        except Exception as error:  # noqa: BLE001  this is the boundary: every error is an answer
            return _failure(error)

    async def _news(
        self, request: HttpRequest, headers: Mapping[bytes, bytes]
    ) -> AsyncGenerator[Update | None]:
        """Yield what has come after a position, and what comes."""
        asked = parse_query(request.query, _Position)
        position = headers.get(b"last-event-id", b"").decode("latin-1").strip() or asked.after
        last = (await self._tenant.account.log.extent()).last
        after = live.after_of(position, last) if position else last
        yield None
        async with aclosing(live.grown(self._tenant, after=after)) as batches:
            async for batch in batches:
                yield Update(batch[-1].sequence, _news_of(batch)) if batch else None


def _news_of(batch: Any) -> Any:
    contexts = dict.fromkeys(place for record in batch if (place := _place(record)) is not None)
    return News(last=batch[-1].sequence, contexts=tuple(contexts))


def _place(record: Record) -> tuple[str, str] | None:
    subject = parse(record.subject)
    return (subject.agent, subject.context) if subject.context else None


def _failure(error: Exception) -> Reply:
    """Return an answer that says what is wrong, in full: whoever reads it is the developer."""
    fault = fault_of(error)
    if isinstance(error, PeltonError):
        code, message = error.code, str(error)
    else:
        logger.error("debugger-failed", exc_info=error)
        code, message = "internal", "the debugger failed: its bridge's log says why"
    status = 404 if code.endswith(("-not-found", "-missing")) else fault.http
    problem = Problem(code=code, message=message, detail={})
    return Reply(status, msgspec.json.encode(Failure(error=problem)))
