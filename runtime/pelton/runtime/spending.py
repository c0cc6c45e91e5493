"""What calls take: tokens, money and time, as a turn reports them."""

from __future__ import annotations

import asyncio
import math

from pelton.events.errors import InvalidInput
from pelton.events.events import UNIT, UsageReported

_MOST = 2**53 - 1


def usage(
    task_id: str,
    key: str,
    model: str,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    cost: float,
    seconds: float,
) -> UsageReported:
    """Return the event that says what something took.

    Raises:
        InvalidInput: a number is negative, or none.
    """
    tokens = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": cached_tokens,
    }
    for name, value in tokens.items():
        if not 0 <= value <= _MOST:
            raise InvalidInput(f"{name} must be a number of tokens, not {value!r}", field=name)
    for name, number in (("cost", cost), ("seconds", seconds)):
        if not (math.isfinite(number) and 0 <= number * UNIT <= _MOST):
            raise InvalidInput(f"{name} must be a number from 0 on, not {number!r}", field=name)
    return UsageReported(
        task_id=task_id,
        key=key,
        model=model,
        **tokens,
        cost=round(cost * UNIT),
        duration=round(seconds * 1_000),
    )


def check_loop() -> None:
    """Check that the event loop of the turn runs here.

    Raises:
        InvalidInput: this is a thread, as plain functions of steps run in.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise InvalidInput(
            "usage is reported from the agent, or from a step that is a coroutine: return what the"
            " call took from the step, and report it then"
        ) from None
