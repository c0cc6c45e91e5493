"""The agent of the benchmarks: it answers with what it was sent."""

from pelton.runtime import Turn, agent


@agent
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text
