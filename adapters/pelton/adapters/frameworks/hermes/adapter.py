"""Hermes' adapter: its ACP server, with a model that it is told and a home of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.contract import Health
from pelton.runtime.model_gateway import ModelRoute

CONTEXT = 131_072
"""The context length that it is told, in tokens; it asks nobody else for that."""


class HermesAdapter(AcpAdapter):
    """Hermes with a `model` at an endpoint that speaks like OpenAI; see `ActingAdapter`.

    `environment` is the folder of its environment. With `routed` it asks its model through its
    executor's gateway, if that has one with a way to such an endpoint, and has no key.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        routed: bool = False,
        environment: Path | None = None,
        context: int = CONTEXT,
        **more: Any,
    ) -> None:
        self.environment = environment or environments.root(os.environ) / "hermes"
        self.routed, self._told = routed, {"default": model, "context_length": context}
        super().__init__(
            (environments.program(self.environment, "hermes-acp"),),
            name="hermes",
            home=self._files(url, key),
            more={"HERMES_HOME": "{home}"},
            **more,
        )

    def furnished(self, route: ModelRoute | None) -> Mapping[str, str] | None:
        """Return its configuration."""
        if route is None or not (self.routed and route.leads_to("openai")):
            return self.home
        return self._files(route.url("openai"), route.token)

    def _files(self, url: str, key: str) -> dict[str, str]:
        told = {"provider": "custom", "base_url": url, "api_key": key or "none", **self._told}
        asks = {"mode": "manual", "cron_mode": "deny"}  # a person decides, not a model
        config = msgspec.json.encode({"model": told, "approvals": asks})
        return {"config.yaml": config.decode()}  # JSON is YAML

    async def health(self) -> Health:
        """Return whether its environment is there."""
        found = await environments.look("hermes", self.environment)
        return await super().health() if found.ok else found
