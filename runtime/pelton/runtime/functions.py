"""Functions that are given to us: whatever their kind, the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def called(fn: Callable[..., Any], *args: object) -> Any:
    """Return what a function comes to: it is awaited, or, if it is a plain one, run in a thread."""
    if inspect.iscoroutinefunction(fn):
        return await fn(*args)
    result = await asyncio.to_thread(fn, *args)
    return await result if inspect.isawaitable(result) else result
