"""Uvicorn's server within a process that is somebody else's."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Generator

import uvicorn


class Cut(Exception):
    """Raised by an application to break a connection off; no error of it, so none is logged."""


def _is_none(record: logging.LogRecord) -> bool:
    """Whether a line tells of anything but an answer that was broken off."""
    return record.exc_info is None or not isinstance(record.exc_info[1], Cut)


class QuietServer(uvicorn.Server):
    """Calls `ready` once it listens; signals are the business of whoever started it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        logging.getLogger("uvicorn.error").addFilter(_is_none)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self._ready()
