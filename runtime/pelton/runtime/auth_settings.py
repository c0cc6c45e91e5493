"""The settings of who is let in: credentials, tenants."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pelton.runtime.setting_types import Secret, Section

TENANT: Final = "^[a-z0-9][a-z0-9_-]{0,62}$"
"""What a tenant may be called."""

TenantName = Annotated[str, Meta(pattern=TENANT)]


IssuerName = Annotated[str, Meta(pattern=TENANT)]


class TenantSettings(Section, frozen=True, kw_only=True):
    """A tenant beside the first one: the NATS account that holds its log."""

    url: Secret
    """As `nats.url`."""
    credentials: str = ""
    """As `nats.credentials`."""
    hosts: tuple[str, ...] = ()
    """Host names under which a bridge serves this tenant alone; without, it is `/NAME/…`."""
    agents_at: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """As `bridge.agents_at`, of this tenant."""


class IssuerSettings(Section, frozen=True, kw_only=True):
    """An issuer of bearer tokens (JWTs)."""

    issuer: str
    """What the claim `iss` must be."""
    audience: str
    """What the claim `aud` must be or hold."""
    jwks: str
    """The https URL of its public keys, or a file."""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    """What may sign: of RS, PS, ES and EdDSA, nothing with a shared secret."""
    tenant: str = ""
    """Whose principals its subjects are; without, `nats.tenant`."""
    roles: tuple[str, ...] = ("client",)
    """The roles of its subjects."""
    roles_claim: str = ""
    """The claim that holds the roles of each subject, instead."""
    scopes: bool = False
    """Whether the claim `scope` narrows what the roles grant."""


class CertificateSettings(Section, frozen=True, kw_only=True):
    """A client that shows a certificate. Its principal's id is the certificate's name."""

    tenant: str = ""
    """As in an issuer."""
    roles: tuple[str, ...] = ("client",)


class TlsSettings(Section, frozen=True, kw_only=True):
    """TLS of the bridge."""

    certificate: Annotated[
        str,
        Meta(
            description="File with the bridge's certificate and those it hangs on, in PEM. With it"
            " the bridge speaks https alone. The files are read again when they change."
        ),
    ] = ""
    key: Annotated[str, Meta(description="File with the certificate's private key, in PEM.")] = ""
    client_ca: Annotated[
        str,
        Meta(description="File with the authorities whose certificates clients may show, in PEM."),
    ] = ""


class AuthSettings(Section, frozen=True, kw_only=True):
    """Who a bridge lets in."""

    accept: Annotated[
        tuple[str, ...],
        Meta(
            description="Kinds of credentials that a bridge takes: `keys` (`pelton keys`),"
            " `tokens` (JWTs of `auth.issuers`, and of the built-in issuer if there is"
            " `auth.signing_keys`), `certificates` (of clients, see `auth.certificates`);"
            " `anyone` beside them lets in who has none, as a client. Without any, everybody may do"
            " everything, and the bridge starts only if nobody but this machine can reach it."
        ),
    ] = ()
    issuers: Annotated[
        dict[IssuerName, IssuerSettings],
        Meta(
            description="Who issues the bearer tokens that are taken: a table"
            " `[auth.issuers.NAME]` each. Subjects become the principals `NAME:SUBJECT`. In the"
            " variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, IssuerSettings])
    signing_keys: Annotated[
        str,
        Meta(
            description="File with the keys of the built-in issuer, as `pelton tokens key` makes"
            " it, the same at every bridge. With it, a bridge serves `/oauth/token`; that is only"
            " done over TLS, behind an https `bridge.public_url`, or on loopback."
        ),
    ] = ""
    certificates: Annotated[
        dict[str, CertificateSettings],
        Meta(
            description="Clients' certificates by a name among their subject alternatives, exactly"
            " as in `URI:spiffe://acme/robot` or `DNS:robot.example.com`: a table"
            ' `[auth.certificates."NAME"]` each, with `tenant` and `roles`. They are checked with'
            " `tls.client_ca`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, CertificateSettings])
    tasks: Annotated[
        Literal["own", "tenant"],
        Meta(
            description="Whose tasks a client and an agent may read, go on with and cancel: its"
            " `own`, or all of its `tenant`. Approvers and operators reach all."
        ),
    ] = "own"
    cards: Annotated[
        Literal["public", "private"],
        Meta(
            description="Whether agents' cards are for everybody, as A2A has it, or only for those"
            " with a credential."
        ),
    ] = "public"
    test_tokens: Annotated[
        Secret | None,
        Meta(
            description="Bearer tokens for conformance suites, `TOKEN=ROLE,…`; one without a role"
            " may do nothing. They are taken on loopback only."
        ),
    ] = None


class LimitSettings(Section, frozen=True, kw_only=True):
    """How much may be asked. Rates are of all bridges together, where credentials are wanted."""

    connections: Annotated[
        int, Meta(ge=0, description="Connections to a bridge at a time; 0 is no limit.")
    ] = 20_000
    connections_of_address: Annotated[
        int,
        Meta(
            ge=0,
            description="Connections to a bridge from one address at a time, but this machine's;"
            " 0 is no limit. Behind a proxy all come from its address.",
        ),
    ] = 2000
    open_of_principal: Annotated[
        int,
        Meta(
            ge=0,
            description="Requests and streams of a principal that a bridge has in hand at a time,"
            " where credentials are wanted; 0 is no limit.",
        ),
    ] = 1000
    open_of_tenant: Annotated[int, Meta(ge=0, description="The same, of a tenant.")] = 10_000

    tenant_rate: Annotated[
        float, Meta(ge=0, description="Requests a second of a tenant; 0 is no limit.")
    ] = 2000.0
    tenant_burst: Annotated[
        float, Meta(ge=1, description="Requests of a tenant that may come at once.")
    ] = 4000.0
    principal_rate: Annotated[
        float, Meta(ge=0, description="Requests a second of a principal; 0 is no limit.")
    ] = 200.0
    principal_burst: Annotated[
        float, Meta(ge=1, description="Requests of a principal that may come at once.")
    ] = 400.0
    token_rate: Annotated[
        float,
        Meta(ge=0, description="Requests for tokens a second from one address; 0 is no limit."),
    ] = 5.0
    token_burst: Annotated[
        float, Meta(ge=1, description="Requests for tokens from one address that may come at once.")
    ] = 20.0


class ClientSettings(Section, frozen=True, kw_only=True):
    """What the commands that talk to a bridge show it."""

    key: Annotated[
        Secret | None,
        Meta(description="API key or bearer token that `pelton send` presents to the bridge."),
    ] = None
