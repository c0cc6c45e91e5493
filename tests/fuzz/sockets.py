"""JSON-RPC over a plain socket: whatever is sent, the connection goes on, and what is next is read.

One connection for all; only what HTTP itself has to end is opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.grammar import BODIES, check

WITHIN: Final = 10.0
"""Seconds that an answer may take, on a machine that does other things too."""
AT_ONCE: Final = 200
"""How many bodies a seed stands for."""

SLOW: Final = (HealthCheck.too_slow, HealthCheck.data_too_large)
"""What a busy machine may be: no reason to stop."""


def bodies(number: int, how_many: int = AT_ONCE) -> list[bytes]:
    """Return the bodies of a seed."""
    found: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=how_many,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=SLOW,
    )
    @given(BODIES)
    def collect(body: bytes) -> None:
        found.append(body)

    collect()
    return found


class Speaker:
    """Speaks JSON-RPC with an agent over one connection."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._head = (
            f"POST /echo HTTP/1.1\r\nhost: {parts.netloc}\r\nx-api-key: {key}\r\n"
            "a2a-version: 1.0\r\ncontent-type: application/json\r\ncontent-length: "
        ).encode()

    async def __aenter__(self) -> Self:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._writer.close()

    async def ask(self, body: bytes) -> None:
        """Send a body, and check what comes."""
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        async with asyncio.timeout(WITHIN):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), (head, body)
            if b"content-type: text/event-stream" in head:
                for data in events(await self._chunks()):
                    check(body, data)
                return
            size = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            check(body, await self._reader.readexactly(int(size)))

    async def _chunks(self) -> bytes:
        found = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            found += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return found


def events(stream: bytes) -> Iterator[bytes]:
    """Yield the data of the events of a stream."""
    for line in stream.split(b"\n"):
        if line.startswith(b"data: "):
            yield line[6:]


async def rounds(url: str, key: str, *, seconds: float) -> int:
    """Ask for so many seconds, seed after seed; return how many bodies were sent."""
    loop = asyncio.get_running_loop()
    end, sent = loop.time() + seconds, 0
    async with Speaker(url, key) as speaker:
        for number in count():
            for body in bodies(number):
                await speaker.ask(body)
                sent += 1
            if loop.time() > end:
                break
    return sent
