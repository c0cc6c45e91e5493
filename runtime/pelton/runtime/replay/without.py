"""A record in which some memories had never been given to anybody."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput
from pelton.events.events import AnyEvent, StepCompleted
from pelton.events.memories import memories_as_of
from pelton.events.memory import given, result_of
from pelton.events.upcast import decode_commit
from pelton.runtime.log import Record
from pelton.runtime.replay.session import Session


def without(session: Session, memories: Collection[str], upto: int) -> Session:
    """Return a session as if some memories had never been given to a turn.

    It is no record any more: its commits do not chain. It is there to fork from.

    Raises:
        InvalidInput: one of them is not there at the sequence `upto`.
    """
    there = memories_as_of(
        ((e.sequence, e.subject, e.data) for e in session.records), upto
    ).memories
    for each in memories:
        if each not in there:
            raise InvalidInput(f"at {upto}, the conversation has no memory {each[:80]!r}")
    dropped = {subjects.memory(each) for each in memories}
    kept = (each for each in session.records if each.subject not in dropped)
    return Session((_forgetful(each, memories) for each in kept), session.blobs, session.vault)


def _forgetful(record: Record, memories: Collection[str]) -> Record:
    """Return a record in which no step has given one of some memories."""
    if not record.subject.startswith("evt.") or b'"memory.' not in record.data:
        return record
    commit = decode_commit(record.data)
    events = tuple(_not_given(each, memories) for each in commit.data.events)
    data = encode(replace(commit, data=replace(commit.data, events=events)))
    return record._replace(data=data)


def _not_given(event: AnyEvent, memories: Collection[str]) -> AnyEvent:
    if not isinstance(event, StepCompleted) or not given(event.key, event.result):
        return event
    result = result_of(event.result)
    left = tuple(each for each in result.given if each.memory_id not in memories)
    total = max(0, result.total - (len(result.given) - len(left)))
    fewer = replace(result, given=left, total=total)
    return replace(event, result=msgspec.to_builtins(fewer))
