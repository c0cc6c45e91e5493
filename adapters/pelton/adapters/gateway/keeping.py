"""What was asked, kept by its hashes: each message of a conversation is stored once (law 8).

A question repeats all that was said before it. So its lists are kept item by item, and the record
of a call has their hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from pelton.adapters.gateway.dialects import Json
from pelton.adapters.gateway.question import Question
from pelton.events.a2a import BlobRef
from pelton.events.envelope import digest, encode
from pelton.runtime.bulk import Blobs
from pelton.runtime.redaction import cleaned

SMALL: Final = 256
"""What has no more bytes than this stays in its record."""

_REMEMBERED: Final = 4096  # parts that are known to be stored


class Keeping:
    """Keeps questions of one route, and remembers what it has stored."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._stored: dict[str, BlobRef] = {}

    async def question(self, question: Question) -> Json:
        """Return a question as it is recorded: its path, and its body without what is large."""
        body = {name: await self._member(value) for name, value in question.essence.items()}
        return {"path": question.path, "body": body}

    async def _member(self, value: Any) -> Any:
        if isinstance(value, list):
            return [await self._part(item) for item in cast("Sequence[Any]", value)]
        return await self._part(value)

    async def _part(self, part: Any) -> Any:
        """Return a part, or the reference to it in its place."""
        part = cleaned(self._blobs.redactor, part, "a question to a model")
        data = encode(part)
        if len(data) <= SMALL:
            return part
        name = digest(data)
        if name not in self._stored:
            if len(self._stored) >= _REMEMBERED:
                self._stored.clear()
            self._stored[name] = await self._blobs.put(data, "data")
        return {"blob": msgspec.to_builtins(self._stored[name])}
