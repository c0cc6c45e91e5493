"""CrewAI's agents by reference: `crewai:module:name`, and options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.crewai.adapter import CrewAIAdapter
from pelton.adapters.frameworks.given import Given
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

_OPTIONS: Final = frozenset({"name", "idempotent", "ask"})


def load(reference: str, *, environ: Mapping[str, str], folder: Path | None = None) -> Agent:
    """Return the agent that `crewai:module:name[?name=…&idempotent=TOOL,…&ask=TOOL,…]` names.

    The module is looked for in `folder`, or where pelton was started; whether it is there shows
    when it is started, in CrewAI's environment.

    Raises:
        InvalidInput: this is no such reference.
    """
    place, _, query = reference.partition(":")[2].partition("?")
    module, _, name = place.partition(":")
    if not module or not name:
        raise InvalidInput(f"{reference!r}: write crewai:module:name")
    given = Given.of(reference, query, _OPTIONS)
    adapter = CrewAIAdapter(
        place,
        environment=environments.root(environ) / "crewai",
        directory=str(folder) if folder else None,
        idempotent=given.several("idempotent"),
        ask=given.several("ask"),
    )
    return as_agent(adapter, name=given.one("name") or slug(name))
