"""What comes piece by piece over HTTP: server-sent events, and JSON a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

LONGEST: Final = 16 * 1024 * 1024
"""Bytes of one event, or one line."""


class Garbled(Exception):
    """What came is not what was agreed on, or not all of it."""


async def events(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield the data of server-sent events, but for the mark of the end that OpenAI's have."""
    async for event in _pieces(content, b"\n\n"):
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        data = b"\n".join(lines)
        if data and data != b"[DONE]":
            yield data


async def lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Yield the lines that are not empty."""
    async for line in _pieces(content, b"\n"):
        if line.strip():
            yield line


async def _pieces(content: aiohttp.StreamReader, end: bytes) -> AsyncGenerator[bytes]:
    buffer = b""
    async for chunk in content.iter_any():
        buffer += chunk.replace(b"\r\n", b"\n")
        if len(buffer) > LONGEST:
            raise Garbled("a piece is too long")
        *pieces, buffer = buffer.split(end)
        for piece in pieces:
            yield piece
    if buffer:
        yield buffer
