"""Agents of Pydantic AI by reference: `pydantic-ai:module:name`."""

from __future__ import annotations

from typing import Any, cast

from pydantic_ai import Agent as PydanticAgent

from pelton.adapters.frameworks.pydantic_ai.adapter import PydanticAIAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, named, slug


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `pydantic-ai:module:name` names; it is called as its own name says.

    Raises:
        InvalidInput: this is no such reference, or it leads to no agent of Pydantic AI.
    """
    place = reference.partition(":")[2]
    found: Any = named(place, reference)
    if not isinstance(found, PydanticAgent):
        raise InvalidInput(f"{reference!r} is no `pydantic_ai.Agent`: name one")
    made: PydanticAgent[Any, Any] = cast("Any", found)
    name = made.name or place.rpartition(":")[2]
    return as_agent(PydanticAIAdapter(made), name=slug(name))
