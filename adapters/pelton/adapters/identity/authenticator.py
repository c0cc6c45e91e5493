"""The one place where credentials become principals (S1, S2, AS-38).

Whatever does not lead to a principal is refused with the same answer, whether the credential is
missing, wrong, expired, revoked or another tenant's.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from pelton.adapters.a2a.errors import AuthDenied
from pelton.adapters.identity.limits import Rates
from pelton.events import keys
from pelton.events.a2a import JsonObject
from pelton.events.envelope import digest
from pelton.events.keys import Key
from pelton.events.principal import ANONYMOUS, MEANINGS, Principal, Role, Scope, granted
from pelton.runtime.access import Keyring
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import LogUnavailable

if TYPE_CHECKING:
    from pelton.adapters.identity.grants import Signing

KEY_HEADER: Final = "X-API-Key"
"""Where an API key may stand beside `Authorization: Bearer`."""
_MAX_CREDENTIAL: Final = 8192
_BEARER: Final = b"bearer "
_NOBODY: Final = Key(
    id="", principal="", roles=(), scopes=(), hash=digest(b""), created="", expires=""
)

Certificate = Mapping[str, Any]
"""A client's certificate as `ssl` gives it, verified."""


class Credentials(Protocol):
    """A further kind of bearer token or certificate."""

    async def principal(self, credential: str) -> Principal | None:
        """Return whom a bearer token stands for, or None if it is not good."""
        ...

    def watch(self, rings: Mapping[str, Keyring]) -> None:
        """Ask these what is revoked."""
        ...

    async def close(self) -> None:
        """End what was begun."""
        ...

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return the security schemes of A2A that declare it in cards."""
        ...


def anyone(tenant: str, *roles: Role) -> Principal:
    """Return the principal of those who need no credential.

    It does not decide what others were asked by name: nobody knows who it is.
    """
    held = frozenset(roles)
    scopes = granted(held) - {Scope.DECIDE}
    return Principal(id=ANONYMOUS, tenant=tenant, roles=held, scopes=scopes)


class Admission(NamedTuple):
    """Whom a bridge lets in, and how far.

    `keys`: API keys are taken. `anyone` are the roles of those without a credential, None if there
    must be one. `certificates` leads from names of clients' certificates to principals. `shared`:
    tasks are everybody's in a tenant, else they are their owner's alone. `cards`: cards need no
    credential. `signing` is what the built-in issuer signs with, if there is one. `rates` are how
    much may be asked.
    """

    keys: bool = False
    anyone: frozenset[Role] | None = frozenset(Role)
    tokens: tuple[Credentials, ...] = ()
    certificates: Mapping[str, Principal] | None = None
    shared: bool = False
    cards: bool = True
    signing: Signing | None = None
    rates: Rates = Rates()


EVERYBODY: Final = Admission()
"""Everybody may do everything: for a bridge that only this machine reaches."""


class Authenticator:
    """Makes principals of credentials. `rings` leads from tenants to their keys.

    Whoever needs no credential is `anonymous`, in the first tenant.
    """

    def __init__(self, admission: Admission, rings: Mapping[str, Keyring], *, world: World) -> None:
        self._world = world
        self._rings = rings if admission.keys else None
        self._tokens = admission.tokens
        for each in admission.tokens:
            each.watch(rings)
        self._certificates = admission.certificates
        self._shared = admission.shared
        self._holders: dict[tuple[str, str], tuple[Key, Principal]] = {}
        self._anonymous: Principal | None = None
        if admission.anyone is not None:
            self._anonymous = anyone(next(iter(rings)), *admission.anyone)
        self._open = not admission.keys and not self._tokens and self._certificates is None

    async def principal(
        self, headers: Mapping[bytes, bytes], certificate: Certificate | None = None
    ) -> Principal:
        """Return who asks.

        Raises:
            AuthDenied: no credential, or none that is good.
            LogUnavailable: the keys are not known yet.
        """
        found = await self._find(headers, certificate)
        if self._shared and Scope.EVERY not in found.scopes:
            return replace(found, scopes=found.scopes | {Scope.EVERY})
        return found

    def again(
        self, headers: Mapping[bytes, bytes], certificate: Certificate | None = None
    ) -> Callable[[], Awaitable[object]] | None:
        """Return what looks, as `principal` does, whether a credential is good still.

        None if nobody needs one.
        """
        return None if self._open else partial(self.principal, headers, certificate)

    async def _find(
        self, headers: Mapping[bytes, bytes], certificate: Certificate | None
    ) -> Principal:
        anonymous = self._anonymous
        if self._open and anonymous is not None:
            return anonymous
        authorization = headers.get(b"authorization")
        key = headers.get(KEY_HEADER.lower().encode())
        if authorization is not None and key is not None:
            raise AuthDenied("invalid_request")
        if authorization is not None:
            if authorization[: len(_BEARER)].lower() != _BEARER:
                raise AuthDenied("invalid_request")
            return await self._bearer(_text(authorization[len(_BEARER) :]))
        if key is not None:
            return self._key(_text(key))
        if certificate is not None and self._certificates is not None:
            for name in names(certificate):
                if (found := self._certificates.get(name)) is not None:
                    return found
        if anonymous is None:
            raise AuthDenied
        return anonymous

    async def _bearer(self, text: str) -> Principal:
        if text.startswith("pelton_"):
            return self._key(text)
        for kind in self._tokens:
            if (found := await kind.principal(text)) is not None:
                return found
        raise AuthDenied("invalid_token")

    def _key(self, text: str) -> Principal:
        """Return the holder of an API key; as much is done for one that does not exist."""
        claimed = keys.presented(text)
        if self._rings is None or claimed is None:
            raise AuthDenied("invalid_token")
        now = rfc3339(self._world.now())
        loaded = True
        for tenant, ring in self._rings.items():
            loaded = loaded and ring.loaded
            known = ring.keys.get(claimed.id, _NOBODY)
            if known.opens(claimed.hash, now):
                return self._holder(known, tenant)
        if not loaded:
            raise LogUnavailable("the keys are not read yet")
        raise AuthDenied("invalid_token")

    def _holder(self, key: Key, tenant: str) -> Principal:
        """Return whom a key stands for, as long as it is the same."""
        known = self._holders.get((tenant, key.id))
        if known is None or known[0] is not key:
            known = self._holders[tenant, key.id] = key, key.holder(tenant)
        return known[1]

    async def close(self) -> None:
        """End what was begun."""
        for kind in self._tokens:
            await kind.close()

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return the security schemes of A2A that cards declare (§4.5): those that work."""
        found: dict[str, JsonObject] = {}
        if self._rings is not None:
            where = {"location": "header", "name": KEY_HEADER}
            found["apiKey"] = {"apiKeySecurityScheme": where}
        for kind in self._tokens:
            found |= kind.schemes()
        if self._certificates is not None:
            found["certificate"] = {"mtlsSecurityScheme": {}}
        return found

    def requirements(self) -> Sequence[JsonObject]:
        """Return what cards say is required: any one of the schemes, unless nothing is."""
        if self._anonymous is not None:
            return ()
        return tuple({"schemes": {name: {"list": []}}} for name in self.schemes())


