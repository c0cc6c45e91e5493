"""Answers over ASGI: whole ones, and streams of server-sent events (§9.4.2, §11.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from pelton.adapters.a2a.waits import SlowReader, Update
from pelton.events.a2a import StreamResponse

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Look = Callable[[], Awaitable[object]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = b"application/json"
A2A_JSON: Final = b"application/a2a+json"
ALLOWED: Final = frozenset(
    {
        *(b"accept", b"accept-encoding", b"allow", b"cache-control", b"etag", b"last-modified"),
        *(b"pragma", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"),
        *(b"retry-after", b"vary", b"www-authenticate"),
    }
)
"""The headers of an answer beside those that each has: nothing else leaves (AS-35)."""
WRITE_WITHIN: Final = 30.0
"""Seconds after which a client that reads nothing is cut off (S15)."""
_GONE: Final = ("http.disconnect", "websocket.disconnect")
WATCH_AFTER: Final = 1.0
"""Seconds after which a request is worth watching for its client's departure."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()


class EventStream(NamedTuple):
    """An answer that goes on: `first` was waited for, so that its error could be an answer."""

    first: Update | None
    updates: AsyncGenerator[Update | None]
    frame: Callable[[StreamResponse], bytes]
    """Returns the data of an event."""
    failed: Callable[[Exception], bytes]
    """Returns the data of an event that says that the stream failed."""


def lasting(answer: Reply | EventStream | None, look: Look | None) -> Reply | EventStream | None:
    """Return an answer that goes on only while `look` finds its credential good: see `watched`."""
    if look is None or not isinstance(answer, EventStream):
        return answer
    return answer._replace(updates=watched(answer.updates, look))


async def watched(
    updates: AsyncGenerator[Update | None], look: Look
) -> AsyncGenerator[Update | None]:
    """Yield what a stream has; `look` is asked before each update, and after each silence.

    It raises what `look` does: the credential that the stream was opened with is not good any more.
    """
    async with aclosing(updates):
        async for update in updates:
            await look()
            yield update


async def begin(
    updates: AsyncGenerator[Update | None],
    frame: Callable[[StreamResponse], bytes],
    failed: Callable[[Exception], bytes],
) -> EventStream:
    """Return a stream of events once its first is there; raises what the first raises."""
    try:
        return EventStream(await anext(updates, None), updates, frame, failed)
    except BaseException:
        await updates.aclose()
        raise


def headers_of_reply(reply: Reply) -> Headers:
    """Return the headers that a whole answer has."""
    return (
        (b"content-type", reply.media_type),
        (b"content-length", str(len(reply.body)).encode()),
        *(each for each in reply.headers if each[0] in ALLOWED),
    )


async def send_reply(send: Send, reply: Reply, extra: Headers = ()) -> None:
    """Send a whole answer."""
    headers = (*headers_of_reply(reply), *extra)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_events(send: Send, stream: EventStream, extra: Headers = ()) -> None:
    """Send a stream of events until it ends.

    Raises:
        SlowReader: the client does not read; its connection is to be cut.
    """
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
        *extra,
    ]
    async with aclosing(stream.updates) as updates:
        await write(send, {"type": "http.response.start", "status": 200, "headers": headers})
        await _event(send, stream, stream.first)
        try:
            async for update in updates:
                await _event(send, stream, update)
        except SlowReader:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the stream says so and ends
            await write(send, _body(b"data: " + stream.failed(error) + b"\n\n"))
        await write(send, {"type": "http.response.body", "body": b""})


async def _event(send: Send, stream: EventStream, update: Update | None) -> None:
    if update is None:
        await write(send, _body(b":\n\n"))
        return
    data = stream.frame(update.response)
    await write(send, _body(b"id: %d\ndata: %b\n\n" % (update.sequence, data)))


def _body(data: bytes) -> MutableMapping[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def write(send: Send, message: MutableMapping[str, Any]) -> None:
    """Send a message of ASGI.

    Raises:
        SlowReader: the client does not read.
    """
    try:
        async with asyncio.timeout(WRITE_WITHIN):
            await send(message)
    except TimeoutError:
        raise SlowReader("the stream was not read") from None


class Presence:
    """Cancels a request whose client has gone (AS-33: the request, never the work).

    Watches only requests that last; ends quietly when it was the client's going that ended it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to watch, after a while."""
        self._loop = asyncio.get_running_loop()
        self._request = asyncio.current_task()
        self._timer = self._loop.call_later(WATCH_AFTER, self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Watch no longer."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,))
        assert self._request is not None
        return (
            self._gone
            and isinstance(error, asyncio.CancelledError)
            and self._request.uncancel() == 0
        )

    def _begin(self) -> None:
        self._watch = self._loop.create_task(self._wait(), name="presence")

    async def _wait(self) -> None:
        while (await self._receive())["type"] not in _GONE:
            pass
        self._gone = True
        assert self._request is not None
        self._request.cancel()
