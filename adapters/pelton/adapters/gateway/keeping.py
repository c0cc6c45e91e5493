"""What was asked, kept by its hashes: each message of a conversation is stored once (law 8).

A question repeats all that was said before it. So of a list that goes on from that of an earlier
question, a record has what is new, and the call whose list it goes on from; of a long one that
begins anew, the hashes of its pages. What the record of a call has does not grow with the
conversation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from pelton.adapters.gateway.dialects import Json
from pelton.adapters.gateway.question import Part, Question
from pelton.events.envelope import encode
from pelton.runtime.bulk import Blobs
from pelton.runtime.redaction import cleaned

SMALL: Final = 256
"""What has no more bytes than this stays in its record."""

PAGE: Final = 16
"""So many parts of a list are kept together, once there are more: they do not change any more."""

_REMEMBERED: Final = 4096  # parts that are known to be stored
_LISTS: Final = 8  # of each name: an agent has several conversations with its models at once


class Keeping:
    """Keeps questions of one route, and remembers what it has stored."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.known: dict[bytes, Part] = {}
        """The parts that are kept, by the hashes of the bytes that they came in."""
        self._lists: dict[str, deque[tuple[str, list[str]]]] = {}

    async def question(self, question: Question) -> Json:
        """Return a question as it is recorded: its path, and its body without what is large."""
        new: dict[str, list[Part]] = {}
        for part in _parts(question):
            if part.kept is msgspec.UNSET:
                new.setdefault(part.digest, []).append(part)
        await asyncio.gather(*map(self._store, new.values()))
        body: Json = {}
        for name, parts in question.parts.items():
            body[name] = parts.kept if isinstance(parts, Part) else await self._list(name, parts)
        return {"path": question.path, "body": body}

    def recorded(self, question: Question, key: str) -> None:
        """Let later questions go on from one that the step with that key has recorded."""
        for name, parts in question.parts.items():
            if isinstance(parts, list) and parts:
                lists = self._lists.setdefault(name, deque(maxlen=_LISTS))
                lists.append((key, [part.digest for part in parts]))

    async def _list(self, name: str, parts: Sequence[Part]) -> Any:
        hashes = [part.digest for part in parts]
        lists = self._lists.get(name, ())
        before = [each for each in lists if each[1] == hashes[: len(each[1])]]
        kept = [part.kept for part in parts]
        if before:
            key, known = max(before, key=lambda each: len(each[1]))
            return {"after": key, "parts": kept[len(known) :]}
        if len(kept) <= PAGE:
            return kept
        pages = [encode(kept[at : at + PAGE]) for at in range(0, len(kept), PAGE)]
        return {"pages": [await self._put(page) for page in pages]}

    async def _store(self, alike: Sequence[Part]) -> None:
        """Store a part, or have it small enough for records; nobody reads it any more."""
        data, name = alike[0].data, alike[0].digest
        kept = cleaned(self._blobs.redactor, msgspec.json.decode(data), name)
        if len(data) > SMALL:
            kept = await self._put(encode(kept))
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        for part in alike:
            part.kept, part.data = kept, b""
            self.known[part.source] = part

    async def _put(self, data: bytes) -> Json:
        return {"blob": msgspec.to_builtins(await self._blobs.put(data, "data"))}


def _parts(question: Question) -> Iterable[Part]:
    for parts in question.parts.values():
        yield from parts if isinstance(parts, list) else (parts,)
