"""What the tools are, for schemas and tests: a document of all that can be called (AS-5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pelton.adapters.mcp import agents, operators, turns
from pelton.adapters.mcp.tool import Tool, schema_of

VERSION: Final = "1.0"
"""The version of the tools; what is added counts up its second number, what breaks its first."""

SERVERS: Final[Mapping[str, Sequence[Tool]]] = {
    "turn": turns.TOOLS,
    "agents": agents.TOOLS,
    "operator": (*operators.READING, *operators.ACTING),
}
"""The tools of each server: of an agent at work, of agents outside, of operators."""


def document() -> dict[str, Any]:
    """Return all tools with their schemas."""
    servers = {name: [_described(tool) for tool in tools] for name, tools in SERVERS.items()}
    return {"version": VERSION, "servers": servers}


def _described(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "writes": tool.writes,
        "inputSchema": schema_of(tool.takes),
        "outputSchema": schema_of(tool.gives),
    }
