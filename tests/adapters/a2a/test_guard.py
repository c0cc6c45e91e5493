"""Hosts, origins, media types and sizes: what is not let in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pelton.adapters.a2a.errors import (
    BodyTooLarge,
    MediaTypeNotSupported,
    Misdirected,
    PolicyDenied,
)
from pelton.adapters.a2a.guard import MAX_BODY, Guard, check_media_type, is_loopback, read_body

pytestmark = pytest.mark.accepts("S20")


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:80", b"127.0.0.1:8000", b"[::1]:8000", b"my.host:1"]
)
def test_loopback_answers_to_its_own_names(host: bytes) -> None:
    guard = Guard("127.0.0.1", ["my.host", ""])
    for _ in range(2):
        guard.check({b"host": host})


@pytest.mark.parametrize(
    "host",
    [b"", b"evil.example", b"localhost.evil.example", b"127.0.0.1.nip.io", b"a@localhost:b", b"["],
)
@pytest.mark.parametrize("listens", ["127.0.0.1", "localhost", "::1"])
def test_loopback_answers_to_no_other_name(listens: str, host: bytes) -> None:
    with pytest.raises(Misdirected):
        Guard(listens, []).check({b"host": host})


def test_elsewhere_every_host_is_taken_unless_some_are_named() -> None:
    Guard("0.0.0.0", []).check({b"host": b"any.example"})
    with pytest.raises(Misdirected):
        Guard("0.0.0.0", ["api.example"]).check({b"host": b"any.example"})


@pytest.mark.parametrize(
    "origin", [b"null", b"https://evil.example", b"http://localhost.evil", b""]
)
@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0"])
def test_pages_of_other_origins_are_denied(listens: str, origin: bytes) -> None:
    with pytest.raises(PolicyDenied):
        Guard(listens, []).check({b"host": b"localhost:1", b"origin": origin})


def test_pages_of_its_own_origin_are_served() -> None:
    Guard("127.0.0.1", []).check({b"host": b"localhost:1", b"origin": b"http://localhost:1"})
    Guard("0.0.0.0", []).check({b"host": b"api.example", b"origin": b"https://api.example"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.com")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"text/plain"},
        {b"content-type": b"application/jsonp"},
        {b"content-type": b"multipart/form-data"},
        {b"content-type": b"application/json", b"content-encoding": b"gzip"},
    ],
)
@pytest.mark.accepts("S17")
def test_only_plain_json_is_taken(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(MediaTypeNotSupported):
        check_media_type(headers)


@pytest.mark.parametrize(
    "kind", [b"application/json", b"Application/JSON; charset=utf-8", b"application/a2a+json"]
)
def test_json_is_taken(kind: bytes) -> None:
    check_media_type({b"content-type": kind})


class Receiving:
    """Gives the pieces of a body."""

    def __init__(self, pieces: Sequence[bytes], *, gone: bool = False) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
        ]
        if gone:
            self._messages.append({"type": "http.disconnect"})
        elif self._messages:
            self._messages[-1]["more_body"] = False

    async def __call__(self) -> dict[str, Any]:
        return self._messages.pop(0)


async def test_a_body_is_put_together() -> None:
    assert await read_body(Receiving([b"a"]), {}) == b"a"
    assert await read_body(Receiving([b"a", b"b", b"c"]), {b"content-length": b"3"}) == b"abc"


async def test_a_body_whose_client_has_gone_is_none() -> None:
    assert await read_body(Receiving([b"a"], gone=True), {}) is None
    assert await read_body(Receiving([], gone=True), {}) is None


@pytest.mark.accepts("S14")
async def test_a_body_that_is_too_large_is_refused_as_soon_as_it_is_known() -> None:
    assert await read_body(Receiving([b"x" * MAX_BODY]), {}) is not None
    for said in (str(MAX_BODY + 1).encode(), b"9" * 30):
        with pytest.raises(BodyTooLarge):
            await read_body(Receiving([]), {b"content-length": said})
    with pytest.raises(BodyTooLarge):  # it says less than it is
        await read_body(Receiving([b"x" * MAX_BODY, b"x", b"x"]), {b"content-length": b"1"})
