"""What a turn adds to the log does not grow with the conversation (law 8, A3)."""

from __future__ import annotations

import pytest

from benchmarks.fold import GOAL, folded, session
from benchmarks.turns.growth import DOCUMENT, growth


@pytest.mark.timeout(120)
async def test_the_hundredth_turn_adds_no_more_than_the_tenth() -> None:
    first, tenth, hundredth = await growth((1, 10, 100))
    assert first.bulk == len(DOCUMENT) + 2  # stored once, as JSON
    assert tenth.bulk == hundredth.bulk == 0
    assert hundredth.log <= tenth.log + 32  # its numbers have a digit more
    assert tenth.log < 12_000


async def test_a_long_session_folds_at_once() -> None:
    """The goal is for 1,000 events and this machine may be busy: the best of ten counts."""
    records = await session(250)
    assert folded(records)[0].sequence >= 250
    assert min(folded(records)[1] for _ in range(10)) < GOAL / 4
