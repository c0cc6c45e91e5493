"""Bearer tokens: JWTs of issuers that the settings name, verified as RFC 8725 asks (S2)."""

from __future__ import annotations

import binascii
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import jwt
import msgspec

from pelton.adapters.identity.jwks import PublicKeys
from pelton.events.a2a import JsonObject
from pelton.events.principal import Principal, holder
from pelton.runtime.access import Keyring
from pelton.runtime.clock import World

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What may sign tokens: nothing with a shared secret, or a public key could be taken for one."""
LEEWAY: Final = 30.0
"""Seconds by which clocks may differ."""
REMEMBERED: Final = 10_000
"""How many verified tokens are remembered, so that each is verified once."""
_MAX_NAME: Final = 256

Claims = Mapping[str, Any]


class Issuer(NamedTuple):
    """Whose tokens are taken: `issuer` and `audience` must be theirs, signed as `algorithms` say.

    The tenant is `tenant`, the same for all its tokens. `prefix` stands before subjects in the ids
    of principals, so that no issuer can name another's. Roles are `roles`, or those that the claim
    `roles_claim` holds.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str]
    keys: PublicKeys
    tenant: str
    prefix: str
    roles: tuple[str, ...] = ()
    roles_claim: str = ""
    scopes: bool = False
    """Whether the claim `scope` narrows what the roles grant."""
    own: bool = False
    """Whether it is this pelton itself: then its tokens name the tenant, and what they hang on."""


class _Known(NamedTuple):
    principal: Principal
    until: float
    tenant: str
    family: str
    key: str


class Tokens:
    """Verifies bearer tokens; remembers the good ones for as long as they last."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        world: World,
        schemes: Mapping[str, JsonObject] | None = None,
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._world = world
        self._schemes = schemes
        self._rings: Mapping[str, Keyring] = {}
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def watch(self, rings: Mapping[str, Keyring]) -> None:
        """Ask these what is revoked."""
        self._rings = rings

    async def close(self) -> None:
        """End what was begun."""
        for issuer in self._issuers.values():
            await issuer.keys.close()

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return how cards declare it."""
        bearer = {"httpAuthSecurityScheme": {"scheme": "Bearer", "bearerFormat": "JWT"}}
        return {"bearer": bearer} | dict(self._schemes or {})

    async def principal(self, credential: str) -> Principal | None:
        """Return whom a token stands for, or None if it is not good."""
        name = sha256(credential.encode()).digest()
        known = self._known.get(name)
        if known is None:
            known = await self._verify(credential)
            if known is None:
                return None
            self._known[name] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if self._world.now().timestamp() > known.until or self._is_revoked(known):
            self._known.pop(name, None)
            return None
        return known.principal

    def _is_revoked(self, known: _Known) -> bool:
        """Return whether what a token of our own hangs on was revoked, or that cannot be known."""
        if not known.family and not known.key:
            return False
        ring = self._rings.get(known.tenant)
        if ring is None or not ring.loaded or ring.damaged:
            return True
        if known.family:
            return known.family in ring.revoked
        key = ring.keys.get(known.key)
        return key is None or key.revoked

    async def _verify(self, token: str) -> _Known | None:
        try:
            header = jwt.get_unverified_header(token)
            claimed: Claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError, binascii.Error):
            return None
        issuer, kid = claimed.get("iss"), header.get("kid")
        if not isinstance(issuer, str) or not isinstance(kid, str) or len(kid) > _MAX_NAME:
            return None
        if header.get("crit") is not None or str(header.get("typ", "JWT")).upper() not in _TYPES:
            return None
        found = self._issuers.get(issuer)
        algorithm = header.get("alg")
        if found is None or not isinstance(algorithm, str) or algorithm not in found.algorithms:
            return None
        key = await found.keys.key(kid)
        if key is None or not key.fits(algorithm):
            return None
        try:
            claims: Claims = jwt.decode(
                token,
                key.key.key,
                algorithms=[algorithm],
                audience=found.audience,
                issuer=found.issuer,
                options={
                    "require": ["iss", "aud", "exp", "sub"],
                    "verify_exp": False,  # by the clock that is passed in: below
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return self._known_by(found, claims)

    def _known_by(self, issuer: Issuer, claims: Claims) -> _Known | None:
        now = self._world.now().timestamp()
        expires, begins = _moment(claims.get("exp")), _moment(claims.get("nbf", 0))
        if expires is None or begins is None or begins > now + LEEWAY or now > expires + LEEWAY:
            return None
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_NAME:
            return None
        if not subject.isprintable():
            return None
        tenant, roles = issuer.tenant, issuer.roles
        if issuer.own:
            tenant = str(claims.get("tenant", ""))
        if issuer.roles_claim:
            roles = _words(claims.get(issuer.roles_claim))
        scopes = _words(claims.get("scope")) if issuer.scopes else ()
        if issuer.scopes and "scope" in claims and not scopes:
            roles = ()
        principal = holder(issuer.prefix + subject, tenant, roles, scopes)
        return _Known(
            principal,
            expires + LEEWAY,
            tenant,
            str(claims.get("fam", "")) if issuer.own else "",
            str(claims.get("key", "")) if issuer.own else "",
        )


_TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT"})


def _moment(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 2**53 else None


def _words(value: object) -> tuple[str, ...]:
    """Return the words of a claim: a list, or a text with spaces between."""
    if isinstance(value, str):
        return tuple(value.split())
    try:
        return tuple(msgspec.convert(value, list[str]))
    except msgspec.ValidationError:
        return ()
