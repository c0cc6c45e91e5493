"""nats-py's client, without its cost per message.

nats-py makes a future, a dictionary of headers and several objects for each message, and wakes two
tasks. Here a delivery is one call of a plain function with the bytes as they came, and what is
sent within two turns of the event loop is few writes. Its connecting, authentication and
reconnection are used as they are, and its parser for what `parser.py` leaves to it; what we build
on beyond its documented names is checked by `tests/runtime/jetstream/test_lean.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import ParseResult

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from pelton.runtime.jetstream.parser import WholeParser

Deliver = Callable[[bytes, bytes, bytes, bytes], None]
"""What a subscription calls: with subject, reply subject, headers (raw, may be empty) and data.

It must be quick and must not wait: it runs while the connection is read.
"""

_PIECE: Final = 256 * 1024
"""Bytes to read at once, as many as uvloop does: a message that is cut in two costs four."""

_ENOUGH: Final = 12 * 1024
"""Bytes that are sent at once. With many requests under way, the server and whoever waits behind it
begin with the first while we make the rest: else all would wait for each other in turn."""

_log = structlog.get_logger(__name__)

# What nats-py says by itself is for us to tell, in our words: nothing of it reaches a terminal.
logging.getLogger("nats").addHandler(logging.NullHandler())
logging.getLogger("nats").propagate = False


class _Transport(TcpTransport):
    """A transport that closes at once: nats-py waits until a dead peer has taken what it got."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __bool__(self) -> bool:
        return True  # else nats-py would make one of its own

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        self.close()  # nats-py leaves open what it began to connect to in vain
        await super().connect(uri, max(buffer_size, _PIECE), connect_timeout)
        assert self._io_writer is not None  # it was just made
        # Else uvloop keeps what is written until the end of the loop's turn.
        self._io_writer.transport.set_write_buffer_limits(high=0)

    async def read(self, buffer_size: int) -> bytes:
        return bytes(await super().read(max(buffer_size, _PIECE)))

    def close(self) -> None:
        if self._io_writer is not None:
            self._io_writer.transport.abort()

    async def wait_closed(self) -> None:
        if self._io_writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._io_writer.wait_closed()


class LeanClient(Client):
    """nats-py's client with deliveries and sending of our own."""

    def __init__(self) -> None:
        super().__init__()
        self._transport = _Transport()
        self._ps = WholeParser(self, self._take)
        self._deliver: dict[int, Deliver] = {}
        self._posted = False

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server said of itself when we connected."""
        return self._server_info

    async def open(self, subject: str, deliver: Deliver) -> int:
        """Subscribe and return the subscription's number; what is posted later is sent later."""
        number = self._sid + 1
        self._deliver[number] = deliver
        await self.subscribe(subject)  # pyright: ignore[reportUnknownMemberType]
        return number

    async def end(self) -> None:
        """Close the connection for good."""
        self.forget()
        if self._flush_queue is not None:  # else it was never opened
            with contextlib.suppress(OSError):  # it was closed from the other side
                await self.close()

    async def heard(self) -> None:
        """Wait until the server has answered all that was sent; waits without end.

        On Python 3.11 nats-py's `flush` may swallow a cancellation that meets its answer: whoever
        was to end goes on, and whoever waits for that waits for ever.
        """
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        assert self._transport is not None  # it was opened
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)  # pyright: ignore[reportUnknownMemberType]
        if self.is_connected:  # else nothing may come between the two of a new connection
            self.write()
            self._transport.write(b"PING\r\n")
        await pong

    def silence(self, number: int) -> None:
        """Ask the server to send no more for a subscription; what is on its way still comes."""
        if self._subs.pop(number, None) is not None:
            self.post(b"UNSUB %d\r\n" % number)

    def drop(self, number: int) -> None:
        """End a subscription."""
        self.silence(number)
        self._deliver.pop(number, None)

    def post(self, command: bytes) -> None:
        """Send a command, with others of this turn of the event loop and the next."""
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._pending_data_size >= _ENOUGH:
            self.write()
        elif not self._posted:
            self._posted = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self.write)  # what comes of the next reads goes along

    def write(self) -> None:
        """Send now what was posted."""
        self._posted = False
        if self._status == Client.CONNECTED and self._transport is not None and self._pending:
            pending, self._pending = self._pending, []
            self._pending_data_size = 0
            self._transport.write(b"".join(pending))

    def forget(self) -> None:
        """Drop what was posted and not sent."""
        self._pending.clear()
        self._pending_data_size = 0

    async def _process_info(
        self,
        info: dict[str, Any],
        initial_connection: bool = False,  # noqa: FBT001, FBT002 - as nats-py calls it
    ) -> None:
        """Send no password in the clear, and see what a server wants that we do not have.

        For nats-py, `tls://` is no more than a wish.
        """
        assert self._current_server is not None  # it has just greeted
        secure = self._current_server.uri.scheme == "tls"
        if initial_connection and secure and not info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        if initial_connection and info.get("tls_verify"):
            raise nats.errors.SecureConnRequiredError
        await super()._process_info(info, initial_connection)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self._take(sid, subject, reply, headers or b"", data)

    def _take(self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        deliver = self._deliver.get(sid)
        if deliver is not None:
            try:
                deliver(subject, reply, headers, data)
            except Exception:  # noqa: BLE001 - an error here must not end the reading of the connection
                _log.exception("a delivery failed", subject=subject.decode(errors="replace"))

    async def _process_pong(self) -> None:
        """Let go those who no longer wait for it; nats-py would stop to read the connection."""
        pongs = cast("list[asyncio.Future[bool]]", self._pongs)  # pyright: ignore[reportUnknownMemberType]
        if pongs and pongs[0].done():
            pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect after an error of the server; nats-py would close for ever."""
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._error_cb(error)
        if "permissions violation" not in err_msg:
            await self._process_op_err(error)
