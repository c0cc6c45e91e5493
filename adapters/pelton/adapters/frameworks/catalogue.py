"""The adapters that there are, and whether what they need is on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.programs import INSTALLED_BY


class Entry(NamedTuple):
    """An adapter: how agents of it are named, its framework's version, and what it lacks."""

    reference: str
    version: str
    needs: str


_HERE: Final = (
    ("model:PROVIDER/NAME", "aiohttp", "pip install 'pelton[model]'"),
    ("langgraph:module:name", "langgraph", "pip install 'pelton[langgraph]'"),
    ("pydantic-ai:module:name", "pydantic-ai-slim", "pip install 'pelton[pydantic-ai]'"),
    ("openai-agents:module:name", "openai-agents", "pip install 'pelton[openai-agents]'"),
    ("google-adk:module:name", "google-adk", "pip install 'pelton[google-adk]'"),
    ("claude:MODEL", "claude-agent-sdk", "pip install 'pelton[claude]'"),
    ("webhook:URL", "aiohttp", "pip install 'pelton[webhook]'"),
    ("sdk:module:Class", "a2a-sdk", "pip install 'pelton[sdk]'"),
)
"""Adapters whose framework is in this environment: the distribution that it is, how to get it."""

_APART: Final = (("crewai:module:name", "crewai"), ("hermes", "hermes"))
"""Adapters whose framework has an environment of its own, by the name of that."""

_PROGRAMS: Final = (("acp:gemini --acp", "gemini"), ("codex", "codex"))
"""Adapters that run programs."""

_FREE: Final = ("cli:PROGRAM ARGUMENT…", "worker:PROGRAM ARGUMENT…", "acp:PROGRAM ARGUMENT…")
"""Adapters that need nothing but the program that they are given."""


def catalogue() -> Iterator[Entry]:
    """Yield every adapter."""
    for reference, distribution, remedy in _HERE:
        try:
            yield Entry(reference, version(distribution), "")
        except PackageNotFoundError:
            yield Entry(reference, "", remedy)
    for reference, name in _APART:
        found = environments.installed(environments.root(os.environ) / name)
        needs = "" if found else f"pelton adapters install {name}"
        yield Entry(reference, found.version if found else "", needs)
    for reference, name in _PROGRAMS:
        yield Entry(reference, "", "" if shutil.which(name) else INSTALLED_BY[name])
    yield from (Entry(reference, "", "") for reference in _FREE)
