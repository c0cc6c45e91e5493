"""Answers over a WebSocket: a stream's events as frames, for browsers (`docs/live.md`).

Whatever answers a GET with a stream of events gives it to a WebSocket too. What HTTP says in
headers stands elsewhere, for pages cannot set any: service parameters in the query, the credential
among the subprotocols, and an error in a frame and the code that the connection is closed with,
since a page does not get to see why a handshake failed.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from pelton.adapters.a2a.errors import PathNotFound, as_plain, fault_of
from pelton.adapters.a2a.sse import EventStream, Headers, Reply, Send, headers_of_reply, write
from pelton.adapters.a2a.waits import SlowReader, Update

PROTOCOL: Final = "pelton.v1"
"""The subprotocol: what frames hold."""
BEARER: Final = "pelton.bearer."
"""What a subprotocol begins with that is a credential, and is never chosen."""

DONE: Final = 1000
"""All was shown."""
LEAVING: Final = 1001
"""The bridge stops: go on at another one, or at this one when it is back."""
NOT_TAKEN: Final = 1003
"""The client sent something, and nothing is taken."""
FAILED: Final = 4000
"""Added to the HTTP status of an error."""
SLOW: Final = FAILED + 503
"""The client reads too slowly: go on after what it has."""

_PARAMETERS: Final = frozenset({"a2a-version", "a2a-extensions", "last-event-id"})


def as_request(scope: MutableMapping[str, Any]) -> None:
    """Make of a WebSocket's opening the GET that it stands for."""
    headers = list(scope["headers"])
    query = scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        pairs = []  # whoever reads the query says what is wrong with it
    said = [pair for pair in pairs if pair[0].lower() in _PARAMETERS]
    if said:
        query = urlencode([pair for pair in pairs if pair not in said])
        headers += [(name.lower().encode(), value.encode()) for name, value in said]
    if not any(name == b"a2a-version" for name, _ in headers):
        headers.append((b"a2a-version", b"1.0"))  # no older one has WebSockets
    for offer in scope["subprotocols"]:
        if offer.startswith(BEARER):
            headers.append((b"authorization", b"Bearer " + offer[len(BEARER) :].encode()))
    scheme = {"wss": "https"}.get(scope["scheme"], "http")
    scope.update(method="GET", scheme=scheme, headers=headers, query_string=query.encode("latin-1"))


async def refuse(send: Send, reply: Reply) -> None:
    """Answer the handshake as any request, and have no WebSocket."""
    headers = headers_of_reply(reply)
    kind = "websocket.http.response"
    await write(send, {"type": f"{kind}.start", "status": reply.status, "headers": headers})
    await write(send, {"type": f"{kind}.body", "body": reply.body})


async def send_answer(
    send: Send,
    answer: Reply | EventStream,
    extra: Headers,
    *,
    offered: Sequence[str],
    leaving: Callable[[], bool],
) -> None:
    """Send a stream of events until it ends, or what was answered in its place; then close.

    Raises:
        SlowReader: the client does not read; its connection is to be cut.
    """
    chosen = PROTOCOL if PROTOCOL in offered else None
    await write(send, {"type": "websocket.accept", "subprotocol": chosen, "headers": extra})
    if isinstance(answer, EventStream):
        code = await _send_events(send, answer)
    else:
        code = await _send_reply(send, answer)
    if code == DONE and leaving():
        code = LEAVING
    await write(send, {"type": "websocket.close", "code": code})


async def _send_reply(send: Send, reply: Reply) -> int:
    if reply.status >= 400:
        await write(send, _text(reply.body))
        return FAILED + reply.status
    return await _send_error(send, PathNotFound("this path is no stream"), as_plain)


async def _send_events(send: Send, stream: EventStream) -> int:
    async with aclosing(stream.updates) as updates:
        await _send_event(send, stream, stream.first)
        try:
            async for update in updates:
                await _send_event(send, stream, update)
        except (SlowReader, OSError):  # the latter is ASGI's word for a client that has gone
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the stream says so and ends
            return await _send_error(send, error, stream.failed)
    return DONE


async def _send_error(send: Send, error: Exception, shape: Callable[[Exception], bytes]) -> int:
    await write(send, _text(shape(error)))
    return FAILED + fault_of(error).http


async def _send_event(send: Send, stream: EventStream, update: Update | None) -> None:
    if update is not None:  # that the stream lives is said by pings
        data = stream.frame(update.response)
        await write(send, _text(b'{"id":%d,"data":%b}' % (update.sequence, data)))


def _text(data: bytes) -> MutableMapping[str, Any]:
    return {"type": "websocket.send", "text": data.decode()}
