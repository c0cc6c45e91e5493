"""A TCP proxy that loses answers and cuts connections, for tests of what a network does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator


class Proxy:
    """Between clients and one server. While `deaf`, what the server says is lost."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.deaf = False
        self.swallowed = 0
        self.cuts = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        for source, target, answers in ((reader, back, False), (there, writer, True)):
            task = asyncio.ensure_future(self._pump(source, target, answers=answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if answers and self.deaf:
                    self.swallowed += len(data)
                    continue
                target.write(data)
                await target.drain()
        target.transport.abort()

    def cut(self) -> None:
        """Reset all connections."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        """End all connections."""
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxy(address: str) -> AsyncGenerator[tuple[Proxy, str]]:
    """Give a proxy before a server, and the address of the proxy."""
    host, _, port = address.partition(":")
    between = Proxy(host, int(port))
    server = await asyncio.start_server(between.connected, "127.0.0.1", 0)
    try:
        yield between, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await between.close()
