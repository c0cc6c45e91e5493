"""What JetStream puts on the wire: headers, acknowledgements, the answers of its API."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream.errors import ApiError
from pelton.runtime.log import Record

MAX_SUBJECT_BYTES: Final = 1024
"""The server drops the whole connection for a protocol line over 4,096 bytes (S7)."""

SECOND: Final = 1_000_000_000
"""JetStream counts time in nanoseconds."""

NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
"""Codes that are answers rather than errors."""

_LITERAL: Final = re.compile(r"[!-)+\-/-=?-~]+(?:\.[!-)+\-/-=?-~]+)*", re.ASCII)
_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?", re.ASCII)


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """The answer to a publication into a stream."""

    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None
    """Those that have messages, if they were asked for."""


class _Group(msgspec.Struct, frozen=True):
    leader: str = ""


class StreamInfo(msgspec.Struct, frozen=True):
    """The answer to a question about a stream; its configuration as it came."""

    config: dict[str, Any] = {}
    state: StreamState = StreamState()
    cluster: _Group | None = None
    ts: datetime | None = None
    """The server's clock when it answered."""
    error: ApiError | None = None

    @property
    def orphaned(self) -> bool:
        """Whether it has no leader now: then a replica has answered, which may be behind."""
        return self.cluster is not None and not self.cluster.leader


class Answer(msgspec.Struct, frozen=True):
    """Any answer of the API of which only the success matters."""

    error: ApiError | None = None


class _Stored(msgspec.Struct, frozen=True):
    subject: str = ""
    seq: int = 0
    hdrs: str = ""
    data: str = ""
    time: str = ""


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer of the leader to a question about a message."""

    message: _Stored | None = None
    error: ApiError | None = None


class Found(NamedTuple):
    """A record, and the headers that it was published with."""

    record: Record
    headers: bytes


decode_ack: Final = msgspec.json.Decoder(PubAck).decode
decode_info: Final = msgspec.json.Decoder(StreamInfo).decode
decode_answer: Final = msgspec.json.Decoder(Answer).decode
decode_stored: Final = msgspec.json.Decoder(StoredAnswer).decode
encode: Final = msgspec.json.encode


def check_literal(subject: str) -> str:
    """Return `subject` if it is a literal subject that the server takes.

    Raises:
        InvalidInput: it is not.
    """
    if len(subject) > MAX_SUBJECT_BYTES or not _LITERAL.fullmatch(subject):
        raise InvalidInput(f"{subject[:120]!r} is not a literal subject", field="subject")
    return subject


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it is a subject, wildcards allowed, that the server takes.

    Raises:
        InvalidInput: it is not.
    """
    *tokens, last = pattern.split(".")
    literal = ".".join("x" if each == "*" else each for each in [*tokens, last])
    if last == ">":
        literal = f"{literal[:-1]}x"
    try:
        check_literal(literal)
    except InvalidInput:
        raise InvalidInput(
            f"{pattern[:120]!r} is no pattern of subjects", field="subject"
        ) from None
    return pattern


def check_value(value: str, field: str) -> str:
    """Return `value` if it may stand in a header as it is.

    Raises:
        InvalidInput: it may not.
    """
    if not _VALUE.fullmatch(value):
        raise InvalidInput(f"{field} must be 1 to 256 printable ASCII characters", field=field)
    return value


def headers(members: Mapping[str, str]) -> bytes:
    """Return a block of headers; names and values must be clean."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in members.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def header(block: bytes, name: bytes) -> bytes:
    """Return the last header of that name in a block, or nothing.

    The server adds its own after those of the publisher, so the last is the one to trust.
    """
    start = block.rfind(b"\r\n%b: " % name)
    if start < 0:
        return b""
    start += len(name) + 4
    return block[start : block.index(b"\r\n", start)]


def status(block: bytes) -> int:
    """Return the status that stands in a block of headers; 0 if there is none."""
    return int(block[9:12]) if block[8:9] == b" " else 0


def direct(block: bytes, data: bytes) -> Record:
    """Return the record that a direct get answered with."""
    return Record(
        int(header(block, b"Nats-Sequence")),
        header(block, b"Nats-Subject").decode(),
        data,
        _nanoseconds(header(block, b"Nats-Time-Stamp").decode()),
    )


def found(answer: StoredAnswer) -> Found | None:
    """Return what the leader answered with; None if it has no such message."""
    message = answer.message
    if message is None:
        return None
    data, block = base64.b64decode(message.data), base64.b64decode(message.hdrs)
    return Found(Record(message.seq, message.subject, data, _nanoseconds(message.time)), block)


def delivery(reply: bytes) -> tuple[int, int, int, int, int]:
    """Return what the reply subject of a delivered message tells.

    How often it was delivered, its sequence in the stream, its number among all deliveries of the
    consumer, when it was stored (nanoseconds), and how many messages are yet to be delivered.

    The subject is `$JS.ACK.<stream>.<consumer>` and then these, with a domain and a hash of the
    account after `ACK` and a last random token in the newer form.
    """
    deliveries, sequence, number, received_ns, pending = _delivery(reply)[:5]
    return int(deliveries), int(sequence), int(number), int(received_ns), int(pending)


def stored(reply: bytes) -> tuple[int, int]:
    """Return what `delivery` does of the record itself: its sequence, and when it was stored."""
    tokens = _delivery(reply)
    return int(tokens[1]), int(tokens[3])


def _delivery(reply: bytes) -> list[bytes]:
    tokens = reply.split(b".")
    return tokens[4:] if len(tokens) == 9 else tokens[6:]


def _nanoseconds(rfc3339: str) -> int:
    # The server writes up to nine digits of a second; a datetime holds six.
    seconds = int(datetime.fromisoformat(rfc3339[:19]).replace(tzinfo=UTC).timestamp())
    return seconds * SECOND + int(rfc3339[20:-1].ljust(9, "0"))
