"""Posting to receivers (S8): resolved once, checked, connected to just that; nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from pelton.adapters.push.addresses import origin
from pelton.adapters.push.sender import Retries
from pelton.adapters.push.webhooks import MAX_ANSWER, Answer, Webhooks, open_webhooks
from pelton.events.errors import InvalidInput
from tests.adapters.a2a.world import WORLD
from tests.adapters.identity.certificates import Authority

pytestmark = pytest.mark.accepts("S8")

NAME = "hooks.example.com"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Dns:
    """Answers with one list of addresses after the other; the last one for ever."""

    answers: list[Sequence[str]]
    asked: int = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        assert host
        assert port
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def listening(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[int, list[web.Request]]]:
    """Serve on loopback; gives the port, and the requests that came."""
    came: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        came.append(request)
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1], came
    finally:
        await runner.cleanup()


async def fine(_: web.Request) -> web.StreamResponse:
    return web.Response()


@asynccontextmanager
async def posting(
    *allowed: str, dns: Dns, within: float = 5.0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Webhooks]:
    origins = [origin(each) for each in allowed]
    async with open_webhooks(origins, world=WORLD, resolve=dns, within=within, tls=tls) as found:
        yield found


async def test_a_name_that_is_public_first_and_ours_then_is_not_posted_to() -> None:
    """DNS rebinding: what was checked when the config was created says nothing of later."""
    async with listening(fine) as (_, came):
        dns = Dns([["93.184.216.34"], ["127.0.0.1"]])
        async with posting(dns=dns) as webhooks:
            await webhooks.check(f"https://{NAME}/")
            assert await webhooks.post(f"https://{NAME}/", {}, b"") == Answer("address-refused")
            dns.answers = [["93.184.216.34", "127.0.0.1"]]
            assert await webhooks.post(f"https://{NAME}/", {}, b"") == Answer("address-refused")
            with pytest.raises(InvalidInput):
                await webhooks.check(f"https://{NAME}/")
        assert came == []


async def test_a_host_is_looked_up_once_and_connected_to_as_checked(tmp_path: Path) -> None:
    """The name is in TLS and in the Host header; a second answer of the DNS is never asked for."""
    authority = Authority(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*authority.vouch("hooks", f"DNS:{NAME}"))
    names: list[str] = []
    served.sni_callback = lambda _, name, __: names.append(name)
    trusted = ssl.create_default_context(cafile=authority.ca)
    async with listening(fine, served) as (port, came):
        dns = Dns([["127.0.0.1"], ["192.0.2.1"]])
        allowed = f"https://{NAME}:{port}"
        async with posting(allowed, dns=dns, tls=trusted) as webhooks:
            assert await webhooks.post(f"{allowed}/a?b=%2f", {"X-A": "b"}, b"body") == Answer()
            assert await webhooks.post(f"{allowed}/a", {}, b"") == Answer()  # the same connection
        assert dns.asked == 1
        assert names == [NAME]
        assert [each.host for each in came] == [f"{NAME}:{port}"] * 2
        assert came[0].raw_path == "/a?b=%2f"
        assert came[0].headers["X-A"] == "b"


async def test_a_receiver_that_shows_another_name_is_told_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*authority.vouch("hooks", "DNS:other.example.com"))
    async with listening(fine, served) as (port, came):
        allowed = f"https://{NAME}:{port}"
        for tls in (ssl.create_default_context(cafile=authority.ca), None):
            async with posting(allowed, dns=Dns([["127.0.0.1"]]), tls=tls) as webhooks:
                assert await webhooks.post(allowed, {}, b"secret") == Answer("tls")
        assert came == []


async def test_no_redirect_is_followed() -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        location = "http://169.254.169.254/" if request.path == "/" else "/"
        return web.Response(status=302, headers={"Location": location})

    async with listening(elsewhere) as (port, came):
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]])) as webhooks:
            for path in ("/", "/again"):
                assert await webhooks.post(allowed + path, {}, b"") == Answer("http-302")
        assert len(came) == 2


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(fine) as (proxy, asked), listening(fine) as (port, came):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]])) as webhooks:
            assert await webhooks.post(allowed, {}, b"") == Answer()
        assert (len(asked), len(came)) == (0, 1)


async def test_no_cookie_goes_from_one_post_to_the_next() -> None:
    async def sweet(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    async with listening(sweet) as (port, came):
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]])) as webhooks:
            for _ in range(2):
                await webhooks.post(allowed, {}, b"")
        assert ["Cookie" in each.headers for each in came] == [False, False]


@pytest.mark.parametrize("body", ["large", "slow", "bomb"])
async def test_whatever_an_answers_body_is_it_ends(body: str) -> None:
    """What is taken is taken by its status; of the rest 64 KB are read, for a second, unpacked."""
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if body == "bomb":
            response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * (1 if body == "slow" else 65536))
                await asyncio.sleep(0.01 if body == "slow" else 0)
        finally:
            ended.set()

    async with listening(answer) as (port, _):
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]])) as webhooks:
            assert await webhooks.post(allowed, {}, b"") == Answer()
            await asyncio.wait_for(ended.wait(), 5)
    assert MAX_ANSWER == 64 * 1024


async def test_a_receiver_that_does_not_answer_is_given_up() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)  # longer than anybody waits
        return web.Response()

    async with listening(never) as (port, _):
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]]), within=0.2) as webhooks:
            assert await webhooks.post(allowed, {}, b"") == Answer("timeout")


async def test_what_cannot_be_reached_is_said_so() -> None:
    async with listening(fine) as (port, _):
        pass  # nothing listens there any more
    allowed = f"http://localhost:{port}"
    dns = Dns([["127.0.0.1"], []])
    async with posting(allowed, dns=dns) as webhooks:
        assert await webhooks.post(allowed, {}, b"") == Answer("unreachable")
        assert await webhooks.post(allowed, {}, b"") == Answer("unreachable")
        assert await webhooks.post("http://localhost:1/", {}, b"") == Answer("address-refused")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", (7, 7)),
        (timedelta(hours=1), (3500, 3600)),
        (timedelta(hours=-1), (0, 0)),
        ("soon", (0, 0)),
        ("-1", (0, 0)),
        (None, (0, 0)),
    ],
)
async def test_a_receiver_says_when_to_come_again(
    said: str | timedelta | None, seconds: tuple[float, float]
) -> None:
    if isinstance(said, timedelta):
        said = format_datetime(WORLD.now() + said, usegmt=True)
    headers = {"Retry-After": said} if said else {}

    async def later(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers=headers)

    async with listening(later) as (port, _):
        allowed = f"http://localhost:{port}"
        async with posting(allowed, dns=Dns([["127.0.0.1"]])) as webhooks:
            answer = await webhooks.post(allowed, {}, b"")
    assert answer.reason == "http-429"
    assert seconds[0] <= answer.again <= seconds[1]


def test_waits_grow_with_chance_and_end() -> None:
    retries = Retries(first=1.0, longest=60.0)
    for attempt, whole in ((1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (10_000, 60.0)):
        assert retries.wait(attempt, 0.0, 0.0) == whole
        assert retries.wait(attempt, 0.0, 1.0) == whole / 2
    assert retries.wait(1, 30.0, 0.5) == 30.0
    assert retries.wait(1, 10_000.0, 0.5) == 60.0
