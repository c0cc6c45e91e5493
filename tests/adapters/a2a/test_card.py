"""Agent cards: what they claim, and how they are cached."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from pelton.adapters.a2a.card import Cards, answer
from pelton.adapters.a2a.extensions import OWN
from pelton.events import hitl
from tests.a2a import validate
from tests.adapters.a2a.world import profile

CARD = Cards("https://a.example").of(profile())
SINCE = datetime(2026, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC)


def test_a_card_is_as_specified_and_claims_only_what_works() -> None:
    reply = answer(Cards("https://a.example/").of(profile("one")), SINCE, {})
    body = json.loads(reply.body)
    validate("Agent Card", body)
    assert reply.status == 200
    assert reply.media_type == b"application/json"
    extensions = body["capabilities"].pop("extensions")
    assert {each["uri"] for each in extensions} == {each.uri for each in OWN}
    assert hitl.URI in {each.uri for each in OWN}
    assert body["capabilities"] == {
        "streaming": True,
        "pushNotifications": False,
        "extendedAgentCard": False,
    }
    assert body["supportedInterfaces"] == [
        {"url": "https://a.example/one", "protocolBinding": binding, "protocolVersion": "1.0"}
        for binding in ("JSONRPC", "HTTP+JSON")
    ]
    assert body["skills"]
    assert body["defaultInputModes"]


def test_a_client_that_has_the_card_is_told_so() -> None:
    first = answer(CARD, SINCE, {})
    headers = dict(first.headers)
    tag, modified = headers[b"etag"], headers[b"last-modified"]
    assert headers[b"cache-control"].startswith(b"public, max-age=")
    assert modified == b"Fri, 01 May 2026 12:00:00 GMT"
    for known in (tag, b"W/" + tag, b'"x", ' + tag, b"*"):
        again = answer(CARD, SINCE, {b"if-none-match": known})
        assert (again.status, again.body) == (304, b"")
        assert again.headers == first.headers
    again = answer(CARD, SINCE, {b"if-modified-since": modified})
    assert again.status == 304


@pytest.mark.parametrize(
    "headers",
    [
        {b"if-none-match": b'"x"'},
        {b"if-none-match": b'"x"', b"if-modified-since": b"Fri, 01 May 2026 12:00:00 GMT"},
        {b"if-modified-since": b"Fri, 01 May 2026 11:59:59 GMT"},
        {b"if-modified-since": b"yesterday"},
        {b"if-modified-since": b"\xff"},
    ],
)
def test_a_client_that_has_another_card_gets_this_one(headers: dict[bytes, bytes]) -> None:
    assert answer(CARD, SINCE, headers).status == 200


def test_another_profile_is_another_card() -> None:
    one = answer(CARD, SINCE, {})
    two = answer(
        Cards("https://a.example").of(profile(documentation_url="https://d.example")),
        SINCE + timedelta(seconds=1),
        {},
    )
    assert dict(one.headers)[b"etag"] != dict(two.headers)[b"etag"]
