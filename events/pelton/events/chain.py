"""Aggregates as chains of commits: what all of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from pelton.events.commit import Commit, CommitData, Origin
from pelton.events.errors import DamagedRecord
from pelton.events.events import AnyEvent


class Link(Protocol):
    """The end of a chain of commits, of any aggregate."""

    @property
    def sequence(self) -> int:
        """How many events there are."""
        ...

    @property
    def hash(self) -> str:
        """The digest of the last commit; nothing before the first."""
        ...


def following(
    last: Link,
    events: Sequence[AnyEvent],
    *,
    id: str,
    subject: str,
    time: str,
    origin: Origin,
    attempt: int = 0,
    command: int = 0,
    handled: int = 0,
) -> Commit:
    """Return the commit of some events that follows the last one of an aggregate."""
    return Commit(
        id=id,
        subject=subject,
        time=time,
        sequence=last.sequence + 1,
        prevhash=last.hash,
        attempt=attempt,
        data=CommitData(events=tuple(events), command=command, handled=handled),
        **origin._asdict(),
    )


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
