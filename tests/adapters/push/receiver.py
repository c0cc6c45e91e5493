"""A receiver of push notifications, on loopback: keeps what it gets, and answers as it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from pelton.adapters.push.addresses import origin
from pelton.adapters.push.keys import PushKeys, new_key
from pelton.adapters.push.sender import Retries
from pelton.adapters.push.service import Pushing
from pelton.adapters.push.webhooks import open_webhooks
from tests.adapters.a2a.world import WORLD, until

ALLOWED = ("http://localhost", "http://127.0.0.1")
QUICK = Retries(attempts=4, first=0.02, longest=0.1)


@dataclass
class Got:
    """A notification as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    json: Any

    @property
    def kind(self) -> str:
        """Which of a StreamResponse it is, and the state of the task if it tells one."""
        [(name, value)] = self.json.items()
        state = value.get("status", {}).get("state", "")
        return f"{name} {state.removeprefix('TASK_STATE_').lower()}".rstrip()


async def taken(_: Got) -> web.StreamResponse:
    """Take everything."""
    return web.Response()


async def refused(_: Got) -> web.StreamResponse:
    """Take nothing."""
    return web.Response(status=503)


@dataclass
class Receiver:
    """What it `got`, of all that was `tried`, in order; `answer` decides what is answered."""

    url: str = ""
    got: list[Got] = field(default_factory=list)
    tried: list[Got] = field(default_factory=list)
    answer: Callable[[Got], Awaitable[web.StreamResponse]] = taken

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take a notification."""
        body = await request.read()
        got = Got(request.path, dict(request.headers), body, await request.json())
        self.tried.append(got)
        response = await self.answer(got)
        if response.status == 200:
            self.got.append(got)
        return response

    def kinds(self, path: str = "/hook") -> list[str]:
        """Return what it has taken under a path."""
        return [each.kind for each in self.got if each.path == path]

    async def until(self, count: int, path: str = "/hook", within: float = 10.0) -> list[str]:
        """Wait until it has taken so many under a path."""
        await until(lambda: len(self.kinds(path)) >= count, within)
        return self.kinds(path)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncGenerator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        receiver.url = f"http://localhost:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


async def nowhere(host: str, port: int) -> Sequence[str]:
    """Resolve nothing: configs of any host may be created, and nothing leaves this machine."""
    raise OSError(f"{host}:{port} is not looked up")


@asynccontextmanager
async def pushing(data: Path, retries: Retries = QUICK, **options: Any) -> AsyncGenerator[Pushing]:
    """Give what a bridge sends with; loopback is allowed."""
    file = data / "push-keys.json"
    if not file.exists():
        new_key(file, world=WORLD)
    allowed = [origin(each) for each in ALLOWED]
    async with open_webhooks(allowed, world=WORLD, **options) as webhooks:
        yield Pushing(PushKeys(file, world=WORLD), webhooks, retries)
