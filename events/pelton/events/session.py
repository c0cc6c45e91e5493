"""The events of framework sessions: what an agent framework keeps of a conversation of its own.

Such a session is derived: from what is stored of it here, or else from the conversation itself. It
is never a pointer to something that must exist elsewhere (design, *Sessions*).
"""

from __future__ import annotations

import enum
from typing import Any

from pelton.events.a2a import A2A, BlobRef, Count
from pelton.events.event import TaskEvent


class SessionStart(enum.StrEnum):
    """What a framework's session begins with."""

    FRESH = "fresh"
    """Nothing: the conversation begins."""
    RESUME = "resume"
    """What is stored of it."""
    REBUILD = "rebuild"
    """The conversation, since what is stored of it, if anything is, does not do."""


class SessionReason(enum.StrEnum):
    """Why a framework's session begins as it does."""

    FIRST = "first"
    """Nobody has said anything before."""
    STORED = "stored"
    """It is stored as this adapter stores it, and nothing speaks against it."""
    NONE_STORED = "none-stored"
    """Something was said before, and no session is stored: another kind of agent was here."""
    OTHER_ADAPTER = "other-adapter"
    """Another adapter has stored it."""
    OTHER_FORMAT = "other-format"
    """The adapter has stored it in another format than it reads now."""
    NOT_HERE = "not-here"
    """A part of it that is not in the log is not on this machine."""
    LOST = "lost"
    """The framework has said that it does not know it."""
    PROCESS_DIED = "process-died"
    """The agent's process has died with it in hand."""


class SessionOpened(TaskEvent, frozen=True, kw_only=True, tag="SessionOpened.v1"):
    """An attempt has a framework's session in hand: the context's session of that `number`.

    Numbers count from 1; with the next one, what was stored under the one before is given up.
    `adapter` and `format` say who reads and writes what is stored.
    """

    number: Count
    start: SessionStart
    reason: SessionReason
    adapter: str
    format: Count


class SessionInvalidated(TaskEvent, frozen=True, kw_only=True, tag="SessionInvalidated.v1"):
    """The session of that `number` is not to be gone on with: the next attempt begins another."""

    number: Count
    reason: SessionReason


class SessionEntry(A2A, frozen=True, kw_only=True):
    """A piece of a session in the words of its framework: a JSON `value`, or `blob` refers to it.

    `key` is unique in the session; stored again under its key, a piece is another one.
    """

    key: str
    value: Any = None
    blob: BlobRef | None = None


class SessionStored(TaskEvent, frozen=True, kw_only=True, tag="SessionStored.v1"):
    """A turn has added to the session of that `number`. Others see it once the turn has ended."""

    number: Count
    entries: tuple[SessionEntry, ...]


AnySessionEvent = SessionOpened | SessionInvalidated | SessionStored
"""The events of framework sessions, which are those of a turn."""
