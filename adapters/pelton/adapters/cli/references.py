"""What names an agent in settings and on command lines, whatever kind of agent it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, load

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "sdk": ("pelton.adapters.a2a_sdk.executors", "sdk"),
    "model": ("pelton.adapters.frameworks.model.reference", "model"),
    "langgraph": ("pelton.adapters.frameworks.langgraph.reference", "langgraph"),
    "pydantic-ai": ("pelton.adapters.frameworks.pydantic_ai.reference", "pydantic-ai"),
    "openai-agents": ("pelton.adapters.frameworks.openai_agents.reference", "openai-agents"),
    "google-adk": ("pelton.adapters.frameworks.google_adk.reference", "google-adk"),
    "webhook": ("pelton.adapters.frameworks.webhook.reference", "webhook"),
    "claude": ("pelton.adapters.frameworks.claude.reference", "claude"),
    "cli": ("pelton.adapters.frameworks.cli.reference", "cli"),
    "worker": ("pelton.adapters.frameworks.worker.reference", "worker"),
    "acp": ("pelton.adapters.frameworks.acp.reference", "acp"),
    "codex": ("pelton.adapters.frameworks.codex.reference", "codex"),
    "hermes": ("pelton.adapters.frameworks.hermes.reference", "hermes"),
    "crewai": ("pelton.adapters.frameworks.crewai.reference", "crewai"),
}
"""For each kind of agent that is no code of pelton's: what loads it, and the extra it needs."""


def load_agent(reference: str) -> Agent:
    """Return the agent that a reference names: `KIND:…` for a framework's, else see `agents.load`.

    Raises:
        InvalidInput: it leads to none, or what it needs is not installed.
    """
    kind, _, rest = reference.partition(":")
    kind = kind.partition("+")[0]
    if kind not in KINDS or rest.isidentifier():  # a module may be called like a kind
        return load(reference)
    place, extra = KINDS[kind]
    try:
        loader: Callable[..., Agent] = import_module(place).load
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{reference!r} needs more: pip install 'pelton[{extra}]'") from error
    return loader(reference, environ=os.environ)
