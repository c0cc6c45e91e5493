"""What a provider answers: read as it streams by, and kept so that it can be said again.

Of a stream is kept what it says, not in which pieces: those of one text are joined. So secrets are
found that came in two pieces, and a thousand words are not a thousand events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from pelton.adapters.gateway.dialects import Dialect, Json, Tokens

STREAM: Final = "text/event-stream"

_GROWS: Final = frozenset({"text", "thinking", "partial_json", "content", "arguments", "delta"})
"""Members whose text goes on from one event of a stream to the next."""
_NUMBERS: Final = frozenset({"sequence_number"})


class Event(NamedTuple):
    """One event of a stream: the bytes it came in, its name if it has one, and its data."""

    raw: bytes
    name: str
    data: Any


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer as it is recorded, as JSON: the `body`, or the events of a stream, joined.

    `question` is what was asked, its long parts by their hashes.
    """

    type: str
    body: Any = None
    events: tuple[tuple[str, Any], ...] | None = None
    question: Any = None

    def said(self) -> Iterator[bytes]:
        """Yield the bytes that say it again."""
        if self.events is None:
            yield msgspec.json.encode(self.body)
            return
        for name, data in self.events:
            yield _spelled(name, data)


def _spelled(name: str, data: Any) -> bytes:
    head = b"event: %b\n" % name.encode() if name else b""
    body = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    return b"%bdata: %b\n\n" % (head, body.encode())


class Reading:
    """An answer that is coming, of which `tokens` and `ended` say what is known so far."""

    def __init__(self, dialect: Dialect, type_: str) -> None:
        self._dialect, self._type = dialect, type_
        self._counts: Json = {}
        self._rest = b""
        self._events: list[Event] = []
        self.streams = type_.partition(";")[0].strip() == STREAM
        """Whether it comes event by event."""
        self.ended = False
        """Whether its end has come."""
        self.failed = False
        """Whether it has said that there is no answer."""

    @property
    def tokens(self) -> Tokens:
        """What it took."""
        return self._dialect.tokens(self._counts)

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take what has come of a stream, and yield the events that are whole."""
        self._rest += data
        if b"\r" in self._rest:
            self._rest = self._rest.replace(b"\r\n", b"\n")
        *blocks, self._rest = self._rest.split(b"\n\n")
        for block in blocks:
            if block.strip():
                event = _event(block + b"\n\n")
                self._look(event.data)
                self._events.append(event)
                yield event

    def whole(self, data: bytes) -> Kept:
        """Take all of an answer that is no stream.

        Raises:
            msgspec.DecodeError: it is no JSON.
        """
        body = msgspec.json.decode(data)
        self._look(body)
        self.ended = not self.failed
        return Kept(type=self._type, body=body)

    def kept(self) -> Kept:
        """Return the stream as it is recorded."""
        return Kept(type=self._type, events=tuple(joined(self._events)))

    def _look(self, part: Any) -> None:
        """See what a part of it says of itself."""
        if not isinstance(part, dict):
            return
        found = cast("Json", part)
        if counts := self._dialect.usage(found):
            told = ((name, count) for name, count in counts.items() if count is not None)
            self._counts.update(told)
        self.ended = self.ended or self._dialect.ends(found)
        self.failed = self.failed or self._dialect.fails(found)


def _event(raw: bytes) -> Event:
    name, lines = b"", list[bytes]()
    for line in raw.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    text = lines[0] if len(lines) == 1 else b"\n".join(lines)
    try:
        data: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        data = text.decode(errors="replace")  # such as `[DONE]`, or what somebody between has said
    return Event(raw, name.decode(errors="replace"), data)


def counts_only(event: Event) -> bool:
    """Whether an event of a chat says what it took, and nothing else."""
    data = event.data
    return isinstance(data, dict) and cast("Json", data).get("choices") == []


def joined(events: Sequence[Event]) -> Iterator[tuple[str, Any]]:
    """Yield names and data of events; what only goes on with a text is one event with it."""
    last: tuple[str, Any] | None = None
    for event in events:
        if not event.name and event.data == "":
            continue  # a comment, that keeps a connection open
        if last is not None and last[0] == event.name:
            made = _joined(last[1], event.data)
            if made is not None:
                last = event.name, made
                continue
        if last is not None:
            yield last
        last = event.name, event.data
    if last is not None:
        yield last


def _joined(one: Any, other: Any) -> Any:
    """Return two parts as one, if they differ in the text alone that goes on, else None."""
    grown = [0]
    made = _merged(one, other, "", grown)
    return made if grown == [1] else None


class _Apart(Exception):
    """The two are about different things."""


def _merged(one: Any, other: Any, name: str, grown: list[int]) -> Any:
    try:
        return _merge(one, other, name, grown)
    except _Apart:
        grown[0] = 0
        return None


def _merge(one: Any, other: Any, name: str, grown: list[int]) -> Any:
    if isinstance(one, str) and isinstance(other, str) and name in _GROWS:
        grown[0] += 1
        return one + other
    if name in _NUMBERS:
        return other
    if isinstance(one, dict) and isinstance(other, dict):
        first, second = cast("Json", one), cast("Json", other)
        if first.keys() != second.keys():
            raise _Apart
        return {each: _merge(first[each], second[each], each, grown) for each in first}
    if isinstance(one, list) and isinstance(other, list):
        items, more = cast("Sequence[Any]", one), cast("Sequence[Any]", other)
        if len(items) != len(more):
            raise _Apart
        return [_merge(*pair, name, grown) for pair in zip(items, more, strict=True)]
    if one != other:
        raise _Apart
    return other
