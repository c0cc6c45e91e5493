"""Posting to receivers, and to nothing else (S8): resolved once, checked, connected to just that.

A host is resolved when a connection is made, by a resolver that checks all addresses and gives them
to the client, which connects to one of them with the host's name in TLS and in the Host header.
Nothing is redirected, no proxy of the environment is asked, and no cookie is kept.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pelton.adapters.push.addresses import Origin, Target, check, target
from pelton.events.errors import InvalidInput
from pelton.runtime.clock import World

WITHIN: Final = 10.0
"""Seconds that a receiver has to answer, from the look-up of its name on."""
RESOLVED_WITHIN: Final = 3.0
"""Seconds for the look-up of a name when a config is created."""
MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read, so that the connection serves again; more end it."""
OF_ORIGIN: Final = 16
"""How many posts to one receiver are under way at a time."""
_DRAINED_WITHIN: Final = 1.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host for a port; raises OSError if there are none."""


class Answer(NamedTuple):
    """What came of a post. Without `reason` it was taken; `again` is for how many seconds to wait.

    `gone`: the receiver wants nothing more.
    """

    reason: str = ""
    gone: bool = False
    again: float = 0.0


class Webhooks:
    """Posts, as `open_webhooks` gives it."""

    def __init__(
        self,
        allowed: Sequence[Origin],
        *,
        resolve: Resolve,
        world: World,
        within: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._allowed, self._resolve, self._world = allowed, resolve, world
        self._timeout = aiohttp.ClientTimeout(total=within)
        self._sessions = {
            trusted: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    use_dns_cache=False,
                    resolver=_Checked(resolve, trusted=trusted),
                    ssl=tls or True,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=self._timeout,
                headers={"User-Agent": "pelton", "Accept-Encoding": "identity"},
            )
            for trusted in (False, True)
        }
        self._free: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def close(self) -> None:
        """End all connections."""
        for session in self._sessions.values():
            await session.close()

    async def check(self, url: str) -> Target:
        """Return where a URL leads, if it may be posted to as far as can be known now.

        A host that cannot be resolved is none that is refused: it is looked up again.

        Raises:
            InvalidInput: it may not.
        """
        found = target(url, self._allowed)
        if not found.trusted:
            try:
                async with asyncio.timeout(RESOLVED_WITHIN):
                    check(found, await self._resolve(found.host, found.port))
            except (OSError, TimeoutError):
                pass  # nothing is posted before it is resolved and checked
        return found

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body, and say what came of it."""
        try:
            to = target(url, self._allowed)
        except InvalidInput:  # the settings may allow less than they did
            return Answer("address-refused")
        free = self._free.setdefault(to.origin, asyncio.Semaphore(OF_ORIGIN))
        async with free:
            try:
                async with self._exchange(to, "POST", headers, body, self._timeout) as answer:
                    await _drain(answer)
                    return self._answer(answer)
            except InvalidInput:
                return Answer("address-refused")
            except TimeoutError:
                return Answer("timeout")
            except aiohttp.ClientSSLError:
                return Answer("tls")
            except (aiohttp.ClientError, OSError, ValueError):
                return Answer("unreachable")

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Give what answers a request, its own body yet to be read.

        Raises:
            InvalidInput: the URL, or an address of its host, is refused.
            TimeoutError: it took too long.
            aiohttp.ClientError: there is no answer.
        """
        to = target(url, self._allowed)
        async with self._exchange(to, method, headers, body, timeout) as answer:
            yield answer

    @asynccontextmanager
    async def _exchange(
        self,
        to: Target,
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        async with self._sessions[to.trusted].request(
            method,
            URL(to.url, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
        ) as answer:
            yield answer

    def _answer(self, answer: aiohttp.ClientResponse) -> Answer:
        if 200 <= answer.status < 300:
            return Answer()
        again = _seconds(answer.headers.get("Retry-After", ""), self._world.now())
        return Answer(f"http-{answer.status}", gone=answer.status == 410, again=again)


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read an answer's body as far as it is worth it; whatever it is, the status has come."""
    left = MAX_ANSWER
    try:
        async with asyncio.timeout(_DRAINED_WITHIN):
            while left > 0 and (piece := await answer.content.read(left)):
                left -= len(piece)
    except (TimeoutError, aiohttp.ClientError):
        left = 0
    if left <= 0:
        answer.close()


def _seconds(text: str, now: datetime) -> float:
    """Return for how long a receiver wants to be left alone (RFC 9110, 10.2.3), else 0."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


class _Checked(AbstractResolver):
    """Resolves for the client, which connects to nothing but what it is given here."""

    def __init__(self, resolve: Resolve, *, trusted: bool) -> None:
        self._resolve, self._trusted = resolve, trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host, if all of them may be connected to.

        Raises:
            InvalidInput: one of them may not.
        """
        addresses = await self._resolve(host, port)
        if not addresses:
            raise OSError("the host has no address")
        check(Target("", "", host, port, self._trusted), addresses)
        del family  # what there is of both
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for each in addresses
        ]

    async def close(self) -> None:
        """End nothing."""


async def system(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@asynccontextmanager
async def open_webhooks(
    allowed: Sequence[Origin] = (),
    *,
    world: World,
    resolve: Resolve = system,
    within: float = WITHIN,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Webhooks]:
    """Give what posts, while the context lasts.

    `allowed` are origins that may be posted to beyond the rules; `tls` is how receivers are
    verified, by the system's authorities if it is not given.
    """
    webhooks = Webhooks(allowed, resolve=resolve, world=world, within=within, tls=tls)
    try:
        yield webhooks
    finally:
        await webhooks.close()
