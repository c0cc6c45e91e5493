"""Graphs as agents by reference: `langgraph:module:name`."""

from __future__ import annotations

from typing import Any, cast

from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]

from pelton.adapters.frameworks.langgraph.adapter import LangGraphAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, named, slug


def load(reference: str, **_options: object) -> Agent:
    """Return the agent of the compiled graph that `langgraph:module:name` names.

    It is called as the graph is, or else as the name says.

    Raises:
        InvalidInput: this is no such reference, or it leads to no compiled graph.
    """
    place = reference.partition(":")[2]
    found: Any = named(place, reference)
    if not isinstance(found, Pregel):
        raise InvalidInput(f"{reference!r} is no compiled graph: name what `compile()` returns")
    own = found.get_name()
    name = place.rpartition(":")[2] if own in ("", "LangGraph") else own
    return as_agent(LangGraphAdapter(cast("Any", found)), name=slug(name))
