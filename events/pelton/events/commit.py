"""Commits: all events of one decision in one record (law 4), chained by hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import msgspec

from pelton.events.a2a import A2A, Count
from pelton.events.envelope import Envelope
from pelton.events.events import AnyEvent


class CommitData(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """The events of a commit, and which commands are decided with it.

    `command` is the stream sequence of the command that this commit decides, 0 where it only goes
    on with what was decided before. All commands of the context up to `handled` are decided;
    `command` is above it when it was taken before its turn, as a cancellation is.
    """

    events: tuple[AnyEvent, ...]
    command: Count = 0
    handled: Count = 0


class Commit(Envelope, frozen=True, kw_only=True, tag="pelton.Commit.v1"):
    """One record on `evt.<agent>.<context>`.

    `sequence` is the number of its first event among those of the aggregate, from 1. `prevhash` is
    the SHA-256 of the bytes of the record before it on its subject, empty for the first. `attempt`
    is the fencing epoch: the attempt of the turn that wrote it, 0 outside a turn.
    """

    sequence: Count
    prevhash: str
    data: CommitData
    attempt: Count = 0
    dataschema: str = "pelton:Commit.v1"


class RecordedEvent(NamedTuple):
    """One event of a commit with all that its commit says of it: nothing is ever null (AS-8)."""

    id: str
    """`<commit id>/<place in the commit from 1>`."""
    sequence: int
    """Its number among the aggregate's events, from 1."""
    event: AnyEvent
    commit: Commit


def recorded(commit: Commit) -> Iterator[RecordedEvent]:
    """Yield the events of a commit, each with its own identity."""
    for place, event in enumerate(commit.data.events):
        yield RecordedEvent(f"{commit.id}/{place + 1}", commit.sequence + place, event, commit)


class Origin(NamedTuple):
    """Who writes a commit, on whose behalf, and what led to it: the attributes that repeat."""

    source: str
    tenant: str
    actor: str
    correlationid: str
    causationid: str
    traceparent: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def caused_by(cls, cause: Envelope, source: str) -> Self:
        """Return the origin of what `source` does because of a command or another commit."""
        return cls(
            source, cause.tenant, cause.actor, cause.correlationid, cause.id, cause.traceparent
        )
