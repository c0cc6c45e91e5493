"""A server for the processes that this one has started: on loopback, on a port of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pelton.adapters.a2a.server import bind, serve_bridge

HOST: Final = "127.0.0.1"
_START: Final = 10.0  # seconds to listen
_STOP: Final = 1.0  # seconds for what goes on


class Loopback:
    """Serves an ASGI application, held to what bridges are held to (`a2a.protocol`)."""

    def __init__(self, app: Any, *, name: str) -> None:
        self.app = app
        self._name = name
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.url = ""
        """Where it listens once it is started, without a path."""

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: there is no port to be had.
        """
        self._stop.clear()
        listening = bind(HOST, 0)
        self.url = f"http://{HOST}:{listening.getsockname()[1]}"
        up = asyncio.Event()
        serving = serve_bridge(self, [listening], stop=self._stop, stop_within=_STOP, ready=up.set)
        self._serving = asyncio.create_task(serving, name=self._name)
        async with asyncio.timeout(_START):
            await up.wait()

    async def stop(self) -> None:
        """Listen no more; what goes on then is cut off within a second."""
        self._stop.set()
        if self._serving is not None:
            await self._serving
            self._serving = None

    def end_streams(self) -> None:
        """End nothing: what goes on ends with the attempt that it is for."""

    def end_waits(self) -> None:
        """End nothing: the same holds."""
