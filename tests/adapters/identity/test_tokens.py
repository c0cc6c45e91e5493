"""Bearer tokens: the good ones, and all the ways to forge one (S2)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from pelton.adapters.identity import jwks as module
from pelton.adapters.identity import tokens as verifying
from pelton.adapters.identity.jwks import fetcher, parse
from pelton.events.principal import GRANTS, Role, Scope
from tests.adapters.identity.issuing import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    OTHER,
    RSA,
    Clock,
    Served,
    jwks,
    raw,
    token,
    tokens,
)

pytestmark = pytest.mark.accepts("S2")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.mark.parametrize(
    ("kid", "key", "algorithm"),
    [("rsa", RSA, "RS256"), ("ec", EC, "ES256"), ("ed", ED, "EdDSA")],
)
async def test_a_good_token_is_its_subjects(
    clock: Clock, served: Served, kid: str, key: Any, algorithm: str
) -> None:
    verifier = tokens(clock, served)
    good = token(clock, by=key, algorithm=algorithm, header={"kid": kid})
    for _ in range(3):
        found = await verifier.principal(good)
        assert found is not None
        assert (found.id, found.tenant) == ("idp:anna", "acme")
        assert found.scopes == GRANTS[Role.CLIENT]
    assert served.asked == 1


def confused(clock: Clock) -> str:
    """Return a token signed with the public key as if it were a shared secret (HS/RS confusion)."""
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    now = int(clock.now().timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 600}
    unsigned = raw({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims).rpartition(".")[0]
    signature = hmac.digest(public, unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def embedded(clock: Clock, **header: Any) -> str:
    """Return a token signed by a stranger who brings the key along, or says where it is."""
    return token(clock, by=OTHER, header=header)


async def test_forged_tokens_are_not_good(clock: Clock, served: Served) -> None:
    now = int(clock.now().timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 600}
    own = json.loads(jwks())["keys"][0]
    good = token(clock)
    head, body, signature = good.split(".")
    forged = {
        "none": raw({"alg": "none", "kid": "rsa"}, claims),
        "NONE": raw({"alg": "NonE", "kid": "rsa"}, claims),
        "no alg": raw({"kid": "rsa"}, claims),
        "alg of a list": raw({"alg": ["RS256"], "kid": "rsa"}, claims),
        "confusion": confused(clock),
        "shared secret": raw({"alg": "HS256", "kid": "oct"}, claims),
        "another key": token(clock, by=OTHER),
        "jwk": embedded(clock, jwk=own),
        "jku": embedded(clock, jku="https://evil.example/jwks"),
        "x5u": embedded(clock, x5u="https://evil.example/x"),
        "crit": token(clock, header={"crit": ["exp"], "exp": now}),
        "no kid": token(clock, header={"kid": None}),
        "kid of another kind": token(clock, header={"kid": "ec"}),
        "kid that is no text": raw({"alg": "RS256", "kid": 1}, claims),
        "long kid": token(clock, header={"kid": "k" * 300}),
        "typ": token(clock, header={"typ": "secevent+jwt"}),
        "algorithm that is not pinned": token(clock, algorithm="RS512"),
        "aud": token(clock, aud="https://elsewhere.example"),
        "no aud": token(clock, without="aud"),
        "aud of nothing": token(clock, aud=[]),
        "iss": token(clock, iss="https://evil.example"),
        "no iss": token(clock, without="iss"),
        "no sub": token(clock, without="sub"),
        "empty sub": token(clock, sub=""),
        "sub that breaks lines": token(clock, sub="a\nb"),
        "no exp": token(clock, without="exp"),
        "expired": token(clock, exp=now - 31),
        "exp that is no number": token(clock, exp="tomorrow"),
        "exp without end": raw({"alg": "RS256", "kid": "rsa"}, claims | {"exp": 10**400}),
        "not yet": token(clock, nbf=now + 31),
        "signature cut off": f"{head}.{body}.",
        "signature altered": f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        "body altered": f"{head}.{body[:-4]}AAAA.{signature}",
        "deep": raw({"alg": "RS256", "kid": "rsa"}, b"[" * 4000),
        "deep head": raw(b'{"a":' * 1500, claims),
        "no JSON": raw(b"\xff", b"\xff"),
        "two parts": f"{head}.{body}",
        "empty": "",
        "dots": "..",
    }
    verifier = tokens(clock, served)
    for name, bad in forged.items():
        assert await verifier.principal(bad) is None, name
    assert await verifier.principal(good) is not None
    assert served.asked == 1


@given(st.text(alphabet="abcdeyJ0.-_={}\"' \n", max_size=60))
def test_any_text_is_no_token(text: str) -> None:
    async def run() -> None:
        assert await tokens(Clock(), Served()).principal(text) is None

    asyncio.run(run())


async def test_a_token_ends_even_if_it_is_remembered(clock: Clock, served: Served) -> None:
    verifier, short = tokens(clock, served), token(clock, exp=int(clock.now().timestamp()) + 60)
    assert await verifier.principal(short) is not None
    clock.forward(60 + verifying.LEEWAY + 1)
    assert await verifier.principal(short) is None


async def test_what_is_remembered_is_bounded(
    clock: Clock, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "REMEMBERED", 3)
    verifier = tokens(clock, served)
    for number in range(6):
        assert (
            await verifier.principal(
                token(clock, by=ED, algorithm="EdDSA", jti=str(number), header={"kid": "ed"})
            )
            is not None
        )
    assert len(verifier._known) == 3  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def test_a_flood_of_strange_ids_while_the_issuer_is_down_takes_no_key_away(
    clock: Clock, served: Served
) -> None:
    """CVE-2026-48524: the keys that are known stay, and the issuer is not asked each time."""
    verifier = tokens(clock, served)
    assert await verifier.principal(token(clock)) is not None
    served.down = True
    for number in range(200):
        assert await verifier.principal(token(clock, header={"kid": f"k{number}"})) is None
    assert served.asked == 1
    clock.forward(module.ASK_AGAIN)
    for number in range(200):
        assert await verifier.principal(token(clock, header={"kid": f"m{number}"})) is None
    assert served.asked == 2
    clock.forward(module.MAX_AGE)
    assert await verifier.principal(token(clock, jti="new")) is not None, "stale keys serve"


async def test_a_new_key_of_the_issuer_is_fetched_once_for_all_who_wait(
    clock: Clock, served: Served
) -> None:
    verifier = tokens(clock, served)
    found = await asyncio.gather(
        *(verifier.principal(token(clock, jti=str(number))) for number in range(20))
    )
    assert None not in found
    assert served.asked == 1


async def test_an_issuer_that_comes_back_is_asked_again(clock: Clock, served: Served) -> None:
    served.down = True
    verifier = tokens(clock, served)
    assert await verifier.principal(token(clock)) is None
    served.down = False
    assert await verifier.principal(token(clock)) is None, "not yet"
    clock.forward(module.ASK_AGAIN)
    assert await verifier.principal(token(clock)) is not None


CLAIMS: list[tuple[dict[str, Any], dict[str, Any], frozenset[Scope]]] = [
    ({"scopes": True}, {"scope": "tasks:read openid"}, frozenset({Scope.READ})),
    ({"scopes": True}, {"scope": ["tasks:read"]}, frozenset({Scope.READ})),
    ({"scopes": True}, {"scope": ""}, frozenset()),
    ({"scopes": True}, {"scope": "openid tenant:write"}, frozenset()),
    ({"scopes": True}, {}, GRANTS[Role.CLIENT]),
    ({}, {"scope": "openid"}, GRANTS[Role.CLIENT]),
    ({"roles_claim": "groups"}, {"groups": ["operator", "staff"]}, GRANTS[Role.OPERATOR]),
    ({"roles_claim": "groups"}, {"groups": 7}, frozenset()),
    ({"roles_claim": "groups"}, {}, frozenset()),
]


@pytest.mark.parametrize(("members", "claims", "scopes"), CLAIMS)
async def test_claims_grant_what_the_settings_let_them(
    clock: Clock, served: Served, members: Any, claims: Any, scopes: frozenset[Scope]
) -> None:
    found = await tokens(clock, served, **members).principal(token(clock, **claims))
    assert found is not None
    assert found.scopes == scopes


async def test_a_stranger_names_no_tenant_and_no_family(clock: Clock, served: Served) -> None:
    """Only the built-in issuer's tokens say whose they are."""
    found = await tokens(clock, served).principal(token(clock, tenant="globex", fam="x", key="y"))
    assert found is not None
    assert found.tenant == "acme"


def test_only_keys_that_can_sign_are_taken() -> None:
    assert set(parse(jwks())) == {"rsa", "ec", "ed"}
    for data in (b"", b"[]", b"{}", b'{"keys": 1}', b"[" * 100_000):
        with pytest.raises(ValueError, match="JWKS"):
            parse(data)


@pytest.mark.parametrize(
    "place",
    ["http://issuer.example/x", "ftp://issuer.example", "https://", "https://a@b/c", "file:///x"],
)
@pytest.mark.accepts("S9")
def test_keys_are_not_fetched_from_just_anywhere(place: str) -> None:
    with pytest.raises(ValueError, match="use"):
        fetcher(place)
