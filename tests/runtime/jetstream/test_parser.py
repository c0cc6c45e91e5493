"""The parser gives what nats-py's gives, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from pelton.runtime.jetstream.parser import WholeParser

Message = tuple[int, bytes, bytes, bytes, bytes]


class Client:
    """What a parser tells; nats-py's gives away all messages here."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.told: list[object] = []

    def take(self, sid: int, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self.messages.append((sid, subject, reply, headers, data))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.take(sid, subject, reply, headers or b"", data)

    async def _process_ping(self) -> None:
        self.told.append("ping")

    async def _process_pong(self) -> None:
        self.told.append("pong")

    async def _process_err(self, error: str) -> None:
        self.told.append(error)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.told.append(info)


def line(message: Message) -> bytes:
    sid, subject, reply, headers, data = message
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid]
    words += [reply] if reply else []
    words += [b"%d" % len(headers)] if headers else []
    words += [b"%d" % (len(headers) + len(data))]
    return b"%b\r\n%b%b\r\n" % (b" ".join(words), headers, data)


tokens = st.text("abc.$_-", min_size=1, max_size=20).map(str.encode)
payloads = st.binary(max_size=80) | st.sampled_from([b"\r\n", b"PING\r\n", b"MSG a 1 1\r\n"])
blocks = st.just(b"") | st.binary(max_size=30).map(lambda data: b"NATS/1.0" + data + b"\r\n\r\n")
messages = st.tuples(st.integers(0, 99), tokens, st.just(b"") | tokens, blocks, payloads).map(line)
others = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'no'\r\n", b'INFO {"a":1}\r\n']
)


async def read(parser: Parser, data: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for start, stop in pairwise(places):
        await parser.parse(data[start:stop])


@given(st.lists(messages | others), st.lists(st.integers(0, 2000)))
async def test_it_gives_what_nats_py_gives(lines: list[bytes], cuts: list[int]) -> None:
    theirs, ours = Client(), Client()
    await read(Parser(theirs), b"".join(lines), [])
    await read(WholeParser(ours, ours.take), b"".join(lines), cuts)
    assert ours.messages == theirs.messages
    assert ours.told == theirs.told


@pytest.mark.parametrize("data", [b"NONSENSE\r\n", b"MSG a b c\r\n", b"MSG\r\n", b"\r\n"])
async def test_nonsense_is_an_error(data: bytes) -> None:
    client = Client()
    with pytest.raises(ProtocolError):
        await read(WholeParser(client, client.take), line((1, b"a", b"", b"", b"x")) + data, [])
    assert client.messages == [(1, b"a", b"", b"", b"x")]


async def test_whole_messages_are_taken_at_once() -> None:
    client = Client()
    parser = WholeParser(client, client.take)
    await parser.parse(line((1, b"a", b"r", b"", b"first")) + b"MSG a 1 6\r\nsec")
    assert len(client.messages) == 1
    await parser.parse(b"ond\r\n" + line((2, b"b", b"", b"NATS/1.0\r\n\r\n", b"")))
    assert [message[4] for message in client.messages] == [b"first", b"second", b""]
