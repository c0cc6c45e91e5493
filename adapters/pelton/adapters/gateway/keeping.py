"""What was asked, kept by its hashes: each message of a conversation is stored once (law 8).

A question repeats all that was said before it. So its lists are kept item by item, and the hashes
of many items as one: what the record of a call has grows hardly with the conversation.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pelton.adapters.gateway.dialects import Json
from pelton.adapters.gateway.question import Question
from pelton.events.envelope import digest, encode
from pelton.runtime.bulk import Blobs
from pelton.runtime.redaction import cleaned

SMALL: Final = 256
"""What has no more bytes than this stays in its record."""

PAGE: Final = 16
"""So many parts of a list are kept together, once there are more: they do not change any more."""

_REMEMBERED: Final = 4096  # parts that are known to be stored


class Keeping:
    """Keeps questions of one route, and remembers what it has stored."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._stored: dict[str, Json] = {}

    async def question(self, question: Question) -> Json:
        """Return a question as it is recorded: its path, and its body without what is large."""
        body: Json = {}
        for name, parts in question.parts.items():
            kept = [await self._part(part) for part in parts]
            if not isinstance(question.essence[name], list):
                body[name] = kept[0]
            elif len(kept) <= PAGE:
                body[name] = kept
            else:
                pages = [kept[at : at + PAGE] for at in range(0, len(kept), PAGE)]
                body[name] = {"pages": [await self._part(encode(page)) for page in pages]}
        return {"path": question.path, "body": body}

    async def _part(self, data: bytes) -> Any:
        """Return a part that is spelled by some JSON, or the reference to it in its place."""
        name = digest(data)
        if name in self._stored:
            return self._stored[name]
        part = cleaned(self._blobs.redactor, msgspec.json.decode(data), name)
        if len(data) <= SMALL:
            return part
        ref = await self._blobs.put(encode(part), "data")
        if len(self._stored) >= _REMEMBERED:
            self._stored.clear()
        self._stored[name] = {"blob": msgspec.to_builtins(ref)}
        return self._stored[name]
