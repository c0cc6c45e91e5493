"""Claude Code by reference: `claude:MODEL`, and options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter
from pelton.adapters.frameworks.given import Given, either
from pelton.adapters.frameworks.model.tools import tools_at
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.warm import IDLE, KEPT
from pelton.runtime.agents import Agent

_OPTIONS: Final = frozenset(
    {"name", "system", "tools", "allowed", "idempotent", "directory", "program", "keep", "idle"}
)


def load(
    reference: str,
    *,
    model: str = "",
    prompt: str = "",
    tools: Sequence[str] = (),
    folder: Path | None = None,
    **_options: object,
) -> Agent:
    """Return the agent that `claude:[MODEL][?name=…&system=FILE&tools=module:name&…]` names.

    `allowed` are tools of its own that it may use, with commas between, `idempotent` those of them
    that may be called again after a crash, `directory` where it works, `program` another one than
    comes with the SDK, `keep` how many processes are kept between turns, each for `idle` seconds.
    The rest is for agent files, which say it beside
    the reference; an option of that goes first.

    Raises:
        InvalidInput: something in it leads nowhere.
    """
    named, _, query = reference.partition(":")[2].partition("?")
    given = Given.of(reference, query, _OPTIONS)
    adapter = ClaudeAdapter(
        model=either(reference, "model", named, model),
        system=either(reference, "prompt", given.text("system"), prompt),
        tools=tools_at([*given.all("tools"), *tools], reference),
        allowed=given.several("allowed"),
        directory=given.one("directory") or (str(folder) if folder else None),
        idempotent=given.several("idempotent"),
        program=given.one("program"),
        keep=given.number("keep", KEPT),
        idle=given.number("idle", IDLE),
    )
    name = given.one("name") or "claude"
    return as_agent(adapter, name=name, description="Claude Code.")
