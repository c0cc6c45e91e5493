"""Agents of Google's ADK by reference: `google-adk:module:name`."""

from __future__ import annotations

from typing import Any

from google.adk.agents import BaseAgent

from pelton.adapters.frameworks.google_adk.adapter import GoogleADKAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, named, slug


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `google-adk:module:name` names; it is called as its own name says.

    Raises:
        InvalidInput: this is no such reference, or it leads to no agent of ADK.
    """
    found: Any = named(reference.partition(":")[2], reference)
    if not isinstance(found, BaseAgent):
        raise InvalidInput(f"{reference!r} is no agent of ADK: name its `root_agent`")
    return as_agent(
        GoogleADKAdapter(found), name=slug(found.name), description=found.description or None
    )
