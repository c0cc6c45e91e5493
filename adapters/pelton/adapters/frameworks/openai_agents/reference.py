"""Agents of OpenAI's Agents SDK by reference: `openai-agents:module:name`."""

from __future__ import annotations

from typing import Any, cast

from agents import Agent as SdkAgent

from pelton.adapters.frameworks.openai_agents.adapter import OpenAIAgentsAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, named, slug


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `openai-agents:module:name` names; it is called as its name says.

    Raises:
        InvalidInput: this is no such reference, or it leads to no agent of the SDK.
    """
    place = reference.partition(":")[2]
    found: Any = named(place, reference)
    if not isinstance(found, SdkAgent):
        raise InvalidInput(f"{reference!r} is no `agents.Agent`: name one")
    made: SdkAgent[Any] = cast("Any", found)
    return as_agent(
        OpenAIAgentsAdapter(made),
        name=slug(made.name),
        description=made.handoff_description,
    )
