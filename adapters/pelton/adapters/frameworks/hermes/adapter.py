"""Hermes' adapter: its ACP server, with a model that it is told and a home of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.contract import Health

CONTEXT = 131_072
"""The context length that it is told, in tokens; it asks nobody else for that."""


class HermesAdapter(AcpAdapter):
    """Hermes with a `model` at an endpoint that speaks like OpenAI; see `ActingAdapter`.

    `environment` is the folder of its environment.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        environment: Path | None = None,
        context: int = CONTEXT,
        **more: Any,
    ) -> None:
        self.environment = environment or environments.root(os.environ) / "hermes"
        told = {
            "provider": "custom",
            "base_url": url,
            "default": model,
            "api_key": key or "none",
            "context_length": context,
        }
        asks = {
            "mode": "manual",
            "cron_mode": "deny",
        }  # a person decides, and no model in its place
        config = msgspec.json.encode({"model": told, "approvals": asks}).decode()  # JSON is YAML
        super().__init__(
            (environments.program(self.environment, "hermes-acp"),),
            name="hermes",
            home={"config.yaml": config},
            more={"HERMES_HOME": "{home}"},
            **more,
        )

    async def start(self) -> None:
        """Start what sees to the end of its processes.

        Raises:
            AdapterError: Hermes is not installed.
        """
        environments.check("hermes", self.environment)
        await super().start()

    async def health(self) -> Health:
        """Return whether its environment is there."""
        if environments.installed(self.environment) is None:
            return Health(
                ok=False, detail="hermes is not installed: pelton adapters install hermes"
            )
        return await super().health()
