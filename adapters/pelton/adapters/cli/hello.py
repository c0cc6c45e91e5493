"""The agent of a `pelton dev` that was given none: it greets whoever writes to it."""

from __future__ import annotations

from pelton.runtime import Turn, agent


@agent
async def hello(turn: Turn) -> str:
    """Greets, and says back what it was told."""
    return f"Hello! You said: {turn.text}"
