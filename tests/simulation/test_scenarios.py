"""Whole systems under misfortune, many seeds: the guarantees, and that the check is not vacuous.

More seeds than a test run has time for: `python -m tests.simulation --seeds 20000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from pelton.events.errors import PeltonError
from tests.simulation.ledger import Violation
from tests.simulation.scenario import KINDS, Report, play
from tests.simulation.shape import Options

SEEDS, CHUNKS = 300, 5

HAPPENS = (
    *("takeovers", "fenced", "ahead", "completed", "failed", "canceled", "input-required"),
    *("suspended", "steps", "step again", "timers", "asked", "answered", "expired", "delegated"),
    *("handed on", "reports sent", "reports", "attempt-failed", "dead-lettered"),
)
"""What must happen in each chunk, or it would prove nothing."""


def total(reports: Iterable[Report]) -> Counter[str]:
    """Return the sums of what happened in several runs."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
        counts.update(report.fired)
        counts.update(sent=report.sent, accepted=report.accepted)
    return counts


@pytest.mark.accepts("G1", "G2", "G3", "G4", "G5", "G12", "AS-9", "AS-10", "AS-11", "AS-14")
@pytest.mark.accepts("AS-15", "AS-46", "AS-48", "AS-50", "AS-57", "AS-59", "AS-62")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_guarantees_hold(chunk: int) -> None:
    counts = total(play(seed) for seed in range(chunk, SEEDS, CHUNKS))
    assert counts["accepted"] >= 0.9 * counts["sent"]
    for kind in (*KINDS, "lost reply", "lost request", "slow", "resend"):
        assert counts[kind], f"{kind} never happened"
    for result in HAPPENS:
        assert counts[result], f"{result} never happened"


@pytest.mark.accepts("G4")
def test_without_the_expectation_they_do_not() -> None:
    """The mutation proof: the fence is the expectation, and these oracles see that it is gone."""

    def red(seed: int) -> bool:
        try:
            play(seed, Options(ignore_expectation=True))
        except (Violation, PeltonError):  # executors too see that something is wrong
            return True
        return False  # nobody met anybody

    assert sum(red(seed) for seed in range(12)) > 6


@pytest.mark.accepts("AS-9")
def test_the_memory_of_ids_is_only_a_fast_path() -> None:
    options = Options(ignore_ids=True, profile="durable")
    for seed in range(20):
        play(seed, options)


def test_a_seed_gives_the_same_log_in_every_process() -> None:
    digests = {seed: play(seed).digest for seed in range(4)}
    assert digests == {seed: play(seed).digest for seed in range(4)}
    assert len(set(digests.values())) == 4
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seeds", "4", "--jobs", "1", "--digests"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        for seed, digest in digests.items():
            assert f"{seed} {digest}" in found.stdout
