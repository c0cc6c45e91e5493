"""The token endpoint of the built-in issuer (RFC 6749): for those who have no issuer of their own.

An API key is a client: its id and secret get a short access token (`client_credentials`). A refresh
token gets another one and the next refresh token (`refresh_token`), see `pelton.events.families`.
Errors here have the shape that RFC 6749 §5.2 gives them.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from msgspec.structs import replace

from pelton.adapters.a2a.sse import JSON, Reply
from pelton.adapters.identity.authenticator import described
from pelton.adapters.identity.limits import Limits
from pelton.adapters.identity.signing import ACCESS, SigningKeys
from pelton.events import families, keys
from pelton.events.a2a import JsonObject
from pelton.events.envelope import digest
from pelton.events.principal import Principal, holder
from pelton.runtime.access import Keyring
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.families import Families, GrantNotGood

TOKEN_PATH: Final = "oauth/token"  # noqa: S105  a path
JWKS_PATH: Final = ".well-known/jwks.json"
METADATA_PATH: Final = ".well-known/oauth-authorization-server"
MAX_FORM: Final = 16 * 1024
"""The most bytes of a request for a token."""
_NO_STORE: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_FORM: Final = b"application/x-www-form-urlencoded"


class Signing(NamedTuple):
    """What the built-in issuer signs with, and the URL that it is known by."""

    keys: SigningKeys
    url: str

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return how cards declare it."""
        flow = {"tokenUrl": f"{self.url}/{TOKEN_PATH}", "scopes": dict(described())}
        flows: JsonObject = {"clientCredentials": flow}
        metadata = f"{self.url}/{METADATA_PATH}"
        scheme = {"flows": flows, "oauth2MetadataUrl": metadata}
        return {"oauth2": {"oauth2SecurityScheme": scheme}}

    def grants(
        self,
        rings: Mapping[str, Keyring],
        tenants: Mapping[str, Families],
        limits: Limits,
        *,
        world: World,
    ) -> Grants:
        """Return the token endpoint for tenants with their keys and families."""
        return Grants(self, rings, tenants, limits, world=world)


