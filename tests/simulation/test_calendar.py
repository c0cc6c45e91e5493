"""Time and presence hold in simulated worlds: replicas, kills, clock skew (AS-48, AS-55, AS-56)."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.calendar import KINDS, play

SEEDS = 24
CHUNKS = 4


@pytest.mark.accepts("AS-55", "AS-56")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_each_slot_fires_at_most_once_and_none_is_lost_but_by_policy(chunk: int) -> None:
    total: Counter[str] = Counter()
    for seed in range(chunk, SEEDS, CHUNKS):
        total += play(seed).counts
    for seen in ("ScheduleFired", "ScheduleMissed", "offline", "serving", "removed"):
        assert total[seen], seen
    assert len(set(KINDS) & set(total)) > len(KINDS) / 2


def test_the_same_seed_plays_the_same() -> None:
    assert play(3).digest == play(3).digest
