"""What names an agent in settings and on command lines, whatever kind of agent it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from pelton.adapters.cli import agent_files
from pelton.events.errors import InvalidInput
from pelton.runtime import agent_file
from pelton.runtime.agents import Agent, importable, load
from pelton.runtime.settings import Settings, as_environment

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "sdk": ("pelton.adapters.a2a_sdk.executors", "sdk"),
    "model": ("pelton.adapters.frameworks.model.reference", "model"),
    "langgraph": ("pelton.adapters.frameworks.langgraph.reference", "langgraph"),
    "pydantic-ai": ("pelton.adapters.frameworks.pydantic_ai.reference", "pydantic-ai"),
    "openai-agents": ("pelton.adapters.frameworks.openai_agents.reference", "openai-agents"),
    "google-adk": ("pelton.adapters.frameworks.google_adk.reference", "google-adk"),
    "webhook": ("pelton.adapters.frameworks.webhook.reference", "webhook"),
    "claude": ("pelton.adapters.frameworks.claude.reference", "claude"),
    "worker": ("pelton.adapters.frameworks.worker.reference", ""),
    "acp": ("pelton.adapters.frameworks.acp.reference", ""),
    "codex": ("pelton.adapters.frameworks.codex.reference", ""),
    "hermes": ("pelton.adapters.frameworks.hermes.reference", ""),
    "crewai": ("pelton.adapters.frameworks.crewai.reference", ""),
    "cli": ("pelton.adapters.frameworks.cli.reference", ""),
}
"""For each kind of agent that is no code of pelton's: what loads it, and its extra if it needs one.

What loads it is a function `load(reference, *, environ, …)`. What an agent file may say for agents
of a kind are the other parameters that its `load` names: `model`, `prompt`, `tools`, `options`, and
the `folder` of the file.
"""


def environ_of(settings: Settings) -> dict[str, str]:
    """Return our environment as agents are loaded in it: with all that the settings say."""
    return {**os.environ, **as_environment(settings)}


def load_agent(reference: str, environ: Mapping[str, str] = os.environ) -> Agent:
    """Return the agent that a reference names: a file's, or `KIND:…` for a framework's.

    All else see `agents.load`.

    Raises:
        InvalidInput: it leads to none, or what it needs is not installed.
        SettingsError: the file says what cannot be.
    """
    if agent_file.is_agent_file(reference):
        return agent_files.agent_of(agent_file.load(Path(reference)), loader_of, environ)
    loader = loader_of(reference)
    return load(reference) if loader is None else loader(reference, environ=environ)


def file_of(reference: str) -> tuple[str, str]:
    """Return the file that a reference names, of code or an agent file, and what stands behind it.

    The file is empty if it names none, or one only to what runs it.
    """
    place, colon, name = reference.partition(":")
    if kind_of(reference) or not (place.endswith(".py") or agent_file.is_agent_file(reference)):
        return "", reference
    return place, colon + name


def placed(reference: str, directory: Path) -> str:
    """Return what leads to the same agent from everywhere as a reference does in a directory."""
    file, behind = file_of(reference)
    return f"{directory / file}{behind}" if file else reference


def kind_of(reference: str) -> str:
    """Return the kind of agent that a reference names, or nothing if it is plain code.

    A module may be called like a kind: if there is one, `kind:name` names what is in it.
    """
    kind, _, rest = reference.partition(":")
    kind = kind.partition("+")[0]
    if kind not in KINDS or (rest.isidentifier() and importable(kind)):
        return ""
    return kind


def loader_of(reference: str) -> Callable[..., Agent] | None:
    """Return what loads the agent that a reference names; None if it is plain code.

    Raises:
        InvalidInput: what it needs is not installed.
    """
    kind = kind_of(reference)
    if not kind:
        return None
    place, extra = KINDS[kind]
    try:
        found: Callable[..., Agent] = import_module(place).load
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{reference!r} needs more: pip install 'pelton[{extra}]' ({error})"
        ) from error
    return found
