"""Waiting for the log where there is time: whoever may not wait any longer cancels the task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from pelton.runtime.log import LogUnavailable

_PAUSE: Final = 0.1  # seconds between tries while the log is away

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


def why(error: Exception) -> str:
    """Return what an error says; that a time is over says nothing by itself."""
    return str(error) or "no answer in time"


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Return what `call` returns, tried again while the log is away.

    It must be one that is safe to repeat: after an append, time-out means unknown (law 5).
    """
    while True:  # ends: see the module
        try:
            return await call()
        except LogUnavailable as error:
            logger.warning("log-away", during=what, reason=str(error))
            await asyncio.sleep(_PAUSE)
