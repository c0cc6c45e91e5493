"""Bisecting: which one of several changes makes a check fail, found by halving.

Whatever may answer otherwise each time, such as a model, is asked several times: the share of runs
that pass is told, never one run alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from pelton.events.errors import PeltonError


class NothingToFind(PeltonError):
    """The two ends do not differ as they should: the text says which check came out otherwise.

    The good end must pass and the bad end must fail, before anything between them is looked at.
    """

    code: ClassVar[str] = "nothing-to-find"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What the check says `at` a place: in how many of the `runs` that could tell it has passed."""

    at: int
    passed: int
    runs: int

    @property
    def share(self) -> float:
        """The share of runs that have passed: an estimate of how probable that is."""
        return self.passed / self.runs

    @property
    def good(self) -> bool:
        """Whether most runs have passed."""
        return 2 * self.passed > self.runs


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The last place that is good and the one beside it that is bad, and all that was tried."""

    good: Probe
    bad: Probe
    probes: tuple[Probe, ...]


def bisect(good: int, bad: int, probe: Callable[[int], Probe]) -> Found:
    """Return where between two places, either of which may be the lower, good turns into bad.

    Between them it is taken to turn once. If it does so more often, one of the turns is found.

    Raises:
        NothingToFind: the check does not pass at `good`, or does not fail at `bad`.
    """
    first, last = probe(good), probe(bad)
    tried = [first, last]
    if not first.good:
        raise NothingToFind(f"the check does not pass at the good end ({_said(first)})")
    if last.good:
        raise NothingToFind(f"the check passes at the bad end, too ({_said(last)})")
    while abs(first.at - last.at) > 1:
        middle = probe((first.at + last.at) // 2)
        tried.append(middle)
        if middle.good:
            first = middle
        else:
            last = middle
    return Found(good=first, bad=last, probes=tuple(tried))


def _said(probe: Probe) -> str:
    return f"{probe.passed} of {probe.runs} runs passed"
