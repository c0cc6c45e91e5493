"""Claude Code by reference: `claude:MODEL`, and options."""

from __future__ import annotations

from typing import Final

from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter
from pelton.adapters.frameworks.model.given import Given
from pelton.adapters.frameworks.serving import as_agent
from pelton.runtime.agents import Agent

_OPTIONS: Final = frozenset({"name", "system", "tools", "allowed", "directory", "program"})


def load(reference: str, **_options: object) -> Agent:
    """Return the agent that `claude:[MODEL][?name=…&system=FILE&tools=module:name&…]` names.

    `allowed` are tools of its own that it may use, with commas between, `directory` where it works,
    `program` another one than comes with the SDK.

    Raises:
        InvalidInput: something in it leads nowhere.
    """
    model, _, query = reference.partition(":")[2].partition("?")
    given = Given.of(reference, query, _OPTIONS)
    adapter = ClaudeAdapter(
        model=model,
        system=given.text("system"),
        tools=given.tools("tools"),
        allowed=[*filter(None, given.one("allowed").split(","))],
        directory=given.one("directory") or None,
        program=given.one("program"),
    )
    name = given.one("name") or "claude"
    return as_agent(adapter, name=name, description="Claude Code.")
