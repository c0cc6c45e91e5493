"""An agent elsewhere, for the adapter of webhooks: an endpoint on loopback that asks a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp import web

from pelton.adapters.frameworks.conversation import Spoken
from pelton.adapters.frameworks.model import Endpoint, tool
from pelton.adapters.frameworks.model.endpoint import ask
from pelton.adapters.frameworks.webhook import WebhookAdapter
from pelton.adapters.push.addresses import origin
from pelton.adapters.push.signature import verify
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from tests.adapters.frameworks.kits import QUICK, effect, pay
from tests.runtime.clients import WORLD

SECRET: Final = b"a secret of 32 bytes for testing"
ALLOWED: Final = (origin("http://127.0.0.1"),)

_STATUS: Final = {FailureClass.VALIDATION: 400, FailureClass.AUTHORISATION: 401}


@dataclass
class Got:
    """A request as it came, its signature verified."""

    method: str
    headers: dict[str, str]
    body: Any


Handle = Callable[[Got, web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Elsewhere:
    """An endpoint, as an async context manager; `answer` says what it answers to posts."""

    answer: Handle
    url: str = ""
    got: list[Got] = field(default_factory=list)
    canceled: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/agent", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/agent"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        verify(SECRET, request.headers, data, seconds=WORLD.now().timestamp())
        got = Got(request.method, dict(request.headers), msgspec.json.decode(data))
        self.got.append(got)
        if request.method == "DELETE":
            self.canceled.set()
            return web.Response(status=204)
        try:
            return await self.answer(got, request)
        except asyncio.CancelledError:
            self.left.set()
            raise


async def streamed(request: web.Request, kind: str = "application/x-ndjson") -> web.StreamResponse:
    """Begin to stream an answer."""
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    return response


class Hosted(WebhookAdapter):
    """The adapter of an endpoint that runs while it does, and asks a model at a URL."""

    def __init__(self, model: str) -> None:
        super().__init__("http://127.0.0.1", secrets=[SECRET], allowed=ALLOWED, retry=QUICK)
        self._model = Endpoint("openai", f"{model}/v1", "scripted")
        self._around = AsyncExitStack()

    async def start(self) -> None:
        self._client = await self._around.enter_async_context(aiohttp.ClientSession())
        elsewhere = await self._around.enter_async_context(Elsewhere(self._answer))
        self.url = elsewhere.url
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        await self._around.aclose()

    async def _answer(self, got: Got, request: web.Request) -> web.StreamResponse:
        """Ask the model, and say what it says as it comes; a person is asked before it pays."""
        turn = got.body
        lines = [Spoken(each["role"], each["text"]) for each in turn["history"]]
        lines.append(Spoken("user", turn["text"]))
        if turn["answers"]:
            effect("pay")
            lines.append(Spoken("user", turn["answers"][-1]["answer"]))
        response: web.StreamResponse | None = None

        async def say(piece: object) -> None:
            nonlocal response
            response = response or await streamed(request)
            await response.write(msgspec.json.encode(piece) + b"\n")

        try:
            answer = await ask(
                self._client,
                self._model,
                system="",
                lines=lines,
                tools=[tool(pay)],
                say=lambda text: say({"text": text}),
            )
        except AgentError as error:
            if response is None:
                return web.Response(status=_STATUS.get(error.kind, 503))
            assert request.transport is not None
            request.transport.abort()
            return response
        tokens = answer.tokens
        used = {"model": "scripted", "inputTokens": tokens.read, "outputTokens": tokens.wrote}
        await say({"used": [used]})
        if answer.calls:
            await say({"ask": {"question": f"Pay {answer.calls[0].arguments['amount']}?"}})
        assert response is not None
        await response.write_eof()
        return response
