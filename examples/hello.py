"""The smallest agent: `pelton dev examples/hello.py`, then `pelton send hello "good morning"`."""

from pelton.runtime import Turn, agent


@agent
async def hello(turn: Turn) -> str:
    """Greets, and says back what it was told."""
    return f"Hello! You said: {turn.text}"
