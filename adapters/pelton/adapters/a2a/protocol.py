"""HTTP/1.1 and WebSockets as uvicorn speaks them, with an end to all waiting (S15)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Any, Final, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from pelton.adapters.a2a.app import CERTIFICATE, CUT_OFF
from pelton.adapters.a2a.guard import is_loopback
from pelton.adapters.a2a.sockets import LEAVING, NOT_TAKEN, SLOW

HEAD_WITHIN: Final = 10.0
"""Seconds from the first byte of a request, or from the connection, to the end of its headers."""
BODY_WITHIN: Final = 30.0
"""Seconds from there to the end of its body."""
MAX_HEAD: Final = 64 * 1024
"""The most bytes of headers; one read of the socket may go beyond it."""
MAX_HEADERS: Final = 100
"""The most headers of a request."""
MAX_FRAME: Final = 4096
"""The most bytes that a frame of a client may have: none is needed."""
PING_EVERY: Final = 20.0
"""Seconds between pings of a WebSocket; also how long an answer may take."""
CLOSE_WITHIN: Final = 10.0
"""Seconds that a WebSocket has to take what was written to it and be closed."""
_NEVER: Final = float("inf")
_CONTINUE: Final = b"HTTP/1.1 100 "


class Door:
    """How many connections there may be: in all, and from one address; 0 is no limit.

    Addresses of IPv6 count by their network of 64 bits, which is what one customer has. This
    machine's own do not count by address: whatever stands before the bridge on it has one.
    """

    def __init__(self, *, most: int = 0, most_of_address: int = 0) -> None:
        self._most, self._most_of_address = most, most_of_address
        self._open = 0
        self._of_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Return whether a connection from an address may be; then it is counted."""
        if self._most and self._open >= self._most:
            return False
        network = _network(address)
        limit = self._most_of_address if network and not is_loopback(address) else 0
        if limit and self._of_address[network] >= limit:
            return False
        self._open += 1
        self._of_address[network] += 1
        return True

    def leave(self, address: str) -> None:
        """Count one no longer."""
        self._open -= 1
        network = _network(address)
        self._of_address[network] -= 1
        if not self._of_address[network]:
            del self._of_address[network]


class Protocol(HttpToolsProtocol):
    """A connection. Whoever owns the server calls `sweep` on all of them every second or so."""

    door: Door | None = None
    """Who says how many there may be."""
    _address: str | None = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        # An answer goes out as it is made, not with all others at the end of the loop's turn. With
        # TLS an empty buffer would count as a full one, and nothing would ever be written.
        if transport.get_extra_info("sslcontext") is None:
            transport.set_write_buffer_limits(high=0)
        if self.door is not None:
            address = self.client[0] if self.client else ""
            if not self.door.enter(address):
                self._refuse(503, "there are too many connections")
                return
            self._address = address
        self.due = self.loop.time() + HEAD_WITHIN
        self._in_head = True
        self._head = 0
        self._extensions: Any = {CUT_OFF: self.cut_off}
        if (certificate := transport.get_extra_info("peercert")) is not None:
            self._extensions[CERTIFICATE] = certificate

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another."""
        super().connection_lost(exc)
        if self._address is not None and self.door is not None:
            self.door.leave(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        """Take what came, and bound what a head may be."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self._refuse(431, "the headers are too large")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self.due = self.loop.time() + HEAD_WITHIN
        self._in_head = True
        self._head = 0

    def on_headers_complete(self) -> None:
        """Go on with its body, unless its headers are not to be trusted (S14)."""
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, "there are too many headers")
            return
        self._in_head = False
        self.due = self.loop.time() + BODY_WITHIN
        super().on_headers_complete()
        if self._cycle is not None and self.scope["method"] != "HEAD":
            self._cycle.transport = cast("asyncio.Transport", _Answer(self.transport))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, unless the request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for no more of it."""
        self.due = _NEVER
        super().on_message_complete()

    def sweep(self, now: float) -> None:
        """End the connection if it has been waited for too long."""
        if now > self.due:
            self._refuse(408, "the request took too long to arrive")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, msg)

    def cut_off(self) -> None:
        """End the connection at once, whatever waits to be written."""
        if self._cycle is not None:
            self._cycle.disconnected = True
        self.transport.abort()

    def _should_upgrade(self) -> bool:
        return self.scope["method"] == "GET" and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """Give the connection, and its place in the door, to a WebSocket."""
        if self._refused:
            return
        if self._cycle is not None and not self._cycle.response_complete:
            self.cut_off()  # it did not wait for the answer to its request before
            return
        super().handle_websocket_upgrade()
        socket = cast("Socket", self.transport.get_protocol())
        socket.came_in(self._extensions, self.door, self._address)
        self._address = None

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, whatever uvicorn's types say

    def _refuse(self, status: int, message: str) -> None:
        """Answer, if nothing was answered yet, and close."""
        self.due = _NEVER
        self._refused = True
        if self._cycle is None or self._cycle.response_complete:
            error = {"code": status, "status": "INVALID_ARGUMENT", "message": message}
            body = msgspec.json.encode({"error": error})
            self.transport.write(
                b"HTTP/1.1 %d \r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (status, len(body), body)
            )
            self.transport.close()
        else:
            self.cut_off()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket; its client only listens. It is swept like any other connection."""

    _door: Door | None = None
    _address: str | None = None
    _due = _NEVER

    def came_in(self, extensions: Any, door: Door | None, address: str | None) -> None:
        """Take what the connection had before; the application has not seen the request yet."""
        self._door, self._address = door, address
        if self.handshake_initiated and not self.close_sent:
            known = self.scope.setdefault("extensions", {})
            known |= extensions | {CUT_OFF: self.cut_off}

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another."""
        super().connection_lost(exc)
        if self._address is not None and self._door is not None:
            self._door.leave(self._address)
            self._address = None

    def handle_text(self, event: Frame) -> None:  # noqa: ARG002
        """Take nothing from clients."""
        self.end(NOT_TAKEN)

    handle_bytes = handle_cont = handle_text

    def shutdown(self) -> None:
        """Close, for the server stops."""
        if self.handshake_complete and not self.close_sent:
            self.end(LEAVING)
        else:
            super().shutdown()

    def cut_off(self) -> None:
        """Close, though the client does not read; if it reads on, it learns why."""
        self.end(SLOW, "slow-reader")

    def end(self, code: int, reason: str = "") -> None:
        """Close after what waits to be written, if that is taken in time."""
        if self.close_sent or self.transport.is_closing():
            return
        if not self.handshake_complete:
            self.transport.abort()  # there is nothing yet that could be closed
            return
        self.stop_keepalive()
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    def sweep(self, now: float) -> None:
        """End the connection if its closing has been waited for too long."""
        if self.close_sent or self.transport.is_closing():
            self._due = min(self._due, now + CLOSE_WITHIN)
        if now > self._due:
            self.transport.abort()


def _network(address: str) -> str:
    """Return what an address counts as."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ipaddress.ip_network((known, 64), strict=False))
    return address


class _Answer:
    """The way out for one answer: its head goes with what follows it, in one write and packet."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(_CONTINUE):
            self._head = data
        else:
            self._transport.write(self._head + data if self._head else data)
            self._head = self._head and b""

    def close(self) -> None:
        if self._head:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
