"""The task of three steps as an agent of pelton."""

from benchmarks.turns.steps import NUMBERS, step
from pelton.runtime import Turn, agent


@agent
async def three(turn: Turn) -> str:
    """Does three steps."""
    text = turn.text
    for number in NUMBERS:
        text = await turn.step(f"step-{number}", step, number, text, idempotent=True)
    return text
