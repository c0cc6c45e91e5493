"""Aggregates beside the contexts, as their commits make them: what all of them have in common."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from pelton.events.commit import Commit
from pelton.events.errors import DamagedRecord


class Chained(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an aggregate of an agent, and where its commits have brought it.

    `head` is the stream sequence of its last commit and `hash` that commit's digest; the next
    append expects the one and chains to the other. `sequence` counts its events.
    """

    agent: str
    head: int = 0
    hash: str = ""
    sequence: int = 0


S = TypeVar("S", bound=Chained)


def chained(state: S, sequence: int, commit: Commit, hash_: str) -> S:
    """Return the state with a commit at its end whose events are still to be taken in.

    Raises:
        DamagedRecord: it does not chain to the one before it (law 13).
    """
    if commit.prevhash != state.hash or commit.sequence != state.sequence + 1:
        raise DamagedRecord(
            f"the commit at {sequence} does not follow the one at {state.head}: "
            "the log was altered, or a record of it is missing"
        )
    events = len(commit.data.events)
    return replace(state, head=sequence, hash=hash_, sequence=state.sequence + events)
