"""CrewAI's agents by reference: `crewai:module:name`, and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.crewai.adapter import CrewAIAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

_OPTIONS: Final = frozenset({"name", "idempotent", "ask"})


def load(reference: str, *, environ: Mapping[str, str]) -> Agent:
    """Return the agent that `crewai:module:name[?name=…&idempotent=TOOL,…&ask=TOOL,…]` names.

    Whether that is there shows when it is started, in CrewAI's environment.

    Raises:
        InvalidInput: this is no such reference.
    """
    place, _, query = reference.partition(":")[2].partition("?")
    module, _, name = place.partition(":")
    if not module or not name:
        raise InvalidInput(f"{reference!r}: write crewai:module:name")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := given.keys() - _OPTIONS:
        known = ", ".join(sorted(_OPTIONS))
        raise InvalidInput(f"{reference!r}: no option is called {min(unknown)!r}: {known} are")
    adapter = CrewAIAdapter(
        place,
        environment=environments.root(environ) / "crewai",
        idempotent=[*filter(None, given.get("idempotent", "").split(","))],
        ask=[*filter(None, given.get("ask", "").split(","))],
    )
    return as_agent(adapter, name=given.get("name") or slug(name))
