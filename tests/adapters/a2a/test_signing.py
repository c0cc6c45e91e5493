"""Signed cards: what is signed, by whom it is verified, and what does not pass."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.signing import (
    ProtectedHeader,
    create_agent_card_signer,
    create_signature_verifier,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from joserfc.jwk import KeySet, OctKey, OKPKey, RSAKey

from pelton.adapters.a2a import signing
from pelton.adapters.a2a.card import Cards
from pelton.adapters.a2a.signing import CardNotVerified, KeyUnusable, canonical, sign, verify
from pelton.adapters.cli.app import run
from tests.a2a import validate
from tests.adapters.a2a.world import profile

KEY = signing.new_key()
KEYS = KeySet.import_key_set({"keys": [KEY]})
CARD: dict[str, Any] = json.loads(msgspec.json.encode(Cards("https://a.example").of(profile())))


def public(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "d"}


def test_the_example_of_the_specification() -> None:
    """§8.4.1, to the byte."""
    card: dict[str, Any] = {
        "name": "Example Agent",
        "description": "",
        "capabilities": {"streaming": False, "pushNotifications": False, "extensions": []},
        "skills": [],
    }
    assert canonical(card) == (
        b'{"capabilities":{"pushNotifications":false,"streaming":false},"description":"",'
        b'"name":"Example Agent","skills":[]}'
    )


def test_what_protocol_buffers_do_not_keep_is_not_signed() -> None:
    extension: dict[str, Any] = {"uri": "u", "required": False, "description": ""}
    extension["params"] = {"a": "", "b": []}
    card: dict[str, Any] = {
        "name": "n",
        "signatures": [{"protected": "x"}],
        "provider": {"url": "", "organization": "o", "more": 1},
        "capabilities": {"extensions": [extension]},
        "securitySchemes": {"k": {"apiKeySecurityScheme": {"location": "", "description": ""}}},
        "securityRequirements": [{"schemes": {"k": {"list": []}}}],
        "unknown": True,
        "iconUrl": "",
    }
    assert json.loads(canonical(card)) == {
        "name": "n",
        "provider": {"url": "", "organization": "o"},
        "capabilities": {"extensions": [{"uri": "u", "params": {"a": "", "b": []}}]},
        "securitySchemes": {"k": {"apiKeySecurityScheme": {"location": ""}}},
        "securityRequirements": [{"schemes": {"k": {}}}],
        "iconUrl": "",
    }


@pytest.mark.accepts("S12")
@pytest.mark.parametrize(
    "key",
    [
        KEY,
        OKPKey.generate_key("Ed25519", auto_kid=True).as_dict(private=True),
        RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True),
    ],
    ids=lambda key: key["kty"],
)
def test_what_is_signed_is_verified(key: Any) -> None:
    keys = KeySet.import_key_set({"keys": [key]})
    signed = sign(CARD, keys, jku="https://a.example/jwks.json")
    validate("Agent Card", signed)
    [signature] = signed["signatures"]
    header = json.loads(base64.urlsafe_b64decode(signature["protected"] + "=="))
    assert header["typ"] == "JOSE"
    assert header["jku"] == "https://a.example/jwks.json"
    assert verify(signed, keys) == header["kid"] == key["kid"]
    twice = sign(signed, KEYS)
    assert len(twice["signatures"]) == 2
    assert verify(twice, keys) == key["kid"]
    assert verify(twice, KEYS) == KEY["kid"]


def _forged(header: dict[str, Any]) -> dict[str, str]:
    protected = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return {"protected": protected, "signature": ""}


SIGNED = sign(CARD, KEYS)


NOT_SIGNED: list[Any] = [
    CARD,
    SIGNED | {"name": "another"},
    SIGNED | {"skills": []},
    {name: value for name, value in SIGNED.items() if name != "version"},
    CARD | {"signatures": [_forged({"alg": "none", "kid": KEY["kid"]})]},
    CARD | {"signatures": [_forged({"alg": "HS256", "kid": KEY["kid"]})]},
    CARD | {"signatures": [{"protected": "é", "signature": "."}, 7, {}, None]},
    CARD | {"signatures": {"protected": "x"}},
    SIGNED
    | {"supportedInterfaces": [{**CARD["supportedInterfaces"][0], "url": "https://e.example"}]},
    SIGNED | {"name": f"{CARD['name']}\u200b"},
    SIGNED | {"name": "\u0430" + CARD["name"][1:]},
    SIGNED | {"description": "x" * 1_000_000},
    SIGNED | {"skills": CARD["skills"] * 10_000},
    CARD | {"signatures": [{**SIGNED["signatures"][0], "signature": "AAAA"}]},
]


@pytest.mark.accepts("S12")
@pytest.mark.parametrize("card", NOT_SIGNED)
def test_what_was_not_signed_is_not_verified(card: dict[str, Any]) -> None:
    with pytest.raises(CardNotVerified):
        verify(card, KEYS)


@pytest.mark.accepts("S12")
def test_a_key_that_is_not_trusted_verifies_nothing() -> None:
    """Not even if the card names it, or has the id of one that is."""
    stranger = signing.new_key() | {"kid": KEY["kid"]}
    forged = sign(CARD, KeySet.import_key_set({"keys": [stranger]}), jku="https://evil.example")
    for trusted in (KEYS, KeySet([])):
        with pytest.raises(CardNotVerified):
            verify(forged, trusted)


def test_a_public_key_is_no_secret() -> None:
    """A signature that says HS256 is not checked with the public key as its secret."""
    secret = OctKey.import_key(json.dumps(public(KEY)), {"kid": str(KEY["kid"])})
    with pytest.raises(KeyUnusable):
        sign(CARD, KeySet([secret]))
    with pytest.raises(KeyUnusable):
        sign(CARD, KeySet.import_key_set({"keys": [public(KEY)]}))


@pytest.mark.accepts("S12")
def test_the_official_sdk_verifies_ours_and_we_theirs() -> None:
    key: Any = jwt.PyJWK(public(KEY), algorithm="ES256").key

    def found(*_: object) -> Any:
        return key

    check = create_signature_verifier(found, ["ES256"])
    check(ParseDict(SIGNED, pb.AgentCard()))
    theirs = create_agent_card_signer(
        jwt.PyJWK(KEY, algorithm="ES256").key,
        ProtectedHeader(kid=str(KEY["kid"]), alg="ES256", jku="https://x.example", typ="JOSE"),
    )
    assert verify(MessageToDict(theirs(ParseDict(CARD, pb.AgentCard()))), KEYS) == KEY["kid"]


def test_a_bridge_signs_the_same_card_once() -> None:
    cards = Cards("https://a.example")
    cards.sign = lambda card: sign(card, KEYS)
    first = cards.shown(profile())
    assert cards.shown(profile()) == first
    assert isinstance(first, dict)
    assert verify(first, KEYS) == KEY["kid"]
    assert cards.shown(profile("other")) != first


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["card", "key"]) == 0
    (tmp_path / "key.json").write_text(capsys.readouterr().out)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    key, card = str(tmp_path / "key.json"), tmp_path / "card.json"
    assert run(["card", "sign", str(card), "--key", key]) == 0
    card.write_text(capsys.readouterr().out)
    assert run(["card", "verify", str(card), "--key", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    card.write_text(card.read_text().replace("Does it.", "Does more."))
    assert run(["card", "verify", str(card), "--key", key]) == 1
    assert run(["card", "verify", str(card)]) == 2
    assert run(["card", "verify", str(card), "--key", str(card)]) == 2
    card.write_text("[]")
    assert run(["card", "verify", str(card), "--key", key]) == 1
