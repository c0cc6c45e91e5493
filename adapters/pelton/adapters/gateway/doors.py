"""Doors: what a process is told in the place of its models' providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pelton.adapters.gateway.dialects import provider_of
from pelton.adapters.gateway.providers import Upstream


class Door:
    """See `runtime.model_gateway.ModelDoor`. `host` is the URL of the gateway."""

    def __init__(self, upstreams: Mapping[str, Upstream], *, token: str, host: str) -> None:
        self.token: Final = token
        self._upstreams, self._host = upstreams, host

    def leads_to(self, provider: str) -> bool:
        """Whether there is a way to a provider."""
        return provider in self._upstreams

    def url(self, provider: str) -> str:
        """Return the base URL of a provider."""
        return f"{self._host}/t/{self.token}/{provider}{provider_of(provider).root}"

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return an environment that leads an agent's process here, and has no provider's key."""
        keys = {each.key.reveal() for each in self._upstreams.values()} - {""}
        found = {name: value for name, value in own.items() if value not in keys}
        for provider in (each.provider for each in self._upstreams.values()):
            for hidden in (*provider.keys, *provider.more):
                found.pop(hidden, None)
            found |= {provider.base: self.url(provider.name), provider.keys[0]: self.token}
        return found
