"""The session of a context's framework: its fold, and the gate that says how one begins (AS-43).

What a turn stores is its own until it ends: other turns of the context may run while it waits for a
person, and see it only then. What a turn has seen when it began is what all its attempts see.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from pelton.events.errors import IllegalTransition
from pelton.events.session import (
    AnySessionEvent,
    SessionEntry,
    SessionInvalidated,
    SessionOpened,
    SessionReason,
    SessionStart,
    SessionStored,
)

Entries = Mapping[str, SessionEntry]
"""What is stored of a session, by key, in the order in which it was stored first."""


class Share(msgspec.Struct, frozen=True):
    """What an open turn has to do with a session: what it has stored, and what was before it.

    It sees the first `before` of what was settled, which are all that there were when it began.
    """

    before: int
    entries: dict[str, SessionEntry] = {}


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A framework's session as its events make it.

    `settled` is what turns have stored that are over; `shares` are those of open turns, by the ids
    of their tasks. `invalid` says why it is not to be gone on with, if so.
    """

    number: int
    adapter: str
    format: int
    invalid: SessionReason | None = None
    settled: dict[str, SessionEntry] = {}
    shares: dict[str, Share] = {}

    def seen(self, task_id: str) -> Entries:
        """Return what the turn of a task sees of it."""
        share = self.shares.get(task_id)
        if share is None:
            return self.settled
        return dict(islice(self.settled.items(), share.before)) | share.entries


class Gate(NamedTuple):
    """How a framework's session begins, and why."""

    start: SessionStart
    reason: SessionReason
    number: int


def gate(session: Session | None, *, adapter: str, format: int, here: bool, said: bool) -> Gate:
    """Decide how an attempt's framework session begins: this, and nothing else, decides it.

    `here` is whether what is not in the log of it, if anything, is on this machine; `said` whether
    something was said in the conversation before.
    """
    if session is None:
        if said:
            return Gate(SessionStart.REBUILD, SessionReason.NONE_STORED, 1)
        return Gate(SessionStart.FRESH, SessionReason.FIRST, 1)
    reason = session.invalid
    if reason is None and session.adapter != adapter:
        reason = SessionReason.OTHER_ADAPTER
    if reason is None and session.format != format:
        reason = SessionReason.OTHER_FORMAT
    if reason is None and not here:
        reason = SessionReason.NOT_HERE
    if reason is None:
        return Gate(SessionStart.RESUME, SessionReason.STORED, session.number)
    return Gate(SessionStart.REBUILD, reason, session.number + 1)


def take(session: Session | None, event: AnySessionEvent) -> Session:
    """Return the session after an event.

    Raises:
        IllegalTransition: the event is about another session, or another follows than the next.
    """
    if isinstance(event, SessionOpened):
        return _opened(session, event)
    if session is None or event.number != session.number:
        raise IllegalTransition("an event of a session that is not the one of its context")
    if isinstance(event, SessionInvalidated):
        return replace(session, invalid=event.reason)
    return _stored(session, event)


def settle(session: Session, task_id: str) -> Session:
    """Return the session once the turn of a task is over: what it has stored, all see."""
    share = session.shares.get(task_id)
    if share is None:
        return session
    shares = {id_: each for id_, each in session.shares.items() if id_ != task_id}
    return replace(session, settled={**session.settled, **share.entries}, shares=shares)


def _opened(session: Session | None, event: SessionOpened) -> Session:
    last = session.number if session else 0
    if event.number not in (last, last + 1) or not event.number:
        raise IllegalTransition("the sessions of a context are counted from 1 without gaps")
    if session is None or event.number > last:
        session = Session(number=event.number, adapter=event.adapter, format=event.format)
    if event.task_id in session.shares:
        return session
    share = Share(len(session.settled))
    return replace(session, shares={**session.shares, event.task_id: share})


def _stored(session: Session, event: SessionStored) -> Session:
    share = session.shares.get(event.task_id)
    if share is None:
        raise IllegalTransition("something is stored in a session that was not opened")
    entries = {**share.entries, **{each.key: each for each in event.entries}}
    share = Share(share.before, entries)
    return replace(session, shares={**session.shares, event.task_id: share})
