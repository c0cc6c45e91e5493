"""A small and always equal share of what `make fuzz` does with the decoders."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import DECODERS, Decoder
from tests.fuzz.sockets import SLOW

WITHIN = 0.5
"""Seconds of this process that no input may take."""
NAMES = pytest.mark.parametrize("name", DECODERS)

PIECES = (
    *(b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"null", b"[]", b"{}", b'""', b"[[[["),
    *(b"-1", b"1e999", b"9" * 40, b"9" * 5000, b"0.1", b"true", b"%ff", b"%00", b"=", b"\n", b":"),
    *(b"*", b">", b"..", b"/", "\u2028".encode(), "\U0001f600".encode(), b"\r\n", b" ", b"L", b"W"),
)


@st.composite
def mutated(draw: st.DrawFn, examples: Sequence[bytes]) -> bytes:
    """Draw an example with some of its bytes replaced."""
    data = draw(st.sampled_from(examples))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 20)))
        data = data[:begin] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + data[end:]
    return data


def decode(decoder: Decoder, data: bytes) -> None:
    """Decode, and hold the time that it takes against the bound."""
    began = time.thread_time()
    decoder(data)
    took = time.thread_time() - began
    assert took < WITHIN, data[:99]


@NAMES
def test_what_it_takes_is_taken(name: str) -> None:
    for data in DECODERS[name].examples:
        decode(DECODERS[name], data)


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name in DECODERS for data in DECODERS[name].found]
)
def test_what_was_found_is_mended(name: str, data: bytes) -> None:
    decode(DECODERS[name], data)


@pytest.mark.accepts("AS-26", "AS-42")
@NAMES
def test_no_other_error_than_declared(name: str) -> None:
    decoder: Decoder = DECODERS[name]

    @settings(
        max_examples=60,
        derandomize=True,
        database=None,
        suppress_health_check=SLOW,
    )
    @given(st.one_of(mutated(decoder.examples), st.binary(max_size=60)))
    def holds(data: bytes) -> None:
        decode(decoder, data)

    holds()


HUGE = tuple(
    piece * (60_000 // len(piece))
    for piece in (
        *(b"[", b'{"a":', b'"', b"\\", b"1,", b"9", b"\n", b"a: b\n", b" ", b"*,", b"/", b"."),
        *(b"%41", b"a=b&", b"a", b"\xff"),
    )
)
"""As much as the headers of a request may be."""


@pytest.mark.accepts("AS-26", "S14", "S16")
@NAMES
def test_what_is_huge_takes_no_long(name: str) -> None:
    """Time grows with the size, and not with its square."""
    decoder = DECODERS[name]
    for huge in HUGE:
        for data in (huge, decoder.examples[0] + huge, huge + decoder.examples[0]):
            decode(decoder, data)
