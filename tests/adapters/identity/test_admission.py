"""Which bridges start: none that others can reach lets in everybody (AS-38)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pelton.adapters.identity import admission as module
from pelton.adapters.identity.authenticator import EVERYBODY, Admission
from pelton.events.principal import Role
from pelton.runtime.clock import RealWorld
from pelton.runtime.settings import Settings, SettingsError, as_environment, load


def given(**environment: str) -> Settings:
    spelt = {f"PELTON_{name}": value for name, value in environment.items()}

    return load(Path("/dev/null"), environment=spelt)


def admission(settings: Settings) -> Admission:
    return module.admission(settings, world=RealWorld())


LOCAL = ["127.0.0.1:1", "localhost:1", "[::1]:1"]
FAR = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1"]


@pytest.mark.parametrize("http", LOCAL)
@pytest.mark.accepts("S20")
def test_on_loopback_nobody_needs_a_credential(http: str) -> None:
    assert admission(given(BRIDGE_HTTP=http)) == EVERYBODY


@pytest.mark.parametrize("http", FAR)
@pytest.mark.accepts("AS-38")
def test_elsewhere_a_bridge_without_credentials_does_not_start(http: str) -> None:
    with pytest.raises(SettingsError, match=r"auth\.accept is empty"):
        admission(given(BRIDGE_HTTP=http))


@pytest.mark.parametrize(
    "environment",
    [
        {"BRIDGE_PUBLIC_URL": "https://agents.example"},
        {"BRIDGE_GRPC": "0.0.0.0:1"},
        {"BRIDGE_PUBLIC_GRPC": "agents.example:443"},
        {"BRIDGE_HOSTS": "agents.example"},
        {"TENANTS": '{"acme": {"url": "nats://h", "hosts": ["acme.example"]}}'},
    ],
)
@pytest.mark.accepts("AS-38")
def test_behind_a_proxy_neither(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"auth\.accept is empty"):
        admission(given(**environment))


@pytest.mark.parametrize("http", [*LOCAL, *FAR])
def test_with_keys_nobody_is_let_in_without(http: str) -> None:
    found = admission(given(BRIDGE_HTTP=http, AUTH_ACCEPT="keys"))
    assert found.keys
    assert found.anyone is None


def test_whoever_says_so_lets_in_everybody_as_a_client() -> None:
    found = admission(given(BRIDGE_HTTP=FAR[0], AUTH_ACCEPT="keys,anyone"))
    assert found.keys
    assert found.anyone == frozenset({Role.CLIENT})


def test_test_tokens_are_for_loopback_alone() -> None:
    tokens = {"AUTH_TEST_TOKENS": "good=client,bad="}
    found = admission(given(BRIDGE_HTTP=LOCAL[0], **tokens))
    assert found.anyone is None
    with pytest.raises(SettingsError, match=r"auth\.test_tokens: they are not taken"):
        admission(given(BRIDGE_HTTP=FAR[0], AUTH_ACCEPT="keys", **tokens))
    with pytest.raises(SettingsError, match="expected TOKEN=ROLE"):
        admission(given(AUTH_TEST_TOKENS="good=emperor"))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AUTH_ACCEPT": "passwords"}, "'passwords' is no kind"),
        ({"AUTH_TASKS": "all"}, "PELTON_AUTH_TASKS: use one of own, tenant"),
        ({"TENANTS": "{"}, "PELTON_TENANTS: is not JSON"),
        ({"TENANTS": '{"local": {"url": "nats://h"}}'}, "nats.tenant has that name"),
        ({"TENANTS": '{"A b": {"url": "nats://h"}}'}, "PELTON_TENANTS"),
        ({"TENANTS": '{"acme": {}}'}, "PELTON_TENANTS"),
    ],
)
@pytest.mark.accepts("AS-42")
def test_what_is_wrong_is_said(environment: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        admission(given(**environment))
    assert said in str(error.value)


TOKENS = {"AUTH_ACCEPT": "tokens"}


def issuers(jwks: str = "https://i/jwks", algorithm: str = "RS256", role: str = "client") -> str:
    issuer = {"issuer": "https://i", "audience": "a", "jwks": jwks, "algorithms": [algorithm]}
    return json.dumps({"idp": {**issuer, "roles": [role] if role else []}})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "for tokens, set auth.issuers or auth.signing_keys"),
        ({"AUTH_ACCEPT": "certificates"}, "for certificates, set tls.certificate and tls.client"),
        ({"AUTH_ISSUERS": issuers("http://i/jwks")}, "auth.issuers.idp.jwks: use https"),
        ({"AUTH_ISSUERS": issuers(algorithm="HS256")}, "auth.issuers.idp.algorithms: use"),
        ({"AUTH_ISSUERS": issuers(algorithm="none")}, "auth.issuers.idp.algorithms: use"),
        ({"AUTH_ISSUERS": issuers(role="boss")}, "auth.issuers.idp.roles: use"),
        ({"AUTH_ISSUERS": issuers(role="")}, "auth.issuers.idp.roles: use"),
        (
            {"AUTH_SIGNING_KEYS": "keys.json", "BRIDGE_HTTP": FAR[0]},
            "tokens are given over TLS alone",
        ),
        ({"AUTH_SIGNING_KEYS": "/dev/null/x"}, "pelton tokens key makes it"),
    ],
)
@pytest.mark.accepts("AS-38", "S2", "S3")
def test_tokens_that_could_not_be_trusted_are_no_settings(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        admission(given(**TOKENS | environment))
    assert said in str(error.value)


def test_issuers_are_taken_from_the_settings() -> None:
    found = admission(given(AUTH_ISSUERS=issuers(), BRIDGE_HTTP=FAR[0], **TOKENS))
    assert len(found.tokens) == 1
    assert found.anyone is None
    assert not found.keys


def test_another_process_loads_the_same_tenants() -> None:
    spelt = '{"acme": {"url": "nats://u:p@h", "hosts": ["a.example"]}}'
    settings = given(TENANTS=spelt, AUTH_ACCEPT="keys")

    again = load(Path("/dev/null"), environment=as_environment(settings))
    assert again.tenants == settings.tenants
    assert "u:p" not in repr(settings)
    own = settings.of_tenant("acme")
    assert own.nats.tenant == "acme"
    assert own.nats.url == settings.tenants["acme"].url
    assert own.projections_path != settings.projections_path