class TestTokens:
    """Bearer tokens that stand in the settings: for conformance suites on this machine alone."""

    __test__ = False

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
        self._tokens = {digest(token.encode()): found for token, found in tokens.items()}

    def watch(self, rings: Mapping[str, Keyring]) -> None:
        """Ask nothing: what stands in the settings is not revoked."""

    async def close(self) -> None:
        """End nothing."""

    async def principal(self, credential: str) -> Principal | None:
        """Return whom a token stands for."""
        given = digest(credential.encode())
        for token, found in self._tokens.items():
            if hmac.compare_digest(token, given):
                return found
        return None

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return how cards declare it."""
        return {"bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}}


def names(certificate: Certificate) -> Sequence[str]:
    """Return the names of a certificate's subject alternatives, as `URI:…` and `DNS:…` (S3).

    The common name is none: only what a certificate authority vouches for as an identity counts.
    """
    alternatives = certificate.get("subjectAltName", ())
    return tuple(f"{kind}:{name}" for kind, name in alternatives if kind in ("URI", "DNS"))


def described() -> Mapping[str, str]:
    """Return the scopes and what they are for."""
    return {scope.value: meaning for scope, meaning in MEANINGS.items()}


def _text(credential: bytes) -> str:
    """Return a credential as text; no good one is long or has other characters."""
    if len(credential) > _MAX_CREDENTIAL or not credential.isascii():
        raise AuthDenied("invalid_token")
    return credential.decode("ascii").strip()