class _Refused(Exception):
    """A request for a token is refused, with an error code of RFC 6749."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Grants:
    """Answers requests for tokens, for the tenants whose keys and families it is given."""

    def __init__(
        self,
        signing: Signing,
        rings: Mapping[str, Keyring],
        tenants: Mapping[str, Families],
        limits: Limits,
        *,
        world: World,
    ) -> None:
        self._signing, self._rings, self._families = signing, rings, tenants
        self._world = world
        self.limits = limits
        """Whom to ask before anybody is answered with a token."""

    paths: Final[Mapping[str, tuple[str, ...]]] = {
        TOKEN_PATH: ("POST",),
        JWKS_PATH: ("GET", "HEAD"),
        METADATA_PATH: ("GET", "HEAD"),
    }
    """What is served, with the methods that it takes."""

    def document(self, path: str) -> Reply:
        """Return the public keys, or what the issuer says of itself (RFC 8414)."""
        caching = ((b"cache-control", b"public, max-age=60"),)
        if path == JWKS_PATH:
            return Reply(200, msgspec.json.encode(self._signing.keys.jwks()), JSON, caching)
        url = self._signing.url
        document = {
            "issuer": url,
            "token_endpoint": f"{url}/{TOKEN_PATH}",
            "jwks_uri": f"{url}/{JWKS_PATH}",
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": sorted(described()),
            "response_types_supported": [],
        }
        return Reply(200, msgspec.json.encode(document), JSON, caching)

    async def token(self, headers: Mapping[bytes, bytes], body: bytes) -> Reply:
        """Return the answer to a request for a token.

        Raises:
            LogError: the log cannot be asked.
        """
        try:
            form = _form(headers, body)
            match form.get("grant_type"):
                case "client_credentials":
                    return self._by_key(*_client(headers, form), form.get("scope"))
                case "refresh_token":
                    return await self._by_refresh(form.get("refresh_token", ""), form.get("scope"))
                case _:
                    raise _Refused("unsupported_grant_type")
        except _Refused as refused:
            status = 401 if refused.code == "invalid_client" else 400
            challenge = ((b"www-authenticate", b'Basic realm="pelton"'),) if status == 401 else ()
            body = msgspec.json.encode({"error": refused.code})
            return Reply(status, body, JSON, (*_NO_STORE, *challenge))

    def _by_key(self, key_id: str, secret: str, scope: str | None) -> Reply:
        claimed = keys.presented(keys.spell(key_id, secret))
        if claimed is not None:
            now = rfc3339(self._world.now())
            for tenant, ring in self._rings.items():
                known = ring.keys.get(claimed.id)
                if known is not None and known.opens(claimed.hash, now):
                    principal = _narrowed(known.holder(tenant), scope)
                    return self._answer(principal, {"key": known.id})
        raise _Refused("invalid_client")

    async def _by_refresh(self, token: str, scope: str | None) -> Reply:
        claimed = families.presented(token)
        if claimed is None:
            raise _Refused("invalid_grant")
        secret = secrets.token_urlsafe(32)
        for tenant, each in self._families.items():
            try:
                family = await each.refresh(claimed, digest(secret.encode()))
            except GrantNotGood:
                continue
            principal = holder(family.principal, tenant, family.roles, family.scopes)
            if scope:  # what the family has not got is left out: the token is spent already
                asked = set(scope.split())
                allowed = frozenset(each for each in principal.scopes if each in asked)
                principal = replace(principal, scopes=allowed)
            return self._answer(principal, {"fam": family.id}, families.spell(family.id, secret))
        raise _Refused("invalid_grant")

    def _answer(self, who: Principal, hangs_on: Mapping[str, str], refresh: str = "") -> Reply:
        now = int(self._world.now().timestamp())
        scopes = " ".join(sorted(scope.value for scope in who.scopes))
        claims = {
            "iss": self._signing.url,
            "aud": self._signing.url,
            "sub": who.id,
            "tenant": who.tenant,
            "roles": sorted(role.value for role in who.roles),
            "scope": scopes,
            "iat": now,
            "nbf": now,
            "exp": now + ACCESS,
            "jti": self._world.new_id(),
            **hangs_on,
        }
        answer = {
            "access_token": self._signing.keys.sign(claims),
            "token_type": "Bearer",
            "expires_in": ACCESS,
            "scope": scopes,
        }
        if refresh:
            answer["refresh_token"] = refresh
        return Reply(200, msgspec.json.encode(answer), JSON, _NO_STORE)


def _form(headers: Mapping[bytes, bytes], body: bytes) -> Mapping[str, str]:
    """Return the parameters of a request; none may come twice (RFC 6749 §3.2)."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM or len(body) > MAX_FORM or b"content-encoding" in headers:
        raise _Refused("invalid_request")
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            body.decode("ascii"), errors="strict", max_num_fields=16
        )
    except ValueError:
        raise _Refused("invalid_request") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Refused("invalid_request")
    return dict(pairs)


def _client(headers: Mapping[bytes, bytes], form: Mapping[str, str]) -> tuple[str, str]:
    """Return the id and the secret of a client, from the one place where they stand."""
    authorization = headers.get(b"authorization")
    posted = (form.get("client_id", ""), form.get("client_secret", ""))
    if authorization is None:
        return posted
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic" or posted[1]:
        raise _Refused("invalid_client")
    try:
        name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _Refused("invalid_client") from None
    return unquote_plus(name), unquote_plus(secret)


def _narrowed(principal: Principal, scope: str | None) -> Principal:
    """Return a principal with no more scopes than were asked for."""
    if not scope:
        return principal
    asked = set(scope.split())
    if not asked <= {each.value for each in principal.scopes}:
        raise _Refused("invalid_scope")
    return holder(principal.id, principal.tenant, principal.roles, asked)
