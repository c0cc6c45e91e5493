"""What a receiver verifies (S10): altered, old and repeated notifications are known as such."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.adapters.push.signature import NotAuthentic, headers, spell, unspell, verify

pytestmark = pytest.mark.accepts("S10")

SECRET, OTHER = b"s" * 32, b"o" * 32
BODY = b'{"task":{}}'
NOW = 1_700_000_000


def signed(*secrets: bytes, seconds: int = NOW) -> dict[str, str]:
    return headers(secrets or (SECRET,), id="n1", seconds=seconds, body=BODY)


def test_it_is_the_signature_of_standard_webhooks() -> None:
    """As the specification computes it: base64 of HMAC-SHA256 over `id.timestamp.body`."""
    wanted = hmac.new(SECRET, b"n1.%d." % NOW + BODY, hashlib.sha256).digest()
    assert signed() == {
        "webhook-id": "n1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": "v1," + base64.b64encode(wanted).decode(),
    }


def test_the_example_of_standard_webhooks() -> None:
    secret = unspell("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = headers([secret], id="msg_p5jXN8AQM9LWM0D4loKWxJek", seconds=1614265330, body=body)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_was_signed_is_verified() -> None:
    assert verify(SECRET, signed(), BODY, seconds=NOW + 299) == "n1"
    assert verify(SECRET, {k.title(): v for k, v in signed().items()}, BODY, seconds=NOW) == "n1"


def test_while_a_secret_is_exchanged_both_are_good() -> None:
    for secret in (SECRET, OTHER):
        assert verify(secret, signed(OTHER, SECRET), BODY, seconds=NOW) == "n1"


@pytest.mark.parametrize(
    "altered",
    [
        {"webhook-id": "n2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "x"},
        {"webhook-timestamp": "\u0661"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,\u00e9"},
        {"webhook-signature": signed()["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": signed()["webhook-signature"].removeprefix("v1,")},
    ],
)
def test_what_is_altered_is_refused(altered: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic):
        verify(SECRET, signed() | altered, BODY, seconds=NOW)


@pytest.mark.parametrize("late", [-301, 301, 86_400])
def test_what_is_old_or_of_the_future_is_refused(late: int) -> None:
    with pytest.raises(NotAuthentic):
        verify(SECRET, signed(), BODY, seconds=NOW + late)


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=40))
def test_no_other_body_and_no_other_secret_is_verified(body: bytes, secret: bytes) -> None:
    if body != BODY:
        with pytest.raises(NotAuthentic):
            verify(SECRET, signed(), body, seconds=NOW)
    if secret != SECRET:
        with pytest.raises(NotAuthentic):
            verify(secret, signed(), BODY, seconds=NOW)


@given(st.binary(max_size=64))
def test_a_secret_is_told_as_text(secret: bytes) -> None:
    assert unspell(spell(secret)) == secret


@pytest.mark.parametrize("text", ["", "whsec_!", "abc", "WHSEC_AAAA"])
def test_what_spells_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"whsec|base64|Only|padding"):
        unspell(text)
