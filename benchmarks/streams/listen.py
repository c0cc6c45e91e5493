"""Subscribers that cost little, in a process of their own: `python -m benchmarks.streams.listen`.

`URL talk SUBSCRIBERS EVENTS PACE` has all of them follow one task, and prints how long each event
took to each; `URL wait STREAMS TASKS` opens idle streams, and holds them until its input ends.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

STAMP: Final = re.compile(rb"@(\d+)\.(\d+)@")
_AT_ONCE: Final = 100  # that are opened at a time


class Heard(msgspec.Struct):
    """What all subscribers have heard, with moments in nanoseconds since 1970."""

    complete: int
    """How many had every event, once and in order."""
    said: list[int]
    """When each event was said."""
    heard: list[list[int]]
    """When each event was heard, by all who did."""


class Subscriber(asyncio.Protocol):
    """One client: subscribes to a task and takes the time of what comes."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.heard: list[tuple[int, int, int]] = []
        """Of each event its number, when it was said and when it was heard."""
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        data = self._rest + data
        end = 0
        for stamp in STAMP.finditer(data):
            self.heard.append((int(stamp[1]), int(stamp[2]), now))
            end = stamp.end()
        if not self.subscribed.done() and b"data:" in data:
            self.subscribed.set_result(None)
        if b"TASK_STATE_COMPLETED" in data and not self.ended.done():
            self.ended.set_result(None)
        self._rest = data[max(end, len(data) - 100) :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for future in (self.subscribed, self.ended):
            if not future.done():
                future.set_result(None)


class Site:
    """An agent's JSON-RPC URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\na2a-version: 1.0\r\n"
            "content-type: application/json\r\naccept: text/event-stream, application/json\r\n"
        )

    def _request(self, method: str, params: Any) -> bytes:
        asked = {"jsonrpc": "2.0", "id": "1", "method": method, "params": params}
        body = msgspec.json.encode(asked)
        return f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def send(self, text: str) -> str:
        """Send a message; returns the id of its task."""
        said = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
        asked = {"message": said, "configuration": {"returnImmediately": True}}
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(self._request("SendMessage", asked).replace(b"\r\n\r\n", _CLOSE, 1))
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        body = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
        return str(body["result"]["task"]["id"])

    async def subscribe(self, task: str) -> Subscriber:
        """Follow a task; returns once the stream has begun."""
        request = self._request("SubscribeToTask", {"id": task})
        _, subscriber = await asyncio.get_running_loop().create_connection(
            lambda: Subscriber(request), self._host, self._port
        )
        await asyncio.wait_for(subscriber.subscribed, 60)
        return subscriber


_CLOSE: Final = b"\r\nconnection: close\r\n\r\n"


async def talk(site: Site, count: int, events: int, pace: float) -> Heard:
    """Have many follow one task from its first event to its last."""
    with tempfile.TemporaryDirectory() as folder:
        begin = Path(folder) / "begin"
        task = await site.send(f"{events} {pace} {begin}")
        subscribers = [await site.subscribe(task) for _ in range(count)]
        begin.touch()
        ends = [subscriber.ended for subscriber in subscribers]
        await asyncio.wait(ends, timeout=events * pace + 300)
    found = Heard(complete=0, said=[0] * events, heard=[[] for _ in range(events)])
    for subscriber in subscribers:
        found.complete += [number for number, _, _ in subscriber.heard] == list(range(events))
        for number, said, heard in subscriber.heard:
            found.said[number] = said
            found.heard[number].append(heard)
    return found


async def wait(site: Site, count: int, tasks: int) -> int:
    """Hold idle streams until the input ends; returns how many there are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ids = [await site.send("wait") for _ in range(tasks)]
    open_: list[Subscriber] = []
    for start in range(0, count, _AT_ONCE):
        several = range(start, min(start + _AT_ONCE, count))
        open_ += await asyncio.gather(*(site.subscribe(ids[n % tasks]) for n in several))
    print(sum(not each.transport.is_closing() for each in open_), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    alive = sum(not each.transport.is_closing() for each in open_)
    for each in open_:
        each.transport.abort()
    return alive


if __name__ == "__main__":
    _, url, what, *numbers = sys.argv
    if what == "talk":
        heard = uvloop.run(talk(Site(url), int(numbers[0]), int(numbers[1]), float(numbers[2])))
        sys.stdout.buffer.write(msgspec.json.encode(heard))
    else:
        print(uvloop.run(wait(Site(url), int(numbers[0]), int(numbers[1]))))
