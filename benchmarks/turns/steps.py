"""The task that all are measured with: three steps, each of which takes what the last one gave."""

from __future__ import annotations


async def step(number: int, text: str) -> str:
    """Stand for an effect; it takes no time, so that what is measured is what surrounds it."""
    return f"{text}{number}"


NUMBERS = (1, 2, 3)
DONE = "done 123"
"""What the task answers when it is sent `done `."""
