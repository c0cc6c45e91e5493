"""An issuer of tokens for tests: keys of every kind, and tokens signed with them, good and bad."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from pelton.adapters.identity.jwks import KeySet
from pelton.adapters.identity.tokens import Issuer, Tokens
from pelton.runtime.clock import RealWorld

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "https://agents.example"
RSA: Final = rsa.generate_private_key(65537, 2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
OTHER: Final = rsa.generate_private_key(65537, 2048)


class Clock(RealWorld):
    """The world with clocks that a test sets."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "moment", datetime(2026, 1, 1, tzinfo=UTC))
        object.__setattr__(self, "ticks", 1000.0)

    moment: datetime
    ticks: float

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.ticks

    def forward(self, seconds: float) -> None:
        """Let time go by."""
        object.__setattr__(self, "moment", self.moment + timedelta(seconds=seconds))
        object.__setattr__(self, "ticks", self.ticks + seconds)


def jwks() -> bytes:
    """Return the public keys of the issuer."""
    keys = [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
        {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
        {**OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": "ed", "alg": "EdDSA"},
        {"kty": "oct", "k": base64.urlsafe_b64encode(b"secret").decode(), "kid": "oct"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "encryption", "use": "enc"},
        {"kty": "strange", "kid": "strange"},
        {"kty": "RSA"},
    ]
    return json.dumps({"keys": keys}).encode()


class Served:
    """A key set that counts how often it is asked, and fails when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False

    def __call__(self) -> bytes:
        """Return the key set."""
        self.asked += 1
        if self.down:
            raise OSError("down")
        return jwks()


def tokens(clock: Clock, served: Served, **members: Any) -> Tokens:
    """Return what verifies the issuer's tokens."""
    issuer = Issuer(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=frozenset({"RS256", "ES256", "EdDSA"}),
        keys=KeySet(served, world=clock),
        tenant="acme",
        prefix="idp:",
        roles=("client",),
    )
    return Tokens([issuer._replace(**members)], world=clock)


def token(
    clock: Clock,
    *,
    by: Any = RSA,
    algorithm: str = "RS256",
    header: Mapping[str, Any] | None = None,
    without: str = "",
    **claims: Any,
) -> str:
    """Return a token, good unless told otherwise."""
    now = int(clock.now().timestamp())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 600, "nbf": now} | claims
    given.pop(without, None)
    headers = {"kid": "rsa"} | dict(header or {})
    headers = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(given, by, algorithm=algorithm, headers=headers)


def raw(header: Any, claims: Any, signature: bytes = b"") -> str:
    """Return whatever has the form of a token."""

    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{part(signature)}"
