"""A load generator that costs little: blocking `SendMessage` requests over kept connections.

`python -m benchmarks.load URL CONNECTIONS SECONDS [KIND]` prints one JSON object: requests,
errors, and the latencies in milliseconds. It runs in a process of its own, so that it measures and
is not measured, and interrupts no server to read its answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

_BODY = (
    '{"jsonrpc":"2.0","id":"%s","method":"SendMessage","params":{"message":{"messageId":"%s",'
    '"role":"ROLE_USER","parts":[{"text":"hello, wheel"}]},"configuration":{}}}'
)
KINDS = {
    "echo": (_BODY, b'"TASK_STATE_COMPLETED"'),
    "a2a": (_BODY.replace("hello, wheel", "done "), b"done 123"),
    "text": ('"done "', b"done 123"),
}
"""What is asked, with a place for ids or without, and what an answer that is none lacks."""


class Load(msgspec.Struct):
    """What a run has found; latencies are sorted, in milliseconds."""

    seconds: float
    errors: int
    latencies: list[float]
    first_error: str = ""


class _Connection(asyncio.Protocol):
    """One client that sends its next request when it has its answer."""

    def __init__(
        self, load: Load, head: str, until: float, ended: asyncio.Future[None], kind: str
    ) -> None:
        self._load, self._head, self._until, self._ended = load, head, until, ended
        self._body, self._done = KINDS[kind]
        self._got = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        name = uuid.uuid4().hex
        body = self._body.replace("%s", name)
        self._sent = time.perf_counter()
        self._transport.write(f"{self._head}content-length: {len(body)}\r\n\r\n{body}".encode())

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(body) < int(length.split(b"\r\n", 1)[0]):
            return
        now = time.perf_counter()
        if self._done in body:
            self._load.latencies.append((now - self._sent) * 1000)
        else:
            self._load.errors += 1
            self._load.first_error = self._load.first_error or self._got.decode()[:2000]
        self._got = b""
        if now < self._until:
            self._send()
        elif not self._ended.done():
            self._ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._load.errors += 1
            self._load.first_error = self._load.first_error or f"connection lost: {exc}"
            self._ended.set_result(None)


async def run(url: str, connections: int, seconds: float, kind: str = "echo") -> Load:
    """Load a server for some seconds; every connection waits for its last answer."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        "content-type: application/json\r\na2a-version: 1.0\r\n"
    )
    if key := os.environ.get("PELTON_BENCH_KEY"):
        head += f"x-api-key: {key}\r\n"
    loop = asyncio.get_running_loop()
    load = Load(seconds=0.0, errors=0, latencies=[])
    began = time.perf_counter()
    ends = [loop.create_future() for _ in range(connections)]
    for ended in ends:
        await loop.create_connection(
            lambda ended=ended: _Connection(load, head, began + seconds, ended, kind),  # type: ignore[misc]
            host,
            port,
        )
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    load.seconds = time.perf_counter() - began
    load.latencies.sort()
    return load


if __name__ == "__main__":
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    found = uvloop.run(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
    sys.stdout.buffer.write(msgspec.json.encode(found))
