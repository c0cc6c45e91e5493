"""Whom a bridge lets in, by its settings; one that would let in too many does not start (AS-38)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pelton.adapters.a2a.guard import is_loopback
from pelton.adapters.identity.authenticator import EVERYBODY, Admission, Credentials, TestTokens
from pelton.adapters.identity.limits import Rate, Rates
from pelton.events.principal import Principal, Role, granted, holder
from pelton.runtime.clock import World
from pelton.runtime.settings import Secret, Settings, SettingsError

if TYPE_CHECKING:
    from pelton.adapters.identity.grants import Signing

KINDS: Final = ("keys", "tokens", "certificates", "anyone")
"""What `auth.accept` may name."""


def admission(settings: Settings, *, world: World) -> Admission:
    """Return whom a bridge with these settings lets in.

    Raises:
        SettingsError: it could be reached by others, and would let in everybody.
    """
    given = settings.auth
    for kind in given.accept:
        if kind not in KINDS:
            raise SettingsError(f"auth.accept: {kind!r} is no kind: use {', '.join(KINDS)}")
    if settings.nats.tenant in settings.tenants:
        raise SettingsError(f"tenants.{settings.nats.tenant}: nats.tenant has that name already")
    far = far_names(settings)
    if far and settings.bridge.debug_token is not None:
        raise SettingsError(f"bridge.debug_token: there is no debugger under {far[0]!r}")
    tokens: tuple[Credentials, ...] = ()
    if given.test_tokens is not None:
        if far:
            raise SettingsError(f"auth.test_tokens: they are not taken under {far[0]!r}")
        tokens = (TestTokens(_test_tokens(given.test_tokens, settings.nats.tenant)),)
    if not given.accept and not tokens:
        if far:
            raise SettingsError(
                f"auth.accept is empty, and others can reach a bridge at {far[0]!r}: name the"
                " credentials that it takes, as in PELTON_AUTH_ACCEPT=keys, or let it listen on"
                " loopback"
            )
        found = EVERYBODY
    else:
        limits = settings.limits
        signing = _signing(settings, world, far=bool(far))
        if "tokens" in given.accept:
            tokens = (*tokens, _tokens(settings, signing, world))
        found = Admission(
            keys="keys" in given.accept,
            anyone=frozenset({Role.CLIENT}) if "anyone" in given.accept else None,
            tokens=tokens,
            certificates=_certificates(settings) if "certificates" in given.accept else None,
            signing=signing,
            rates=Rates(
                tenant=Rate(limits.tenant_rate, limits.tenant_burst),
                principal=Rate(limits.principal_rate, limits.principal_burst),
                address=Rate(limits.token_rate, limits.token_burst),
                open_of_tenant=limits.open_of_tenant,
                open_of_principal=limits.open_of_principal,
            ),
        )
    return found._replace(shared=given.tasks == "tenant", cards=given.cards == "public")


def far_names(settings: Settings) -> list[str]:
    """Return the names under which others than this machine can reach a bridge."""
    return [name for name in _reachable(settings) if not is_loopback(name)]


def _reachable(settings: Settings) -> list[str]:
    """Return the names under which a bridge is reached."""
    bridge = settings.bridge
    elsewhere = bridge.public_grpc.rpartition(":")[0].strip("[]")
    public = [urlsplit(bridge.public_url).hostname, elsewhere]
    others = settings.tenants.values()
    hosts = [host for tenant in others for host in (*tenant.hosts, *tenant.agents_at)]
    grpc = [bridge.grpc.host] if bridge.grpc is not None else []
    own = [bridge.http.host, *grpc, *bridge.hosts, *bridge.agents_at]
    return [*own, *hosts, *(name for name in public if name)]


def _signing(settings: Settings, world: World, *, far: bool) -> Signing | None:
    """Return what the built-in issuer signs with, if there is one."""
    given = settings.auth
    if not given.signing_keys or "tokens" not in given.accept:
        return None
    from pelton.adapters.identity.grants import Signing
    from pelton.adapters.identity.signing import SigningKeys

    public = settings.bridge.public_url
    if far and not settings.tls.certificate and not public.startswith("https://"):
        raise SettingsError(
            "auth.signing_keys: tokens are given over TLS alone: set tls.certificate, or an https"
            " bridge.public_url"
        )
    url = public or f"{'https' if settings.tls.certificate else 'http'}://{settings.bridge.http}"
    return Signing(SigningKeys(Path(given.signing_keys), world=world), url.rstrip("/"))


def _tokens(settings: Settings, signing: Signing | None, world: World) -> Credentials:
    """Return what verifies the tokens of all issuers."""
    from pelton.adapters.identity.jwks import KeySet, fetcher
    from pelton.adapters.identity.tokens import ALGORITHMS, Issuer, Tokens

    issuers: list[Issuer] = []
    for name, given in settings.auth.issuers.items():
        place = f"auth.issuers.{name}"
        if not given.algorithms or not set(given.algorithms) <= ALGORITHMS:
            raise SettingsError(f"{place}.algorithms: use of {', '.join(sorted(ALGORITHMS))}")
        if not given.issuer or not given.audience:
            raise SettingsError(f"{place}: name its issuer and audience")
        try:
            fetch = fetcher(given.jwks)
        except ValueError as error:
            raise SettingsError(f"{place}.jwks: {error}") from None
        issuers.append(
            Issuer(
                issuer=given.issuer,
                audience=given.audience,
                algorithms=frozenset(given.algorithms),
                keys=KeySet(fetch, world=world),
                tenant=_tenant(settings, given.tenant, place),
                prefix=f"{name}:",
                roles=_roles(given.roles, place),
                roles_claim=given.roles_claim,
                scopes=given.scopes,
            )
        )
    if signing is not None:
        issuers.append(
            Issuer(
                issuer=signing.url,
                audience=signing.url,
                algorithms=frozenset({"EdDSA"}),
                keys=signing.keys,
                tenant="",
                prefix="",
                roles_claim="roles",
                scopes=True,
                own=True,
            )
        )
    if not issuers:
        raise SettingsError("auth.accept: for tokens, set auth.issuers or auth.signing_keys")
    return Tokens(issuers, world=world, schemes=signing.schemes() if signing else None)


def _certificates(settings: Settings) -> dict[str, Principal]:
    """Return whom clients' certificates stand for."""
    if not settings.tls.client_ca or not settings.tls.certificate:
        raise SettingsError("auth.accept: for certificates, set tls.certificate and tls.client_ca")
    found: dict[str, Principal] = {}
    for name, given in settings.auth.certificates.items():
        place = f"auth.certificates.{name}"
        if not name.startswith(("URI:", "DNS:")) or "*" in name:
            raise SettingsError(f"{place}: use URI:… or DNS:…, the whole of it")
        tenant = _tenant(settings, given.tenant, place)
        found[name] = holder(name, tenant, _roles(given.roles, place), ())
    return found


def _tenant(settings: Settings, name: str, place: str) -> str:
    if name not in ("", settings.nats.tenant, *settings.tenants):
        raise SettingsError(f"{place}.tenant: there is no tenant {name!r}")
    return name or settings.nats.tenant


def _roles(names: tuple[str, ...], place: str) -> tuple[str, ...]:
    if not names or not set(names) <= set(Role):
        raise SettingsError(f"{place}.roles: use of {', '.join(Role)}")
    return names


def _test_tokens(spelt: Secret, tenant: str) -> dict[str, Principal]:
    found: dict[str, Principal] = {}
    for pair in spelt.reveal().split(","):
        token, _, name = pair.partition("=")
        if not token or (name and name not in set(Role)):
            raise SettingsError("auth.test_tokens: expected TOKEN=ROLE, separated by commas")
        roles = frozenset({Role(name)}) if name else frozenset[Role]()
        principal = f"test-{name or 'nobody'}"
        found[token] = Principal(id=principal, tenant=tenant, roles=roles, scopes=granted(roles))
    return found
