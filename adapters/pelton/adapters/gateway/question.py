"""What a client asks of a model, and what it is known by on later attempts.

Two questions are the same if all that a model heeds is: what clients send of themselves, marks for
caches, and the form of a text are left out. Some of it differs each time that a client is started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode

import msgspec

from pelton.adapters.gateway.dialects import Dialect, Json
from pelton.events.envelope import digest, encode

VOLATILE: Final = frozenset(
    {
        *("metadata", "user", "prompt_cache_key", "safety_identifier"),
        *("client_metadata", "store", "stream_options"),
    }
)
"""Members of a body that change nothing of what a model says."""

MARKS: Final = frozenset({"cache_control"})
"""Members of anything in it of which the same holds."""

_BILLING: Final = "x-anthropic-billing-header"
_SECRET: Final = frozenset({"key", "access_token"})  # in an address: a key, that is never kept

Members = dict[str, msgspec.Raw]


class Part:
    """A member of a question, or an item of one that is a list, in the form that is compared.

    `data` is its canonical JSON and `digest` the SHA-256 of that; `source` is the SHA-256 of the
    bytes that it came in. Once it is kept, `kept` stands in its place, and nobody needs `data`.
    """

    __slots__ = ("data", "digest", "kept", "source")

    def __init__(self, data: bytes, source: bytes) -> None:
        self.data, self.digest, self.source = data, digest(data), source
        self.kept: Any = msgspec.UNSET


class Question:
    """One call of a model, as a client makes it.

    `path` is that behind the provider's base URL, `headers` are those that go on to the provider.
    `known` are the parts that are kept, by the hashes of the bytes that they came in: a question
    repeats what was said before, and of that nothing is read but its bytes.
    """

    def __init__(
        self,
        dialect: Dialect,
        path: str,
        query: str,
        data: bytes,
        *,
        headers: Mapping[str, str],
        known: Mapping[bytes, Part],
    ) -> None:
        """Read a question.

        Raises:
            msgspec.DecodeError: it is no JSON object.
            RecursionError: it is nested too deep.
        """
        self.dialect, self.path, self.headers = dialect, path, headers
        pairs = [(name, value) for name, value in parse_qsl(query) if name not in _SECRET]
        self.query = urlencode(pairs)
        self._members: Members = msgspec.json.decode(data, type=Members)
        self.model = dialect.model(path, {"model": self._member("model") or ""})
        self.parts: dict[str, Part | list[Part]] = {
            name: _parts(raw, known)
            for name, raw in sorted(self._members.items())
            if name not in VOLATILE
        }
        """What a model heeds of it: its members, a list item by item."""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 that the question is known by."""
        hashes = {
            name: [each.digest for each in (parts if isinstance(parts, list) else (parts,))]
            for name, parts in self.parts.items()
        }
        return digest(encode((self.path, self.query, hashes)))

    @property
    def sent(self) -> bytes:
        """The body as it goes to the provider, who is asked what a stream took."""
        if not self.counts:
            return msgspec.json.encode(self._members)
        options = cast("Json", self._member("stream_options") or {})
        counted = {"stream_options": {**options, "include_usage": True}}
        return msgspec.json.encode({**self._members, **counted})

    @cached_property
    def counts(self) -> bool:
        """Whether the answer is to tell what it took, and the client has not asked for that."""
        if self.dialect.name != "chat" or not self._member("stream"):
            return False
        options = cast("Json", self._member("stream_options") or {})
        return not options.get("include_usage")

    def _member(self, name: str) -> Any:
        raw = self._members.get(name)
        return None if raw is None else msgspec.json.decode(raw)


def _parts(raw: msgspec.Raw, known: Mapping[bytes, Part]) -> Part | list[Part]:
    """Return a member in one form: a list item by item, one of a single text as the text."""
    if bytes(memoryview(raw)[:1]) != b"[":
        return _known(raw, known) or _part(raw, _plain(msgspec.json.decode(raw)))
    found: list[Part] = []
    for item in msgspec.json.decode(raw, type=list[msgspec.Raw]):
        part = _known(item, known)
        if part is None:
            value = _plain(msgspec.json.decode(item))
            if _text(value).startswith(_BILLING):
                continue
            part = _part(item, value)
        found.append(part)
    if len(found) == 1 and isinstance(text := _plain(msgspec.json.decode(raw)), str):
        return _part(raw, text)
    return found


def _known(raw: msgspec.Raw, known: Mapping[bytes, Part]) -> Part | None:
    return known.get(sha256(raw).digest())


def _part(raw: msgspec.Raw, value: Any) -> Part:
    return Part(encode(value), sha256(raw).digest())


def _plain(value: Any) -> Any:
    """Return a part of a body without marks, a list of one text as the text."""
    if isinstance(value, dict):
        members = cast("Json", value)
        return {name: _plain(each) for name, each in members.items() if name not in MARKS}
    if not isinstance(value, list):
        return value
    items = [_plain(each) for each in cast("Sequence[Any]", value)]
    items = [each for each in items if not _text(each).startswith(_BILLING)]
    if len(items) == 1 and (text := _text(items[0])):
        return text
    return items


def _text(block: Any) -> str:
    """Return the text of a block that is one."""
    if isinstance(block, dict):
        members = cast("Json", block)
        if members.get("type") == "text" and isinstance(members.get("text"), str):
            return str(members["text"])
    return ""
