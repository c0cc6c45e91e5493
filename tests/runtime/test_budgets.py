"""What models cost."""

from __future__ import annotations

import pytest

from pelton.events.events import UsageReported
from pelton.runtime.budgets import Prices
from pelton.runtime.gateway_settings import PriceSettings


def reported(model: str, read: int, wrote: int = 0, cached: int = 0) -> UsageReported:
    return UsageReported(
        task_id="t",
        key="usage#1",
        model=model,
        input_tokens=read,
        output_tokens=wrote,
        cached_tokens=cached,
    )


def test_prices_are_of_the_longest_pattern() -> None:
    prices = Prices(
        {
            "*": PriceSettings(input=100, output=100),
            "claude-*": PriceSettings(input=3, output=15, cached=0.3),
        }
    )
    claude = reported("claude-x", 1_000_000, 100_000, 500_000)
    assert prices.cost(claude) == pytest.approx(3.15)
    assert prices.cost(reported("other", 1000)) == pytest.approx(0.1)
    assert Prices({}).of("m") is None
