"""Who gets to the debugger: from where, from what page, with what."""

from __future__ import annotations

import pytest

from pelton.adapters.a2a.errors import AuthDenied, Misdirected, PolicyDenied
from pelton.adapters.debug.gate import Gate

TOKEN = "the-token-of-this-run"
HOST = b"127.0.0.1:8000"


@pytest.fixture
def gate() -> Gate:
    return Gate(TOKEN)


def cookie(gate: Gate, scheme: str = "http", token: str = TOKEN) -> str:
    found = gate.exchange(f"token={token}".encode(), {b"host": HOST}, scheme=scheme)
    assert found is not None
    return found.decode()


@pytest.mark.accepts("S20")
@pytest.mark.parametrize(
    "host", [b"127.0.0.1:8000", b"localhost:8000", b"[::1]:8000", b"LOCALHOST"]
)
def test_it_answers_to_this_machine(gate: Gate, host: bytes) -> None:
    gate.check_place({b"host": host}, scheme="http")
    gate.check_place({b"host": host, b"origin": b"http://" + host}, scheme="http")


@pytest.mark.accepts("S20")
@pytest.mark.parametrize(
    "host", [b"", b"evil.example", b"localhost.evil.example", b"10.0.0.1:8000", b"127.0.0.1.nip.io"]
)
def test_it_answers_to_no_other_name(gate: Gate, host: bytes) -> None:
    """Not even to one that the bridge answers to: it is a page, which names could be bound to."""
    with pytest.raises(Misdirected):
        gate.check_place({b"host": host}, scheme="http")


@pytest.mark.accepts("S20")
@pytest.mark.parametrize(
    "headers",
    [
        {b"origin": b"null"},
        {b"origin": b"https://evil.example"},
        {b"origin": b"http://127.0.0.1:9999"},
        {b"origin": b"https://127.0.0.1:8000"},
        {b"origin": b"http://localhost:8000"},
        {b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"cors"},
        {b"sec-fetch-site": b"same-site", b"sec-fetch-mode": b"no-cors"},
    ],
)
def test_other_pages_are_refused(gate: Gate, headers: dict[bytes, bytes]) -> None:
    """Those of another port of this machine too, which are of the same site."""
    with pytest.raises(PolicyDenied):
        gate.check_place({b"host": HOST, **headers}, scheme="http")


def test_a_link_elsewhere_may_lead_to_it(gate: Gate) -> None:
    headers = {b"host": HOST, b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"navigate"}
    gate.check_place(headers, scheme="http")


@pytest.mark.accepts("S20")
def test_the_token_is_exchanged_for_a_cookie(gate: Gate) -> None:
    value, *attributes = cookie(gate).split("; ")
    assert TOKEN not in value
    assert attributes == ["Path=/debug", "HttpOnly", "SameSite=Strict"]
    assert cookie(gate, scheme="https").endswith("; Secure")
    gate.check({b"host": HOST, b"cookie": b"other=1; " + value.encode()})


@pytest.mark.accepts("S20")
def test_a_cookie_is_of_one_run_and_one_port(gate: Gate) -> None:
    value = cookie(gate).partition(";")[0].encode()
    name, _, secret = value.partition(b"=")
    others: list[dict[bytes, bytes]] = [
        {},
        {b"cookie": value[:-1]},
        {b"cookie": name + b"=" + TOKEN.encode()},
        {b"cookie": b"pelton_debug_9999=" + secret},
        {b"cookie": cookie(Gate("another"), token="another").partition(";")[0].encode()},
    ]
    for headers in others:
        with pytest.raises(AuthDenied):
            gate.check({b"host": HOST, **headers})
    with pytest.raises(AuthDenied):
        gate.check({b"host": b"127.0.0.1:9999", b"cookie": value})


@pytest.mark.accepts("S20")
@pytest.mark.parametrize("query", [b"token=", b"token=wrong", b"token=%ff%00", b"token=a&token=b"])
def test_another_token_is_no_token(gate: Gate, query: bytes) -> None:
    assert gate.exchange(b"tokens=1", {b"host": HOST}, scheme="http") is None
    if query != b"token=":  # which says none
        with pytest.raises(AuthDenied):
            gate.exchange(query, {b"host": HOST}, scheme="http")
