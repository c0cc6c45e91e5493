"""What a client asks of a model, and what it is known by on later attempts.

Two questions are the same if all that a model heeds is: what clients send of themselves, marks for
caches, and the form of a text are left out. Some of it differs each time that a client is started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
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


class Question:
    """One call of a model, as a client makes it.

    `path` is that behind the provider's base URL, `headers` are those that go on to the provider.
    """

    def __init__(
        self, dialect: Dialect, path: str, query: str, headers: Mapping[str, str], body: Json
    ) -> None:
        self.dialect, self.path, self.headers, self.body = dialect, path, headers, body
        pairs = [(name, value) for name, value in parse_qsl(query) if name not in _SECRET]
        self.query = urlencode(pairs)
        self.model = dialect.model(path, body)

    @cached_property
    def essence(self) -> Json:
        """All of the body that a model heeds, in one form."""
        return {name: _plain(value) for name, value in self.body.items() if name not in VOLATILE}

    @cached_property
    def parts(self) -> dict[str, list[bytes]]:
        """The members of the essence as canonical JSON: a list item by item."""
        found: dict[str, list[bytes]] = {}
        for name, value in sorted(self.essence.items()):
            items = cast("Sequence[Any]", value) if isinstance(value, list) else (value,)
            found[name] = [encode(each) for each in items]
        return found

    @cached_property
    def digest(self) -> str:
        """The SHA-256 that the question is known by."""
        hashes = {name: [*map(digest, parts)] for name, parts in self.parts.items()}
        return digest(encode((self.path, self.query, hashes)))

    @property
    def sent(self) -> bytes:
        """The body as it goes to the provider, who is asked what a stream took."""
        return msgspec.json.encode(self._counted() if self.counts else self.body)

    @property
    def counts(self) -> bool:
        """Whether the answer is to tell what it took, and the client has not asked for that."""
        options = cast("Json", self.body.get("stream_options") or {})
        asked = bool(options.get("include_usage"))
        return self.dialect.name == "chat" and bool(self.body.get("stream")) and not asked

    def _counted(self) -> Json:
        options = cast("Json", self.body.get("stream_options") or {})
        return {**self.body, "stream_options": {**options, "include_usage": True}}


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
