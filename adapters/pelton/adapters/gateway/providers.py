"""The providers that a gateway leads to: those that there is a key or an address for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pelton.adapters.gateway.dialects import PROVIDERS, Provider
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.setting_types import Secret


class Upstream(NamedTuple):
    """Where a provider is, and the key for it."""

    provider: Provider
    url: str
    key: Secret


def upstreams(settings: GatewaySettings, environ: Mapping[str, str]) -> dict[str, Upstream]:
    """Return the providers that a gateway leads to: those that it has a key or an address for."""
    found: dict[str, Upstream] = {}
    for provider in PROVIDERS.values():
        given = (environ[name] for name in provider.keys if environ.get(name))
        key = next((each for name, each in settings.keys.items() if name == provider.name), None)
        key = key or Secret(next(given, ""))
        own = (url for name, url in settings.upstreams.items() if name == provider.name)
        url = next(own, environ.get(provider.base, ""))
        if key.reveal() or url:
            found[provider.name] = Upstream(provider, (url or provider.url).rstrip("/"), key)
    return found
